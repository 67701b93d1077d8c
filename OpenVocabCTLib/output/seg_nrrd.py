"""3D Slicer's segmentation file (.seg.nrrd).

Source: https://slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html#segmentation-file-format
and https://teem.sourceforge.net/nrrd/format.html. The header is written here rather than with pynrrd for two reasons:
pynrrd refuses names that are not ASCII, and it needs all layers of the whole grid in memory, twice.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from OpenVocabCTLib.output.algorithm import NAME_TAG, PROGRAM, TYPE_TAG
from OpenVocabCTLib.output.atomic import replacing
from OpenVocabCTLib.output.formats import SEG_NRRD
from OpenVocabCTLib.output.masks import CroppedMask

if TYPE_CHECKING:
    from OpenVocabCTLib.geometry import Geometry
    from OpenVocabCTLib.output.segmentation import Segment, Segmentation

_SLAB_BYTES = 16 * 2**20
_NRRD_TYPES = {"uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned int"}
_GZIP_LEVEL = 6
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class Placed:
    """Where a segment goes in the file: its layer, and its value there (1, 2, ...)."""

    segment: Segment
    mask: CroppedMask
    layer: int
    value: int


def write_seg_nrrd(segmentation: Segmentation, path: Path) -> None:
    """Write the found segments of a segmentation; a segmentation without any gives a file that loads empty.

    Raises:
        InputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    placed = place(segmentation.found)
    layers = max((p.layer for p in placed), default=0) + 1
    dtype = np.min_scalar_type(max((p.value for p in placed), default=1))
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    with replacing(path, SEG_NRRD) as temporary, temporary.open("wb") as file:
        file.write(_header(segmentation.geometry, placed, layers, dtype))
        for slab in _slabs(segmentation.geometry.shape, placed, layers, dtype):
            file.write(compressor.compress(slab))
        file.write(compressor.flush())


def pack_layers(masks: Sequence[CroppedMask]) -> tuple[int, ...]:
    """Return a layer for each mask, the first one with room, so that no two masks of a layer overlap."""
    layers: list[list[CroppedMask]] = []
    chosen = []
    for mask in masks:
        number = next((n for n, layer in enumerate(layers) if not any(mask.overlaps(m) for m in layer)), len(layers))
        if number == len(layers):
            layers.append([])
        layers[number].append(mask)
        chosen.append(number)
    return tuple(chosen)


def place(segments: Sequence[Segment]) -> tuple[Placed, ...]:
    """Give each found segment its layer and its value in that layer."""
    masked = [(segment, segment.cropped) for segment in segments if segment.cropped is not None]
    used: dict[int, int] = {}
    placed = []
    for (segment, mask), layer in zip(masked, pack_layers([mask for _, mask in masked]), strict=True):
        used[layer] = used.get(layer, 0) + 1
        placed.append(Placed(segment, mask, layer, used[layer]))
    return tuple(placed)


def _slabs(shape: tuple[int, int, int], placed: Sequence[Placed], layers: int, dtype: np.dtype) -> Iterator[memoryview]:
    """Yield the voxels in file order, layer fastest, then i, j, k: a few slices at a time, never the whole grid."""
    depth, height, width = shape
    step = max(1, _SLAB_BYTES // (height * width * layers * dtype.itemsize))
    for first in range(0, depth, step):
        last = min(first + step, depth)
        slab = np.zeros((last - first, height, width, layers), dtype=dtype.newbyteorder("<"))
        for p in placed:
            _paint(slab, first, p)
        yield slab.data


def _paint(slab: np.ndarray, first: int, placed: Placed) -> None:
    k, j, i = placed.mask.box
    low, high = max(k.start, first), min(k.stop, first + slab.shape[0])
    if low < high:
        inside = placed.mask.planes(low - k.start, high - k.start)
        slab[low - first : high - first, j, i, placed.layer][inside] = placed.value


def _header(geometry: Geometry, placed: Sequence[Placed], layers: int, dtype: np.dtype) -> bytes:
    depth, height, width = geometry.shape
    affine = geometry.affine_lps()
    sizes = [str(n) for n in (width, height, depth)]
    kinds = ["domain"] * 3
    directions = [_vector(affine[:3, axis]) for axis in range(3)]
    if layers > 1:
        sizes.insert(0, str(layers))
        kinds.insert(0, "list")
        directions.insert(0, "none")
    fields = {
        "type": _NRRD_TYPES[dtype.name],
        "dimension": str(len(sizes)),
        "space": "left-posterior-superior",
        "sizes": " ".join(sizes),
        "space directions": " ".join(directions),
        "kinds": " ".join(kinds),
        "endian": "little",
        "encoding": "gzip",
        "space origin": _vector(affine[:3, 3]),
    }
    lines = ["NRRD0004", *(f"{key}: {value}" for key, value in fields.items())]
    lines += [f"{key}:={_escaped(value)}" for key, value in _metadata(geometry, placed).items()]
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


def _metadata(geometry: Geometry, placed: Sequence[Placed]) -> dict[str, str]:
    extents = _layer_extents(placed)
    metadata = {}
    for number, p in enumerate(placed):
        segment = p.segment
        values = {
            "ID": segment.id,
            "Name": segment.name,
            # "Auto-generated" lets Slicer change the value when the user chooses another terminology entry.
            "NameAutoGenerated": str(int(segment.canonical is not None)),
            "Color": " ".join(f"{channel / 255:.6g}" for channel in segment.colour),
            "ColorAutoGenerated": "1",
            "Extent": extents[p.layer],
            "LabelValue": str(p.value),
            "Layer": str(p.layer),
            "Tags": _tags(segment),
        }
        metadata.update({f"Segment{number}_{key}": value for key, value in values.items()})
    metadata["Segmentation_MasterRepresentation"] = "Binary labelmap"
    metadata["Segmentation_ContainedRepresentationNames"] = "Binary labelmap|"
    metadata["Segmentation_ReferenceImageExtentOffset"] = "0 0 0"
    metadata["Segmentation_ConversionParameters"] = _reference_geometry(geometry)
    return metadata


def _layer_extents(placed: Sequence[Placed]) -> dict[int, str]:
    """Return each layer's "i0 i1 j0 j1 k0 k1".

    Slicer reads a layer within the extent of its first segment only, so all segments of a layer carry the union.
    """
    boxes: dict[int, list[CroppedMask]] = {}
    for p in placed:
        boxes.setdefault(p.layer, []).append(p.mask)
    return {layer: _extent(masks) for layer, masks in boxes.items()}


def _extent(masks: Sequence[CroppedMask]) -> str:
    bounds = []
    for axis in (2, 1, 0):
        parts = [mask.box[axis] for mask in masks]
        bounds += [min(part.start for part in parts), max(part.stop for part in parts) - 1]
    return " ".join(map(str, bounds))


def _tags(segment: Segment) -> str:
    tags = {
        "OpenVocabCT.Prompt": segment.prompt,
        "OpenVocabCT.Threshold": f"{segment.threshold:.4g}",
        TYPE_TAG: "AUTOMATIC",
        NAME_TAG: PROGRAM,
    }
    if segment.terminology is not None:
        tags["TerminologyEntry"] = segment.terminology.slicer_tag()
    # "|" ends a tag, and Slicer knows no way to escape it. Older versions also need the last one.
    return "".join(f"{key}:{value.replace('|', '/')}|" for key, value in tags.items())


def _reference_geometry(geometry: Geometry) -> str:
    """Return the CT's grid as a conversion parameter, so that Slicer edits and exports on the whole of it.

    Source: vtkSegmentationConverter::SerializeImageGeometry: the IJK to RAS matrix by rows, then the extent.
    """
    depth, height, width = geometry.shape
    matrix = [repr(float(x)) for x in np.asarray(geometry.affine_ras()).ravel()]
    extent = [str(n) for size in (width, height, depth) for n in (0, size - 1)]
    return f"Reference image geometry|{';'.join(matrix + extent)};|Geometry of the CT that was segmented.&"


def _vector(values: Sequence[float] | np.ndarray) -> str:
    # repr gives the shortest text that reads back as exactly the same double.
    return "(" + ",".join(repr(float(v)) for v in values) + ")"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\r", " ").replace("\n", "\\n")
