"""Random damage to a DICOM series, and the judgement of what reading it gave.

Run as a script, it damages as often as asked: ``python -m Testing.openvocabct_lib.dicom.corruption 2000``.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from OpenVocabCTLib.errors import InputError, ResourceError
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.dicom.clinical_series import POSITIONS, write_clinical

# Beyond this a place is wrong: scanners themselves round positions to 0.1 mm.
TOLERANCE_MM = 0.35
# Five slices show an uneven distance as nine do, and are read in half the time.
LEFT_OUT = (0, 1, 7, 8)
KINDS = ("byte", "byte in the header", "bytes", "tag removed", "truncated", "digit", "swapped")


def damage(path: Path, kind: str, chance: random.Random) -> None:
    """Damage one file in one of the `KINDS`."""
    content = bytearray(path.read_bytes())
    pixels = content.rfind(b"\xe0\x7f\x10\x00")
    end = pixels if kind in ("byte in the header", "digit") and pixels > 0 else len(content)
    if kind in ("byte", "byte in the header"):
        content[chance.randrange(end)] ^= 1 << chance.randrange(8)
    elif kind == "bytes":
        start = chance.randrange(len(content))
        for n in range(start, min(start + chance.randint(2, 64), len(content))):
            content[n] = chance.randrange(256)
    elif kind == "digit":  # still a number: the hardest to notice
        digits = [n for n in range(end) if 48 <= content[n] <= 57]
        content[chance.choice(digits)] = chance.randint(48, 57)
    elif kind == "truncated":
        del content[chance.randrange(len(content)) :]
    elif kind == "swapped":
        a, b = sorted(chance.randrange(len(content)) for _ in range(2))
        content[a:b] = content[b : b + (b - a)].ljust(b - a, b"\0")
    else:
        _remove_tag(path, chance)
        return
    path.write_bytes(content)


def _remove_tag(path: Path, chance: random.Random) -> None:
    dataset = pydicom.dcmread(path)
    del dataset[chance.choice(list(dataset.keys()))]
    dataset.save_as(path, enforce_file_format=False)


def places(volume: CTVolume) -> NDArray[np.float64]:
    """The corners of a volume in LPS mm (8, 3), sorted by their coordinates along the axes of the patient."""
    n = np.array(volume.geometry.shape[::-1]) - 1
    index = np.array([[i, j, k] for i in (0, n[0]) for j in (0, n[1]) for k in (0, n[2])], dtype=float)
    affine = volume.geometry.affine_lps()
    return index @ affine[:3, :3].T + affine[:3, 3]


def judge(folder: Path, reference: CTVolume) -> str:
    """Read a damaged series; return what came of it.

    "refused" and "with a note" are messages; "the same place" is a volume on the reference's grid without a message,
    which is right as long as the damage did not touch the geometry; "WRONG" is neither.
    """
    try:
        volume = CTVolume.read(folder)
    except (InputError, ResourceError) as error:
        assert str(folder.parent) not in str(error)
        assert "\n" not in str(error)
        return "refused"
    if volume.notes != reference.notes:
        return "with a note"
    same = volume.geometry.shape == reference.geometry.shape
    if same and np.abs(places(volume) - places(reference)).max() <= TOLERANCE_MM:
        return "the same place"
    return "WRONG"


def damaged_runs(count: int, seed: int, compress: bool = False) -> Counter[str]:
    """Damage one file of a series `count` times in random ways, and count what came of it.

    Raises:
        AssertionError: a wrong place without a message, or a message that gives away folders.
        Exception: anything else that the reader lets through is a crash.
    """
    results: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as parent:
        originals = {}
        for position in POSITIONS:
            folder = Path(parent) / f"{position} original"
            files = write_clinical(folder, position, skip=LEFT_OUT)
            if compress:
                from Testing.openvocabct_lib.dicom.test_reading import COMPRESSED
                from Testing.openvocabct_lib.dicom.test_reading import compress as compress_file

                syntax = chance_of(seed).choice(list(COMPRESSED.values()))
                for file in files:
                    compress_file(file, syntax)
            originals[position] = (folder, CTVolume.read(folder))
        for number in range(count):
            chance = chance_of(seed * 1_000_003 + number)
            position, kind = chance.choice(list(POSITIONS)), chance.choice(KINDS)
            original, reference = originals[position]
            folder = Path(parent) / "damaged"
            shutil.copytree(original, folder)
            damage(chance.choice(sorted(folder.iterdir())), kind, chance)
            try:
                result = judge(folder, reference)
            except Exception as error:
                raise AssertionError(f"seed {seed}, run {number}: {kind} in the {position} series: a crash") from error
            assert result != "WRONG", f"seed {seed}, run {number}: {kind} in the {position} series"
            results[result] += 1
            if number % 100 == 99:
                print(number + 1, dict(results), file=sys.stderr, flush=True)
            shutil.rmtree(folder)
    return results


def chance_of(seed: int) -> random.Random:
    return random.Random(seed)


if __name__ == "__main__":
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print("plain", dict(damaged_runs(total - total // 4, seed=int(sys.argv[2]) if len(sys.argv) > 2 else 1)))
    print("compressed", dict(damaged_runs(total // 4, seed=2, compress=True)))
