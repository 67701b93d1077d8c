from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.output import CroppedMask, Segment, Segmentation, unanswered
from OpenVocabCTLib.prompts import PromptSet
from OpenVocabCTLib.worker import packing
from OpenVocabCTLib.worker.errors import ProtocolError
from OpenVocabCTLib.worker.protocol import (
    SLAB_BYTES,
    Address,
    VolumeHeader,
    content_key,
    pack_answers,
    slabs,
    unpack_answers,
    unpack_steps,
)
from Testing.openvocabct_lib.worker.running import OBLIQUE, ROOT, ct

SHAPE = (7, 9, 11)
GEOMETRY = Geometry(SHAPE, (0.7, 0.9, 2.5), (-12.5, 3.0, 1e-3), OBLIQUE)


def segmentation(masks: list[np.ndarray | None], geometry: Geometry = GEOMETRY) -> Segmentation:
    prompts = PromptSet.parse(
        [("left kidney", "bones", "some words", "tumour of the kidney")[i % 4] for i in range(len(masks))]
    )
    segments = []
    for blank, mask in zip(unanswered(prompts), masks, strict=True):
        cropped = None if mask is None else CroppedMask.from_full(mask)
        if cropped is None or not cropped.count:
            segments.append(replace(blank, reason="not in this scan", presence=0.1))
        else:
            doubts = ("1 ml is little", "ä doubt")
            found = replace(blank, found=True, reason="", presence=0.9, cropped=cropped, mean_hu=-12.5, doubts=doubts)
            segments.append(found)
    return Segmentation(geometry, tuple(segments), notes=("ä note", "another"))


def one_segment() -> Segmentation:
    mask = np.zeros(SHAPE, bool)
    mask[2:5, 1:9, 3:4] = True
    mask[3, 4, 3] = False
    return segmentation([mask, None])


def same(a: Segment, b: Segment) -> bool:
    fields = [name for name in Segment.__dataclass_fields__ if name != "cropped"]
    if any(getattr(a, name) != getattr(b, name) for name in fields) or (a.cropped is None) != (b.cropped is None):
        return False
    return a.cropped is None or (a.cropped.start == b.cropped.start and np.array_equal(a.mask, b.mask))


# Answers


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**32), st.floats(0, 1)), min_size=1, max_size=5))
def test_answers_survive_the_way(draws: list[tuple[int, float]]) -> None:
    masks = [np.random.default_rng(seed).random(SHAPE) < share for seed, share in draws]
    sent = segmentation(list(masks))
    got = unpack_answers(pack_answers(sent), GEOMETRY)
    assert (got.geometry, got.notes) == (sent.geometry, sent.notes)
    assert all(same(a, b) for a, b in zip(got, sent, strict=True))


def test_large_masks_go_over_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_PIECE_BYTES", 16)
    monkeypatch.setattr(packing, "_CHUNK_BYTES", 5)
    for seed in range(20):
        generator = np.random.default_rng(seed)
        sent = segmentation([generator.random(SHAPE) < generator.random(), np.ones(SHAPE, bool)])
        data = pack_answers(sent)
        steps = unpack_steps(data, GEOMETRY)
        pieces = 0
        try:
            while True:
                next(steps)
                pieces += 1
        except StopIteration as stop:
            assert all(same(a, b) for a, b in zip(stop.value, sent, strict=True))
        assert pieces >= 6


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_corrupted_answers_are_refused_or_harmless(data: st.DataObject) -> None:
    """Whatever happens to the bytes: an answer on the right grid, or ProtocolError."""
    message = bytearray(pack_answers(one_segment()))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(message)))
        how = data.draw(st.sampled_from(["set", "cut", "insert", "delete"]))
        if how == "set":
            message[place : place + 1] = data.draw(st.binary(min_size=1, max_size=4))
        elif how == "cut":
            del message[place:]
        elif how == "insert":
            message[place:place] = data.draw(st.binary(min_size=1, max_size=20))
        else:
            del message[place : place + data.draw(st.integers(1, 9))]
    try:
        result = unpack_answers(bytes(message), GEOMETRY)
    except ProtocolError:
        return
    assert result.geometry == GEOMETRY
    assert all(segment.cropped is None or segment.cropped.shape == SHAPE for segment in result)


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    for data in (noise, packing.MAGIC + noise):
        with pytest.raises(ProtocolError):
            unpack_answers(data, GEOMETRY)


def repacked(change: dict[str, object], where: str = "segment") -> bytes:
    """The message with entries of its header changed."""
    data = pack_answers(one_segment())
    begin = len(packing.MAGIC) + 4
    length = int.from_bytes(data[begin - 4 : begin], "little")
    header = json.loads(data[begin : begin + length])
    target = {"header": header, "segment": header["segments"][0], "mask": header["segments"][0]["mask"]}[where]
    target.update(change)
    text = json.dumps(header).encode()
    return packing.MAGIC + len(text).to_bytes(4, "little") + text + data[begin + length :]


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("header", {"shape": [7, 9, 12]}),
        ("header", {"segments": {}}),
        ("header", {"segments": [1]}),
        ("header", {"notes": "text"}),
        ("header", {"notes": [1]}),
        ("segment", {"id": ""}),
        ("segment", {"id": 5}),
        ("segment", {"id": "some_words"}),
        ("segment", {"presence": 1.5}),
        ("segment", {"presence": float("nan")}),
        ("segment", {"presence": True}),
        ("segment", {"threshold": 0}),
        ("segment", {"volume_ml": float("inf")}),
        ("segment", {"volume_ml": 10**400}),
        ("segment", {"colour": [1, 2]}),
        ("segment", {"colour": [1, 2, 256]}),
        ("segment", {"colour": [1, 2, -1]}),
        ("segment", {"terminology": {}}),
        ("segment", {"terminology": "liver"}),
        ("segment", {"mean_hu": "0"}),
        ("segment", {"doubts": "many"}),
        ("segment", {"doubts": [1]}),
        ("segment", {"mask": None}),
        ("segment", {"mask": 3}),
        ("mask", {"start": [2, 1, 11]}),
        ("mask", {"start": [-1, 1, 3]}),
        ("mask", {"start": [5, 1, 3]}),
        ("mask", {"start": [2.0, 1, 3]}),
        ("mask", {"size": [3, 8, 0]}),
        ("mask", {"size": [3, 8, 2]}),
        ("mask", {"size": [3, 8]}),
        ("mask", {"size": [10**9, 10**9, 10**9]}),
        ("mask", {"bytes": 0}),
        ("mask", {"bytes": 10**12}),
        ("mask", {"bytes": -1}),
    ],
)
def test_lies_in_the_header_are_refused(where: str, change: dict[str, object]) -> None:
    assert unpack_answers(repacked({}), GEOMETRY).segments[0].found
    if change == {"id": "some_words"}:
        change = {"id": one_segment().segments[1].id}  # twice the same id
    with pytest.raises(ProtocolError):
        unpack_answers(repacked(change, where), GEOMETRY)


def test_a_small_message_cannot_unfold_into_much_memory() -> None:
    import zlib

    data = pack_answers(one_segment())
    begin = len(packing.MAGIC) + 4
    length = int.from_bytes(data[begin - 4 : begin], "little")
    header = json.loads(data[begin : begin + length])
    bomb = zlib.compress(b"\xff" * 100_000_000)
    header["segments"][0]["mask"]["bytes"] = len(bomb)
    text = json.dumps(header).encode()
    with pytest.raises(ProtocolError):
        unpack_answers(packing.MAGIC + len(text).to_bytes(4, "little") + text + bomb, GEOMETRY)


# Volumes

FINITE = st.floats(-1e4, 1e4, allow_nan=False)
DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]


@settings(deadline=None)
@given(
    st.sampled_from(DTYPES),
    st.tuples(st.integers(2, 900), st.integers(2, 900), st.integers(2, 900)),
    st.tuples(*[st.floats(0.02, 99)] * 3),
    st.tuples(FINITE, FINITE, FINITE),
)
def test_headers_survive_the_way(
    dtype: str, shape: tuple[int, int, int], spacing: tuple[float, float, float], origin: tuple[float, float, float]
) -> None:
    header = VolumeHeader(dtype, Geometry(shape, spacing, origin, OBLIQUE))
    assert VolumeHeader.from_json(header.to_json()) == header
    assert header.to_json().isascii() and "\n" not in header.to_json()
    assert header.nbytes == np.prod(shape, dtype=object) * np.dtype(dtype).itemsize


@given(st.text(max_size=200))
def test_noise_is_no_header(text: str) -> None:
    with pytest.raises(InputError):
        VolumeHeader.from_json(text)


def test_keys_are_the_same_for_every_layout_in_memory_and_differ_otherwise() -> None:
    header, array = ct()
    key = content_key(header, array)
    assert len(key) == 64
    reversed_view = np.ascontiguousarray(array[::-1, :, ::-1])[::-1, :, ::-1]
    for layout in (np.asfortranarray(array), array.astype(">i2"), reversed_view, np.repeat(array, 2, 2)[:, :, ::2]):
        assert content_key(header, layout) == key
    other = array.copy()
    other[-1, -1, -1] += 1
    shifted = replace(header, geometry=replace(header.geometry, origin=(0.0, 0.0, 0.0)))
    flipped = replace(header, geometry=replace(header.geometry, direction=tuple(-x for x in OBLIQUE)))
    keys = {key, content_key(header, other), content_key(shifted, array), content_key(flipped, array)}
    keys.add(content_key(VolumeHeader.of(array.astype("i4"), header.geometry), array.astype("i4")))
    assert len(keys) == 5


def test_slabs_are_small_and_complete() -> None:
    array = np.arange(3 * 700 * 800, dtype=np.float64).reshape(3, 700, 800)
    header = VolumeHeader.of(array, Geometry(array.shape, (1, 1, 1), (0, 0, 0), OBLIQUE))
    pieces = [bytes(slab) for slab in slabs(header, array)]
    assert max(map(len, pieces)) == SLAB_BYTES
    assert b"".join(pieces) == array.tobytes()


def test_headers_refuse_other_arrays_and_odd_types() -> None:
    header, array = ct()
    for wrong in (array[1:], array.astype("f4"), array[0]):
        with pytest.raises(InputError, match="header"):
            content_key(header, wrong)
    for dtype in ("object", "complex64", "bool", "<M8[s]", "float16", ""):
        with pytest.raises(InputError, match="one real number"):
            VolumeHeader(dtype, header.geometry)


# Addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8765", Address("127.0.0.1", 8765, "t")),
        (" localhost:1 ", Address("localhost", 1, "t")),
        ("http://gpu.example:8765/", Address("gpu.example", 8765, "t")),
        ("https://gpu.example", Address("gpu.example", 443, "t", tls=True)),
        ("https://gpu.example:8443", Address("gpu.example", 8443, "t", tls=True)),
        ("[::1]:8765", Address("::1", 8765, "t")),
    ],
)
def test_addresses_as_people_type_them(text: str, expected: Address) -> None:
    assert Address.parse(text, " t\n") == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "host:",
        "host:0",
        "host:99999",
        "host:x",
        "ftp://h:1",
        "http://h:1/path",
        "[::1",
        "me@host:1",
        "a b:1",
    ],
)
def test_other_texts_are_no_addresses(text: str) -> None:
    with pytest.raises(InputError, match="no address"):
        Address.parse(text, "t")


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_an_address_or_an_input_error(text: str, token: str) -> None:
    try:
        address = Address.parse(text, token)
    except InputError:
        return
    assert address.token.isascii() and not set(address.token) & set(" \r\n")


def test_the_client_side_imports_nothing_that_3d_slicer_lacks() -> None:
    """In a fresh interpreter in which every heavy package fails to import."""
    code = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(name)

BLOCKED = {"torch", "transformers", "yaml", "SimpleITK", "typer", "scipy", "pydicom", "nrrd", "matplotlib", "requests",
           "safetensors", "openvino"}
sys.meta_path.insert(0, Blocked())
from OpenVocabCTLib.worker import client, process, protocol, session, steps
from OpenVocabCTLib.output import masks, segmentation
from OpenVocabCTLib.prompts import terminology
print("imported")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "imported\n", done.stderr
