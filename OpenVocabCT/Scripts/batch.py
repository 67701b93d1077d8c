"""Segment many CTs without an interface.

    Slicer --no-splash --no-main-window --python-script batch.py --input DIR --prompt "left kidney" liver --output DIR
    python batch.py --input ct.nii.gz --prompt "left kidney" --output results --format nii.gz --resume

The exit code says how it went: 0 done, 2 bad usage or a CT that cannot be used, 3 model problem, 4 out of memory or
disk, 130 cancelled, 1 anything unexpected.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path


def find_packages(script: Path) -> None:
    """Make our packages importable from a checkout, where they are not installed."""
    module = script.resolve().parent.parent
    for folder, package in ((module, "OpenVocabCTSlicer"), (module.parent, "OpenVocabCTLib")):
        if (folder / package).is_dir() and str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def run() -> int:
    """Run the batch with the words after the script's name; return the exit code, whatever happens."""
    # Slicer runs the text of this file; not all of its versions say where the file is.
    find_packages(Path(globals().get("__file__") or sys.argv[0]))
    try:
        from OpenVocabCTSlicer.headless import main

        return main(sys.argv[1:])
    except Exception:  # noqa: BLE001 an exception does not end Slicer, which would then wait for ever without a window
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    # Slicer ends with this code too: its Python manager turns SystemExit into the end of the application.
    sys.exit(run())
