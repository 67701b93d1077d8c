"""Telling reports in English from those in other languages, whose denials would not be understood."""

from __future__ import annotations

import re

# Words without which hardly a sentence is written.  Those that languages share are in neither list.  Capitals are told
# from small letters, because "DES" is a stent and "PAs" are arteries.
_ENGLISH = re.compile(
    r"\b(?:the|of|and|or|is|are|were|with|without|there|to|from|this|that|which|has|have|been|for|by|at|not|but|seen|"
    r"right|left|evidence)\b",
    re.IGNORECASE,
)
_OTHER = re.compile(
    r"\b(?:[Kk]eine?[mnrs]?|[Nn]icht|[Oo]hne|und|oder|mit|(?<!van )[Dd]er|[Dd]as|[Ee]ine[mnrs]?|"
    r"zur|zum|bei|sowie|Nachweis|Anhalt|"
    r"[Uu]nauff\u00e4llig\w*|[Pp]as|[Aa]ucune?|[Ss]ans|[Aa]vec|[Uu]ne|[Dd]ans|[Ll]es|du|des|de(?!-|\s+(?:novo|[A-Z]))|"
    r"[Hh]ay|[Cc]on|(?:del|[Ll]os|[Ll]as|di|da|dos)(?!\s+[A-Z])|[Uu]na|[Nn]ing[u\u00fa]n\w*|[Ss]in(?=\s+(?!et\b|and\b)[^\W\d]{3})|se\s+observan?|"
    r"[Nn]essun\w*|[Ss]enza|della|dei|il|[Nn]on\s+si|[Ss]em|com|[Nn][a\u00e3]o|[Uu]ma|"
    r"[Gg]een|[Nn]iet|het|een|[Zz]onder|voor)\b"
)


def is_foreign(text: str) -> bool:
    """Tell whether a text is rather in German, French, Spanish, Italian, Portuguese or Dutch than in English."""
    return sum(1 for _ in _OTHER.finditer(text)) > sum(1 for _ in _ENGLISH.finditer(text))
