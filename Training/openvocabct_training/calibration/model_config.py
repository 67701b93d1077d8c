"""Changes of a finished model's ``config.json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from OpenVocabCTLib.models.checkpoints import CONFIG_FILE
from OpenVocabCTLib.output.atomic import replacing


def change_decision(
    model: Path, change: Callable[[Mapping[str, Any]], Mapping[str, Any]], **sections: Mapping[str, Any]
) -> None:
    """Replace entries of ``decision``, and whole other sections; everything else stays as it is.

    Args:
        model: model folder.
        change: the decision section as it is -> entries to set in it.
        sections: name -> content.
    """
    path = model / CONFIG_FILE
    raw = json.loads(path.read_text(encoding="utf-8"))
    decision = raw.get("decision", {})
    raw["decision"] = {**decision, **change(decision)}
    raw.update(sections)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
