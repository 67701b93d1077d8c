"""Word tables for reading prompts: spelling, plurals, words that do not matter, and words that ask."""

from __future__ import annotations

from collections.abc import Mapping


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _word_map(text: str) -> Mapping[str, str]:
    """Read "femora=femur testes=testis" as a mapping."""
    return dict(pair.split("=", 1) for pair in text.split())


# British word parts and their American form. Words of anatomy that hold one by chance ("aorta", "vertebrae") are safe.
SPELLINGS = _word_map(
    """
    oesoph=esoph haem=hem tumour=tumor oedem=edem caec=cec coeliac=celiac faec=fec aneurism=aneurysm colour=color
    grey=gray centre=center fibre=fiber calibre=caliber leukaem=leukem ischaem=ischem foet=fet anaesth=anesth
    orthopaed=orthoped peritonaeum=peritoneum
    """
)

# Plurals that the rules for regular ones would miss; the right side is a form to compare by.
PLURALS = _word_map(
    """
    femora=femur testes=testis ova=ovum calves=calf feet=foot teeth=tooth men=man humeri=humerus bronchi=bronchus
    thrombi=thrombus emboli=embolus glutei=gluteus calculi=calculus nuclei=nucleus radii=radius uteri=uterus
    sinuses=sinus viscera=viscus scapulas=scapula aortas=aorta tibias=tibia fibulas=fibula ulnas=ulna
    patellas=patella cochleas=cochlea tracheas=trachea mandibulas=mandibula retinas=retina uvulas=uvula
    ischia=ischium ilia=ilium crura=crus lenses=lens pelves=pelvis pons=pons lens=lens biopsies=biopsy
    diverticula=diverticulum hematomata=hematoma hematomas=hematoma lymphomas=lymphoma sarcomas=sarcoma
    adenomas=adenoma edemas=edema autochthones=autochthon epididymides=epididymis ganglia=ganglion septa=septum
    labra=labrum menisci=meniscus areas=area metastasis=metastasis atria=atrium indices=index appendices=appendix
    cortices=cortex ossa=os
    """
)

# Abbreviations, Latin nouns and adjectives that stand for the same word in the name of a structure.
SAME_WORD = _word_map(
    """
    saliva=salivary art=artery arteria=artery arterial=artery vena=vein venous=vein glandula=gland gl=gland
    glnd=gland musculus=muscle m=muscle musc=muscle muscular=muscle musculature=muscle os=bone bony=bone
    osseous=bone sup=superior inf=inferior asc=ascending desc=descending
    abd=abdominal pulm=lung vert=vertebra disk=disc mets=metastasis metastases=metastasis metastatic=metastasis
    aortic=aorta atrial=atrium bronchial=bronchus cardiac=heart colonic=colon costal=rib duodenal=duodenum
    esophageal=esophagus femoral=femur gastric=stomach hepatic=liver intestinal=intestine laryngeal=larynx
    mandibular=mandible ovarian=ovary pancreatic=pancreas pelvic=pelvis prostatic=prostate pulmonary=lung
    pulmonic=lung renal=kidney sacral=sacrum skeletal=skeleton spinal=spine splenic=spleen sternal=sternum
    thymic=thymus tracheal=trachea uterine=uterus vertebral=vertebra
    """
)

ORDINALS = _word_map(
    """
    first=1 second=2 third=3 fourth=4 fifth=5 sixth=6 seventh=7 eighth=8 ninth=9 tenth=10 eleventh=11 twelfth=12
    """
)

ARTICLES = _word_set("the a an my his her its their our your this that these those all any each every some")

# German, French and Spanish articles: left out only where the rest is then known, because "LA" is also the left atrium.
FOREIGN_ARTICLES = _word_set(
    "der die das den dem des ein eine einen einem einer eines le la les un une du el los las una unos unas"
)

# Words that may be missing or present without changing which structure is meant.
NEUTRAL_WORDS = _word_set(
    """
    organ structure tissue parenchyma side sided of on in at for is within inside patient pt whole
    entire complete human anatomy anatomical oar risk roi
    """
)

# What kind of structure a name says. A prompt may add the right kind ("iliopsoas muscle"), but not drop it ("thigh" is
# not the thigh bone) nor change it ("jaw muscle" is not the jaw bone).
KIND_WORDS = _word_set("gland muscle bone")

# What kind of thing a text speaks of, in the form by which words are compared; wider than `KIND_WORDS`, because it only
# makes free text be refused.
KIND_NOUNS = KIND_WORDS | _word_set(
    """
    artery vein vessel nerve node duct tumor cyst lesion mass metastasis nodule stone fracture abscess hematoma thrombus
    aneurysm stent catheter implant prosthesis valve ligament tendon joint disc cartilage fat skin marrow cord edema
    effusion calcification
    """
)

# What may be said of a structure as a whole: all of it is meant.
STATES = _word_set("normal healthy visible enlarged swollen inflamed atrophic intact full edentulous")

# Words beside the name of a structure that leave it what it is.
SAYING_NOTHING = STATES | _word_set(
    """
    thing stuff somewhere big large small how
    make makes making carry carries carrying hold holds holding store stores storing
    """
)

# What put before the name of a structure makes it the surroundings or a part: "peritracheal", "retromandibular".
BESIDE = (
    "peri",
    "para",
    "retro",
    "sub",
    "supra",
    "infra",
    "pre",
    "post",
    "inter",
    "intra",
    "extra",
    "epi",
    "endo",
    "trans",
)

# Words that say what is not wanted, or that something is not there.
EXCLUSIONS = _word_set(
    """
    not no non none never neither nor nothing without except excepting excepted excluding exclude excludes excluded
    excl minus less but remove removes removed removing removal subtract subtracts subtracted subtracting delete
    deleted deleting erase erased omit omits omitted omitting hide hiding skip skipping avoid avoiding ignore ignoring
    discard spare spares spared sparing leave leaving outside beyond lack lacks lacking absent absence missing
    resected excised amputated gone inverse invert inverted complement negate negation agenesis aplasia aplastic
    unless cannot cant dont doesnt didnt isnt arent wont wouldnt shouldnt couldnt
    kein keine keinen keinem keiner keines nicht ohne ausser ausgenommen weder
    sans sauf pas aucun aucune hormis excepte jamais moins ni
    sin menos excepto salvo ningun ninguno ninguna nunca sine
    """
)

# What "n't" may stand behind.
AUXILIARIES = _word_set("don doesn didn isn aren wasn weren can couldn won wouldn shouldn haven hasn needn mustn ain")

# What has a left and a right of its own, which is not the patient's; scans only where the side is "of" them.
ON_SCREENS = _word_set(
    """
    image images picture pictures photo screen screens viewer viewers viewport display monitor reader observer
    radiological radiologic bild bildes bildschirm bildschirms ecran imagen pantalla
    """
)
ON_SCANS = _word_set("scan scans slice slices ct film radiograph")
# What may stand between a side and a screen.
TO_SCREENS = _word_set(
    """
    of in on at to from the this that a my your our s side sided hand half part edge border corner upper lower top
    bottom im am auf des dem der de del la le l en sur dans du ct
    """
)

# Verbs and prepositions of descriptions ("tube that carries food to the stomach") that say the same. Directions and
# places (from, to, above, behind) are none of them: they tell one structure from another.
SAME_IN_DESCRIPTIONS = _word_map(
    """
    carries=carry carrying=carry brings=carry bring=carry bringing=carry takes=carry take=carry taking=carry
    transports=carry transport=carry transporting=carry delivers=carry deliver=carry delivering=carry
    conducts=carry conduct=carry conducting=carry moves=carry move=carry moving=carry conveys=carry returns=carry
    return=carry returning=carry holds=hold holding=hold contains=hold contain=hold containing=hold
    makes=make making=make produces=make produce=make producing=make stores=store storing=store collects=store
    collect=store collecting=store keeps=store keep=store keeping=store pumps=pump pumping=pump
    into=to toward=to towards=to inside=in within=in before=front anterior=front
    big=large
    """
)

# Words of descriptions without a meaning of their own.
EMPTY_IN_DESCRIPTIONS = _word_set(
    """
    that which who is are be in of on at with by and where it its goes go going runs run running leads lead leading
    passes pass passing lies lie lying located situated found
    """
)

# What may stand before the name of a structure.
ASKING_BEFORE = _word_set(
    """
    please pls plz kindly can could would will you u we i id d m im ll want wanna need needs like love wish have to
    me us let lets hi hello hey ok okay so now just very kind show display see view look looking locate find
    identify detect point give get tell provide create make generate produce draw do run perform segment segmentate
    segmenting segmented segmentation segmentations outline outlining outlines contour contours contouring delineate
    delineating delineation trace mark mask masks label highlight annotate annotation annotating extract isolate
    visualise visualize colour color paint measure separate pick select where what which is are was there s what's
    about one only if whether size ct seg prompt
    be at for of out in up roi structure volume area region called named name patient patients
    """
)

# What may stand after it; "_" joins the words of a phrase.
ASKING_AFTER = tuple(
    sorted(
        (
            tuple(phrase.split("_"))
            for phrase in _word_set(
                """
                please pls plz thanks thank_you thank_you_very_much thanks_a_lot many_thanks for_me for_us
                if_you_can if_possible now here there ct ct_scan scan image images picture dataset study on_ct in_ct
                on_this on_the in_this in_the from_this from_the in_this_patient
                in_the_patient of_the_patient of_this_patient
                segmentation segmentations contour contours delineation mask masks label outline roi oar is are
                located visible seen shown contoured segmented outlined delineated marked highlighted for_planning
                for_rt_planning for_treatment_planning for_radiotherapy for_radiotherapy_planning segment_it show_it
                find_it draw_it contour_it outline_it mark_it only seg volume size nii nii_gz
                in_red in_blue in_green in_yellow red blue green yellow
                """
            )
        ),
        key=len,
        reverse=True,
    )
)

# Real words that are one letter away from a structure. Correcting them would change what the person asked for.
NEVER_CORRECTED = _word_set(
    """
    color porta portal river lever heard earth hears dural neural ocular oral nasal tibial femoral peroneal perineal
    peritoneal perineum peritoneum rectus rectum malleus malleolus ileum ilium ileal iliac uterine ureteral urethral
    ureter urethra trochlea trachea hepatis atlas axial breath beast heath thigh ankle facial fascial fascia facia
    humoral humeral mental dental costal coastal colonial spin spines plural pleural callus humor tumor carpal
    tarsal metacarpal metatarsal radial ulnar pubic public stoma stromal sternal cranial gastric splenic cortical
    abductor branchial hepatoma ileus myxoma mamilla mamillary metencephalon nephron nodulus pallium pisiform
    pisiformis trapezium stape stapes serosa serosal valgus varus waist crest pedis corner cornu cornua fauces fauce
    recta recti dense stable spiral supine coxitis colpitis enema myelin ligula scala peroneum
    otic dual genu mole
    """
)
