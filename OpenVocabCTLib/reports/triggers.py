"""Words that deny or doubt what stands before or after them, and words that end what they reach."""

from __future__ import annotations

import re


def pattern(text: str) -> re.Pattern[str]:
    """Compile what is looked for in any letter case."""
    return re.compile(text, re.IGNORECASE)


_SEEN = (
    r"(?:seen|identified|identifiable|present|visuali[sz]ed|visible|evident|apparent|demonstrated|demonstrable|detected|"
    r"detectable|appreciated|appreciable|noted|found|observed|shown|recogni[sz](?:ed|able)|discernible|delineated|"
    r"depicted|perceptible)"
)
_NOT = r"(?:not|no\s+longer|never|cannot|can\s?not|(?:is|are|was|were|can|could|has|have)n['\u2019]t)"
_AUXILIARY = r"(?:is|are|was|were|has|have|had|be|been|appears?|seems?)"
_GONE = r"(?:resolved|dissolved|disappeared|vanished|cleared|gone|removed|resected|excised|explanted)"
_NO_LONGER_THERE = rf"(?:{_GONE}|absent|non-?\s?existent|excluded|ruled\s+out)"
_PARTLY = r"(?:near|nearly|almost|partial|partially|partly|mostly|largely|incomplete|incompletely|virtually|slightly)"
_COURSE = r"(?:resolution|removal|disappearance|clearance|clearing)"
_MEASURED = (
    r"(?:significant|interval|substantial|appreciable|definite|further|evidence|signs?|of|for|any|obvious|convincing|clear|"
    r"relevant|major|marked|notable|measurable|disease|overt|other|complete|full|\w+ly)"
)

# Negated, but not what they stand before: "no change of the nodule", "no evidence of progression of the metastases".
# What was not there before is there now, and what has gone in part is still there.
HARMLESS = pattern(
    rf"\b(?:no|without|not)\s+(?:{_MEASURED}\s+)*(?:changes?|changed|increase[ds]?|decrease[ds]?|enlargement|growth|expansion|"
    rf"progression|regression|improvement|worsening|deterioration|difference|{_COURSE})(?:\s+of)?\b"
    rf"|\b(?:no|without)\s+(?:(?!(?:and|or|nor)\b)\w+\s+){{1,4}}(?:enlargement|growth|progression|worsening|expansion)\b"
    rf"|\b(?:can|could|may|might|must|should|shall|will|would|to)(?:\s*not)?\s+be\s+(?:\w+ly\s+)?{_GONE}\b"
    r"|\b(?:not|no\s+longer)\s+(?:\w+ly\s+)?(?:involved|affected|invaded|infiltrated|compressed|displaced)\s+by\b"
    r"|\bexcluded\s+from\b|\bnot\s+(?:\w+ly\s+)?enlarged\b|\bnot\s+only\b|\bno\s+doubt\b|\bunchanged\b"
    r"|\b(?:no|not)\s+(?:more|larger|greater|bigger)\s+than\b"
    rf"|\bnot\s+(?:(?:previously|before|formerly|earlier)\s+{_SEEN}|{_SEEN}\s+(?:previously|before|formerly|earlier))\b"
    rf"|\b(?:not|no)\s+{_SEEN}\s+(?:(?:on|in|at)\s+)?(?:(?:the|any|an|a)\s+)?"
    r"(?:prior|previous|earlier|preceding|last|old|comparison)\b"
    rf"|\b(?:{_PARTLY}|not)\s+(?:(?:yet|been|\w+ly)\s+)*{_GONE}\b|\bnon-?{_GONE}\b|\bnot\s+absent\b"
    rf"|\b{_PARTLY}[\s-]+(?:complete\s+)?{_COURSE}\s+of\b"
)
# Of a relative, who is not in this scan.
_RELATIVE = (
    r"(?:family\s+history(?:\s+of|\s*:)|"
    r"(?:mother|father|parents?|brothers?|sisters?|siblings?|aunt|uncle|grand(?:mother|father|parents?))\b[^.;,]{0,40}?"
    r"\b(?:had|has|have|with|of))"
)
# What says behind a name that it is not there: "fracture: none", "embolism negative", "effusion | no", "cyst [ ]".
_NO = r"(?:none|no|nil|neg(?:ative)?|absent)"
_DENIED_THERE = rf"(?:{_NO}|excluded|ruled\s+out|resolved|removed|{_NOT}\s+{_SEEN})\b|-ve\b|\(-\)|\[\s?\]|-"
_DOUBTED_THERE = (
    rf"(?:{_NOT}\s+(?:be\s+)?(?:excluded|ruled\s+out)|possible|likely|probable|suspected|questionable|equivocal)\b"
)
_AT_THE_END = r"(?=\s*(?:\Z|[.,;)]))"
DENIES_AFTER = pattern(
    rf"\[\s?\]|\b(?:{_RELATIVE}|\w+ectomy\s+for)\b"
    rf"|\b(?:no|nil|without|not|nothing|negative\s+for|free\s+(?:of|from)|(?:absence|lack|{_COURSE}|resection)\s+of|neither|"
    r"nor|never|denies|rules\s+out|excludes|rather\s+than|instead\s+of)\b"
)
DENIES_BEFORE = pattern(
    rf"\b(?:{_AUXILIARY}\s+)*(?:{_NOT}\s+(?:(?:be|been)\s+)?(?:(?:\w+ly|yet|again|now)\s+)*{_SEEN})\b"
    rf"|\b(?:(?:{_AUXILIARY}|can|could)\s+)(?:(?:be|been|now|since|also|all|\w+ly)\s+)*{_NO_LONGER_THERE}\b"
    rf"|(?:[:=|\u2013\u2014]|\s-)\s*(?:{_DENIED_THERE}){_AT_THE_END}"
    rf"|(?<!triple)(?<!receptor)(?<!margins)(?<!node)\s(?:{_NO}\b|-ve\b|\(-\)|\[\s?\]|-){_AT_THE_END}"
)
# Without a verb: "pneumothorax resolved" and "resolved pneumothorax".
DENIES_AROUND = pattern(rf"\b(?:{_NO_LONGER_THERE}|non-?\s?visuali[sz]ed)\b")
_EXCLUDED = r"(?:excluded|ruled\s+out)"
# What an older scan showed, unless the sentence goes on to say that it is there now, or denies it.
_SEEN_BEFORE = (
    r"(?:prior|previous|older|old|last|earlier)\s+(?:(?:chest|ct|mri?|pet|exam|examination|study|scan|imaging|radiograph|"
    r"x-?ray)[\s/-]+){1,3}(?:had\s+)?(?:showed|shown|demonstrated|revealed)"
    r"(?!.{0,200}\b(?:persists?|persisting|unchanged|stable|again|still|remains?|now|today|currently|similar|"
    r"(?:in|de)creased|grown|larger|smaller|progress\w+|no|not|without|resolved|gone|disappeared)\b)"
)
DOUBTS_AFTER = pattern(
    r"\b(?:possibl[ey]|possibility\s+of|probabl[ey]|likely|unlikely\s+(?:an?|to)|suspicious\s+(?:for|of)|suspected|"
    r"suspicion\s+(?:of|for)|suggest(?:ive\s+of|ing|s)?|indicative\s+of|doubtful|equivocal|"
    r"(?:may|might|could)\s+(?:represent|be|reflect|indicate)(?!\s+(?:\w+ly\s+)?(?:excluded|ruled))|"
    r"(?:cannot|can\s?not|can't|could\s+not|not|to|difficult\s+to)\s+(?:\w+ly\s+)?(?:be\s+)?(?:exclude|rule\s+out)|"
    r"(?<!can )rule\s+out|r/o|query|evaluate\s+for|evaluation\s+(?:of|for)|assess\s+for|screening\s+for|"
    r"(?<!family\s)history\s+of|hx\s+of|h/o|ddx|if(?:\s+there\s+(?:is|are|was|were))?|in\s+case\s+of|should\s+(?:an?|any|new)|"
    rf"concern(?:ing)?\s+for|questionable|presumed|presumably|versus|vs|differential(?:\s+diagnos[ie]s)?|{_SEEN_BEFORE})\b"
    r"|\?\s*(?=\w)"
)
DOUBTS_BEFORE = pattern(
    rf"\b(?:{_NOT}\s+(?:(?:be|been|yet|\w+ly)\s+)*{_EXCLUDED}|"
    rf"{_NOT}\s+(?:be\s+)?(?:clearly|definitely|definitively|convincingly|reliably|confidently|well)\s+{_SEEN}|"
    r"(?:is|are)\s+(?:possible|suspected|questionable|likely|favou?red|doubtful|equivocal)|"
    r"likely(?=\s*(?:\Z|[.;)]))|"
    r"(?:(?:is|are|seems?|appears?)\s+)?(?:(?:considered|very|highly|thought)\s+)*unlikely(?!\s+(?:an?|to)\b))\b|(?<=\w)\?|"
    rf":\s*{_DOUBTED_THERE}{_AT_THE_END}"
)
# "After stone removal" the stone is gone, whatever else the sentence says.
TAKEN_OUT = pattern(
    r"\b(?:after|following|status\s+post|s/p|interval|post|since)\s+((?:[\w-]+\s+){1,4}?)(?:removal|resection|excision)\b"
)
# What is denied of one side may be there on the other: "effusion resolved on the left and new on the right".
ONE_SIDE = pattern(r"\s+(?:on|in|at)\s+the\s+(?P<side>left|right)\b[^.;]*\b(?!(?P=side))(?:left|right)\b")
# Vocabulary says "growth" for a tumor; "no growth of the nodule" names none.
GROWTH = pattern(r"\bgrowth\b")
# A doubt that a denial reaches is none: "no findings suspicious for metastasis", "no history of cancer".
SUSPECTS = pattern(r"\b(?:suspici\w+|suggest\w*|indicative|concern\w*|history)\b")

_VERBS = (
    r"(?:is|are|was|were|shows?|demonstrates?|has|have|measures?|measuring|contains?|persists?|remains?|appears?|"
    r"developed|increased|decreased)"
)
CLEAR_ENDS = pattern(
    rf";|\[\s?x?\s?\]|:(?!\s*(?:{_DENIED_THERE}|{_DOUBTED_THERE}){_AT_THE_END})|"
    r"\b(?:present|positive|yes)\b(?=\s*(?:,|and\b))|\b(?:but|however|although|though|except|excepting|"
    r"with\s+the\s+exception\s+of|apart\s+from|aside\s+from|other\s+than|positive\s+for|besides|yet|whereas|while|"
    r"there\s+(?:is|are|was|were)|because|with(?!out)|which)\b"
)
# Where something else may be spoken of, and the one verb of a list that only looks like it: "nodules and effusions are
# not seen".
NEW_CLAUSE = pattern(
    rf"\band\b(?=[^,;]*\b{_VERBS}\b)"
    rf"|,(?!\s*(?:and\s*/\s*or|or|nor|and|{_VERBS})\b)(?=(?:(?!\b(?:or|nor)\b)[^,;])*\b{_VERBS}\b)"
)
SHARED_VERB = pattern(
    r"\s*(?!(?:the|an?|there)\b)(?P<list>(?:[\w-]+\s+){1,8}?)(?:are|were)\s+(?:\w+ly\s+)?"
    rf"(?:not|no\s+longer|absent|excluded|{_SEEN})\b"
)
VERB = pattern(rf"\b{_VERBS}\b")
AND = pattern(r"\band\b")
# What a sentence says after these is of another place.
PLACE_ENDS = pattern(r";|\b(?:but|however|although|though|whereas|while|yet)\b")
SENTENCE_VERB = pattern(rf"{_AUXILIARY}\b|cannot\b|(?:can|could)\b")
RELATIVE = pattern(rf",?\s*\b(?:which|that)\s+(?:{_AUXILIARY}\s+)*\Z|,?\s*\b(?:which|that|and)\s*\Z")

VERB_FOLLOWS = pattern(rf"\s*{_VERBS}\b")

# What a participle is followed by where it says something of the words before it.
PREDICATE_FOLLOWED_BY = pattern(
    r"\s*(?:\Z|[.,;:)]|(?:on|in|at|since|with|and|but|after|by|from|over|compared|now|today|as|is|are)\b)"
)
NOUN_PHRASE_END = pattern(r"[,;:.()]|\b(?:with|and|but|is|are|was|were|has|have)\b")

# In a list after a denial: what goes on with the list, what begins something that is there, what cannot be told.
LIST_BREAK = pattern(r",|\band\b|\s[-+\u2013\u2014]\s|\(")
LIST_GOES_ON = pattern(r"\b(?:or|nor|neither)\b")
DENIED_AGAIN = pattern(r"\s*(?:and|but)?\s*(?:no|not|without|nor)\b")
_COUNTED = r"(?:an?|one|two|three|four|several|few|multiple|some|numerous|\d+)"
_STEADY = r"(?:stable|unchanged|known|old|chronic|persistent|residual|increased|increasing|status\s+post)"
_SIZED = r"(?:small(?!\s+(?:bowel|intestin))|tiny|trace|minimal|mild|mildly|moderate|subtle)"
_MEASURE = r"\d+(?:[.,]\d+)?\s*(?:x\s*\d+(?:[.,]\d+)?\s*)*(?:mm|cm|ml)\b"
IS_THERE = pattern(rf"\A\s*(?:{_COUNTED}|{_STEADY})\b|\b(?:stable|unchanged)\b|{_MEASURE}")
IS_THERE_AFTER_COMMA = pattern(rf"\A\s*{_SIZED}\b")
MAY_BE_THERE = pattern(
    rf"\A\s*(?:{_SIZED}|large(?!\s+(?:bowel|intestin))|huge|big|new|left|right|left-sided|right-sided|bilateral)\b"
    r"|\b(?:in|of|at|within|on)\s+the\b|\b(?<!are )(?<!were )(?:present|seen|noted|visible)\s*[.]?\s*\Z"
)
UNSPECIFIC = pattern(r"\b(?:findings?|abnormalit(?:y|ies)|process(?:es)?|disease|pathology)\s*\Z")
# A word that begins something of its own in a list, which does not share what the list says of the rest.
BEGINS_ANEW = pattern(rf"{_COUNTED}|{_SIZED}|stable|unchanged|known|old|chronic|large|new|there|the")
