"""What prompts cost a model of several networks: one prompt runs one network, ten prompts of it one image pass.

    python Testing/benchmarks/table_cost.py CT NETWORK NETWORK...

NETWORK is a results folder of nnU-Net v2, for example those of ``nnunet_train.py``.  All ratios are of one run.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from OpenVocabCTLib import CTVolume, Segmenter
from OpenVocabCTLib.inference.tables.segmenter import TableSegmenter
from OpenVocabCTLib.memory import keep_freed_memory
from OpenVocabCTLib.models.converting.nnunet import read_results
from OpenVocabCTLib.models.converting.writing import Description, write_model
from OpenVocabCTLib.models.tables import plain


def main(ct: Path, folders: list[Path]) -> None:
    """Print seconds and image passes of one prompt, ten prompts, and a prompt of the next network."""
    keep_freed_memory()
    volume = CTVolume.read(ct)
    with tempfile.TemporaryDirectory() as place:
        networks = [read_results(folder) for folder in folders]
        write_model(Path(place) / "model", networks, Description("table_cost.py", "not stated"))
        segmenter = Segmenter.from_pretrained(Path(place) / "model", device="cpu", backend="torch")
        if not isinstance(segmenter, TableSegmenter):
            raise TypeError("not a model with class tables")
        for number in range(len(networks)):
            segmenter.network_tower(number)  # loading is no part of what a prompt costs
        first, *_ = segmenter.table_config.networks

        ten = [plain(first.classes[1 + index % (len(first.classes) - 1)]) for index in range(10)]
        study = segmenter.encode(volume)
        alone = timed("1 prompt", lambda: study.segment(ten[:1]))
        print(f"  image passes: {len(study.embedding.by_network)} of {len(networks)} networks")
        timed("the same 1 prompt again", lambda: study.segment(ten[:1]))
        segmenter.cache.clear()
        other = segmenter.encode(volume)
        together = timed("10 prompts", lambda: other.segment(ten))
        print(
            f"  image passes: {len(other.embedding.by_network)} of {len(networks)}; {together / alone:.2f}x of 1 prompt"
        )
        timed("the other networks", lambda: other.prepare(None))
        print(f"  image passes: {len(other.embedding.by_network)} of {len(networks)}")


def timed(what: str, work: object) -> float:
    """Run and print the seconds."""
    began = time.perf_counter()
    work()  # type: ignore[operator]
    seconds = time.perf_counter() - began
    print(f"{what}: {seconds:.2f} s")
    return seconds


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(one) for one in sys.argv[2:]])
