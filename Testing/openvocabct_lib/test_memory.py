from __future__ import annotations

import errno
import subprocess
import sys

import pytest
import torch

from OpenVocabCTLib.memory import is_out_of_memory, status_mb

# Frees and allocates 64 MB again and again; prints the page faults that this cost.
REUSE = """
import resource, sys
import numpy as np
from OpenVocabCTLib.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
np.ones(1 << 23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(1 << 23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    run = subprocess.run([sys.executable, "-c", REUSE, mode], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_kept_memory_costs_no_page_faults() -> None:
    assert page_faults("keep") < 0.2 * page_faults("hand back")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="proc(5)")
def test_what_a_process_holds_is_what_the_system_says() -> None:
    held = status_mb("VmRSS")
    assert held is not None and 10 < held <= (status_mb("VmHWM") or 0)


@pytest.mark.parametrize(("field", "pid"), [("VmNothing", "self"), ("VmRSS", "0")])
def test_memory_that_cannot_be_known_is_none(field: str, pid: str) -> None:
    assert status_mb(field, pid) is None


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
    ],
)
def test_out_of_memory(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), OSError(errno.ENOENT, "no file"), ValueError("memory")]
)
def test_other_errors(error: BaseException) -> None:
    assert not is_out_of_memory(error)
