from __future__ import annotations

import sys
from pathlib import Path

MODULE = str(Path(__file__).resolve().parents[3] / "OpenVocabCT")
if MODULE not in sys.path:
    sys.path.insert(0, MODULE)
