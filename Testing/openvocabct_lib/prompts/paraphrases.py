"""What radiologists, radiation oncologists, students, anatomists and patients type for one structure; "; " between."""

from __future__ import annotations

PARAPHRASES: dict[str, str] = {
    "left_parotid_gland": """
        left parotid gland; left parotid; parotid left; parotid, left; L parotid; Lt parotid gland; Lt. parotid;
        Parotid_L; parotid gland (L); LeftParotid; ParotidL; parotid gland on the left; left-sided parotid gland;
        left sided parotid; the parotid gland of the left side; glandula parotis sinistra; glandula parotidea
        sinistra; gl. parotis sin.; parotis sinistra; left parotis; left parotid salivary gland; salivary gland in
        front of the left ear; the salivary gland near my left ear; saliva gland in front of left ear; left cheek
        salivary gland; Please segment the left parotid gland.; can you outline the left parotid for me please?;
        contour left parotid; where is the left parotid gland?; show me the parotid gland on the patient's left
        side; LEFT PAROTID; left_parotid_gland; parotid_gland_left; left-parotid-gland; left paratid gland; left
        parotid glnd; left parrotid; left parotid galnd; left parotids; Glnd_Parotid_L; left parotid gland contour;
        left parotid OAR; parotid (left); left parotid gland (parotid gland, left); the large salivary gland in
        front of the left ear; left parotid salivary; parotid salivary gland, left side; left side parotid gland; my
        left parotid gland; parotid lt; left ear salivary gland; I'd like to see the left parotid gland; organ: left
        parotid; patient's left parotid; sinistral parotid; the parotid gland that is on the left; salivary gland
        anterior to the left ear; salivary gland at the angle of the left jaw; left preauricular gland; left partoid
        gland; salivary gland below and in front of the left ear; major salivary gland next to the left ear; left
        parotid tissue; whole left parotid gland; L. parotid gland; parotid gland sinister; left preauricular
        salivary gland; parotid gland on the patient's left; salivary gland (left parotid); left perotid;
        ParotidLeft
    """,
    "spinal_cord": """
        spinal cord; cord; the cord; SpinalCord; Spinal_Cord; spinalcord; spinal-cord; medulla spinalis; spinal
        medulla; myelon; spinal marrow; cord, spinal; spine cord; spinal chord; SC; please contour the spinal cord;
        the spinal cord in this patient; spinal cord please; cord of the spine; nerve cord in the spine; nerve cord
        in my back; spinal cord OAR; the patient's spinal cord; SPINAL CORD; spinal cords; spinel cord; spinnal
        cord; main nerve inside the backbone; cord inside the vertebral canal; cord in the spinal canal; cord within
        the spinal canal; myelum; neural cord; nervous cord; cord contour; medulla spinalis (spinal cord); spinal
        cord (medulla spinalis); cervical and thoracic cord; spinal nerve cord; spinal cord structure; whole spinal
        cord; the bundle of nerves running down the spine; nerve bundle in the spine; Cord; cord (spinal); show me
        the spinal cord; segment spinal cord on ct; where's the spinal cord; spinal nervous tissue; spinal cord
        organ at risk; nerve in the backbone; bundle of nerves inside the spinal column; cord parenchyma; bundle of
        nerves in my spine; medula spinalis; structure: spinal cord; spinal cord (SC); spinal cord for RT planning
    """,
    "mandible": """
        mandible; Mandible; lower jaw; lower jaw bone; lower jawbone; jaw bone; jawbone; jaw; mandibula; os
        mandibulae; os mandibulare; mandibular bone; Bone_Mandible; the mandible; inferior maxilla; inferior jaw;
        inferior jaw bone; bone of the lower jaw; bone of my lower jaw; chin bone; mandible bone; bony mandible;
        bony lower jaw; osseous mandible; mandible (lower jaw); lower jaw (mandible); mandible / lower jaw; please
        segment the mandible; show me the jaw bone; can you find the lower jaw?; mandibel; mandable; mandibule;
        mandibles; mandibular body and ramus; mandibular arch; bottom jaw; bottom jaw bone; jaw, lower; lower
        mandible; the lower jaw of the patient; LOWER JAW; lowerjaw; lower-jaw; mandible structure; whole mandible;
        entire mandible; mandible OAR; bone holding the lower teeth; bone that holds the lower teeth; bone below the
        mouth; chin and jaw bone; mandibular; maxilla inferior; lower jaw skeleton; mandibular structure; movable
        jaw bone; jaw bone of the lower face; the big bone in the lower face; bone of the lower face; bone of the
        chin; the bone of my chin; lower facial bone; mandibular corpus and rami; under jaw; underjaw; lower jaw,
        bone; bone where my lower teeth sit; Mandible (jaw); jawbone (lower); lower jaw, please outline it; OAR:
        mandible; the lower jaw, also known as the mandible
    """,
    "brainstem": """
        brain stem; BrainStem; truncus encephali; the brainstem please; brain-stem; stem of the brain; brainstm;
        Brainstem; midbrain, pons and medulla; pons, midbrain and medulla oblongata; brain stem structure; brainstem
        contour; brain trunk; midbrain pons medulla
    """,
    "right_parotid_gland": """
        right parotid; Parotid_R; rt parotid; glandula parotidea dextra; parotid on the right; RightParotid;
        right-sided parotid gland; parotid gland (right); salivary gland in front of the right ear; parotis dextra;
        R parotid gland
    """,
    "esophagus": """
        oesophagus; Esophagus; gullet; food pipe; oesophageal tube; swallowing tube; esophagous; esofagus; foodpipe;
        the oesophagus, please; œsophagus; oesphagus; esophageal; oesophageal; esophagus organ; tube from mouth to
        stomach; feeding pipe
    """,
    "larynx": """
        voice box; Larynx; voicebox; laryngeal structure; the larynx; larnyx; glottis and supraglottis; laryngeal
        framework; organ of voice; the voice organ; larinx; laryngeal
    """,
    "left_lung": """
        left lung; Lung_L; lung left; L lung; lt lung; pulmo sinister; lung_left; left-sided lung; left lung field;
        lung on the left side; left pulmonary parenchyma; the left lung parenchyma; left lungs; LeftLung; LungL
    """,
    "right_lung": """
        right lung; Lung_R; lung right; R lung; rt lung; pulmo dexter; lung_right; right-sided lung; right lung
        field; lung on the right side; right pulmonary parenchyma; RLung; right lung tissue
    """,
    "airway": """
        airways; trachea and main bronchi; tracheobronchial tree; bronchial tree; lung_trachea_bronchia; windpipe
        and bronchi; central airways; breathing tubes; trachea and bronchi; tracheo-bronchial tree; trachea +
        bronchi; trachea and both main bronchi; trachea & main bronchi; airway lumen; trachea, main bronchi; trachea
        with bronchi; conducting airways; airway tree
    """,
    "heart": """
        heart; cor; Heart; cardiac silhouette; whole heart; the heart; cardiac; hearts; cardiac organ; entire heart;
        my heart
    """,
    "pulmonary_artery": """
        pulmonary artery; pulmonary trunk; main pulmonary artery; truncus pulmonalis; A_Pulmonary; arteria
        pulmonalis; PA; pulmonary arteries; pulm artery; MPA; lung artery; pulmonic artery; pulmonary arterial
        trunk; artery of the lung
    """,
    "aorta": """
        aorta; Aorta; A_Aorta; main artery of the body; aortic; the whole aorta; aortas; great artery;
        thoracoabdominal aorta; aortic vessel; arteria aorta; body's main artery; largest artery in the body; aorta
        artery; biggest artery of the body
    """,
    "brachiocephalic_trunk": """
        brachiocephalic trunk; brachiocephalic artery; innominate artery; truncus brachiocephalicus; arteria
        anonyma; brachiocephalic arterial trunk; innominate trunk; right brachiocephalic artery; brachio-cephalic
        trunk; brachiocephalic; BCT; first branch of the aortic arch
    """,
    "left_common_carotid_artery": """
        left common carotid; LCCA; left CCA; common carotid artery, left; arteria carotis communis sinistra;
        A_Carotid_L; common_carotid_artery_left; left carotid artery; L CCA; left-sided common carotid artery; left
        carotid; lt common carotid
    """,
    "left_subclavian_artery": """
        left subclavian artery; left subclavian; arteria subclavia sinistra; subclavian_artery_left; A_Subclavian_L;
        subclavian artery (L); L subclavian artery; lt subclavian; artery under the left collarbone; subclavian
        artery on the left; left sublavian artery; left arteria subclavia
    """,
    "celiac_trunk": """
        coeliac trunk; celiac artery; celiac axis; truncus coeliacus; coeliac axis; coeliac artery; A_Celiac;
        celiac; celiac trunc; arteria coeliaca; the coeliac trunk; celiac arterial trunk; tripus Halleri
    """,
    "superior_mesenteric_artery": """
        SMA; superior mesenteric artery; arteria mesenterica superior; sup. mesenteric artery; A_Mesenteric_S;
        superior mesentric artery; mesenteric artery, superior; upper mesenteric artery; cranial mesenteric artery;
        mesenteric superior artery; sup mesenteric art
    """,
    "spleen": """
        spleen; lien; splen; Spleen; splenic parenchyma; the spleen; splen organ; spleens; splenic tissue; whole
        spleen; splean; splenic
    """,
    "left_kidney": """
        left kidney; kidney left; L kidney; lt kidney; kidney (L); ren sinister; Kidney_L; left renal organ; kidney
        on the left; left-sided kidney; left kidny; KidneyL; LeftKidney; left renal parenchyma; kidney_left; the
        patient's left kidney; left kindey; the kidney on my left side; LKidney
    """,
    "right_kidney": """
        right kidney; kidney right; R kidney; rt kidney; ren dexter; Kidney_R; kidney on the right; right-sided
        kidney; kidney_right; right renal parenchyma; right kidneys; rt. kidney; kidney, right
    """,
    "gallbladder": """
        gall bladder; gall-bladder; vesica fellea; vesica biliaris; GB; gallblader; Gallbladder; cholecyst; bile
        bladder; biliary vesicle; the gall bladder; gallbladders; galbladder
    """,
    "liver": """
        liver; hepar; hepatic parenchyma; liver parenchyma; the liver; Liver; hepatic; whole liver; livers; hepatic
        tissue; livver; liver organ
    """,
    "stomach": """
        stomach; gaster; ventriculus; gastric; Stomach; stomache; stomach organ; gastric lumen; the stomach; tummy;
        gastric body and fundus; stomac
    """,
    "pancreas": """
        pancreas; pancreatic gland; Pancreas; pancreatic parenchyma; pancrease; pancreatic head, body and tail; the
        pancreas; pancreatic; pankreas; pancreas organ; pancras; head body and tail of pancreas
    """,
    "left_adrenal_gland": """
        left adrenal; left suprarenal gland; glandula suprarenalis sinistra; adrenal_gland_left; L adrenal; lt
        adrenal gland; suprarenal gland on the left; gland above the left kidney; Glnd_Adrenal_L; left adreanl
        gland; adrenal left; left suprarenal; left adrenals; left adrenal body; Adrenal_L
    """,
    "right_adrenal_gland": """
        right adrenal; right suprarenal gland; glandula suprarenalis dextra; adrenal_gland_right; R adrenal; rt
        adrenal gland; gland on top of the right kidney; Glnd_Adrenal_R; right suprarenal; adrenal gland (R)
    """,
    "small_bowel": """
        small bowel; small intestine; small intestines; Bowel_Small; intestinum tenue; small gut; jejunum and ileum;
        small bowel loops; small-bowel; SB; jejunoileum; smallbowel; small_bowel; small bowell; loops of small
        intestine; the small intestine; small bowels
    """,
    "duodenum": """
        duodenum; duodenal; Duodenum; duodenal loop; dudenum; the duodenum; first part of the small intestine;
        duodenal sweep; C-loop of the duodenum; intestinum duodenum; first part of the small bowel
    """,
    "colon": """
        colon; large bowel; large intestine; Bowel_Large; intestinum crassum; large gut; the colon; colonic; Colon;
        colonic frame; whole colon; big intestine; large intestines; colons
    """,
    "urinary_bladder": """
        bladder; urinary bladder; vesica urinaria; urine bladder; Bladder; the bladder; urinary blader; UB;
        urinarybladder; bladders; urinary vesica; bladder organ; bladder (urinary); vesica
    """,
    "prostate": """
        prostate; prostate gland; prostata; Prostate; prostatic gland; glandula prostatica; the prostate gland;
        prostrate; prostrate gland; prostates; prostatic; gland under the bladder
    """,
    "sacrum": """
        sacrum; sacral bone; os sacrum; Sacrum; the sacrum; sacral spine; sacral vertebrae; S1-S5; sacral vertebra;
        vertebrae sacrales; sacral vertebral column; sacral; sacrum bone; fused sacral vertebrae; S-spine
    """,
    "lumbar_vertebrae": """
        lumbar vertebrae; lumbar spine; L-spine; L1-L5; vertebrae lumbales; lumbar vertebral column; lumbar
        vertebra; lower back bones; lumbar spinal column; LSpine; lumber spine; lumbar vertebral bodies; lumbar
        backbone; bones of the lower back; L1 to L5; lumbar; lower back vertebrae; lumbar column
    """,
    "vertebrae": """
        vertebrae; spine; vertebral column; spinal column; backbone; columna vertebralis; vertebra; all vertebrae;
        vertebral bones; back bone; whole spine; bony spine; Spine; the spinal column; vertebrea; spinal bones;
        rachis; bones of the spine
    """,
    "inferior_vena_cava": """
        inferior vena cava; IVC; vena cava inferior; V_Venacava_I; inferior caval vein; inf vena cava; lower vena
        cava; inferior venacava; caudal vena cava; the IVC; inferior cava; vena cava, inferior; inferior vena cava
        vein
    """,
    "portal_and_splenic_vein": """
        portal vein and splenic vein; portal and splenic vein; portal_vein_and_splenic_vein; splenoportal axis;
        splenic and portal vein; splenoportal vein; portosplenic vein; portal/splenic vein; portal & splenic veins;
        portal vein + splenic vein; vena portae et lienalis; portal and splenic veins; splenoportal venous axis;
        splenic vein and portal vein; portal vein, splenic vein
    """,
    "left_common_iliac_artery": """
        left common iliac artery; iliac_artery_left; left iliac artery; arteria iliaca communis sinistra; left CIA;
        common iliac artery (L); L common iliac artery; lt common iliac artery; common iliac artery on the left;
        A_Iliac_L; left-sided common iliac artery; LCIA; left common iliac arteries
    """,
    "right_common_iliac_vein": """
        right common iliac vein; iliac_vena_right; right iliac vein; vena iliaca communis dextra; right CIV; common
        iliac vein (R); R common iliac vein; rt common iliac vein; common iliac vein on the right; V_Iliac_R; RCIV
    """,
    "left_femur": """
        left femur; left thigh bone; Femur_L; femur_left; L femur; lt femur; os femoris sinistrum; left thighbone;
        left femoral bone; femur on the left; bone of the left thigh; left upper leg bone; left femurs; femur
        sinister; the bone in my left thigh
    """,
    "right_hip_bone": """
        right hip bone; right hip; hip_right; os coxae dextrum; right innominate bone; right hemipelvis; right
        pelvic bone; hip bone on the right; R hip; rt hip bone; right coxal bone; right os coxae; right side of the
        pelvis; right half of the pelvis; right hipbone
    """,
    "left_gluteus_maximus": """
        left gluteus maximus; gluteus_maximus_left; left gluteus maximus muscle; musculus gluteus maximus sinister;
        left glute max; gluteus maximus (L); L gluteus maximus; largest gluteal muscle on the left; left gluteus
        maximus m.; lt gluteus maximus; m. gluteus maximus sinister; left greatest gluteal muscle; left gluteus
        maximum
    """,
    "right_gluteus_medius": """
        right gluteus medius; gluteus_medius_right; right gluteus medius muscle; musculus gluteus medius dexter;
        right glute med; gluteus medius R; middle gluteal muscle on the right; rt gluteus medius; right middle
        gluteal muscle; right gluteal medius; gluteus medius, right
    """,
    "left_gluteus_minimus": """
        left gluteus minimus; gluteus_minimus_left; left gluteus minimus muscle; musculus gluteus minimus sinister;
        left glute min; gluteus minimus L; smallest gluteal muscle on the left; lt gluteus minimus; left gluteal
        minimus; left smallest gluteal muscle; gluteus minimus, left
    """,
    "right_erector_spinae": """
        right erector spinae; autochthon_right; right erector spinae muscle; musculus erector spinae dexter; right
        paraspinal muscle; right autochthonous back muscle; erector spinae R; right deep back muscles; right
        paravertebral muscles; right paraspinal muscles; paraspinal muscles on the right; right intrinsic back
        muscles; right autochthon; right erector spinea; right spinal erectors
    """,
    "left_iliopsoas": """
        left iliopsoas; iliopsoas_left; left iliopsoas muscle; musculus iliopsoas sinister; left hip flexor; left
        ilio-psoas; iliopsoas L; iliopsoas muscle on the left; lt iliopsoas; left iliacus and psoas; iliopsoas
        (left); left iliopsoas muscles; left illiopsoas
    """,
    "left_ribs": """
        left ribs; ribs on the left; left rib cage; left-sided ribs; ribs left; L ribs; left ribcage; costae
        sinistrae; all left ribs; left rib bones; left costal bones; rib_left; left rib; ribs of the left side; ribs
        of the left chest; ribs, left; left thoracic ribs
    """,
    "right_ribs": """
        right ribs; ribs on the right; right rib cage; right-sided ribs; ribs right; R ribs; right ribcage; costae
        dextrae; all right ribs; right rib bones; rt ribs; right chest ribs
    """,
    "costal_cartilage": """
        costal cartilage; costal cartilages; rib cartilage; costal_cartilages; cartilage of the ribs; cartilago
        costalis; rib cartilages; cartilagines costales; costal cartilge; cartilaginous ribs; costochondral
        cartilage; cartilage of the rib cage
    """,
    "bones": """
        bones; skeleton; all bones; bone; bony structures; osseous structures; whole skeleton; skeletal system; bone
        structures; bony skeleton; the skeleton; every bone; osseous tissue; bony tissue; skeletal; bones of the
        body
    """,
    "body": """
        body; whole body; External; body outline; body contour; patient outline; external contour; BODY; skin
        contour; the whole patient; patient body; entire body; body mask; outer body contour; body surface; outline
        of the body; outer contour
    """,
    "adipose_tissue": """
        adipose tissue; fat; body fat; fatty tissue; adipose; fat tissue; total fat; fats; textus adiposus; all the
        fat; adipose tissues; bodily fat
    """,
    "soft_tissue_sarcoma": """
        soft tissue sarcoma; sarcoma; soft-tissue sarcoma; STS; malignant soft tissue tumour; soft tissue tumor;
        soft tissue sarcomas; sarcoma of the soft tissue; soft tissue sarcoma mass; soft tissue cancer; sarcoma
        tumour; soft-tissue tumour
    """,
}
