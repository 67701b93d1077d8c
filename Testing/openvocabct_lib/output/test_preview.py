from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.output import Segmentation
from OpenVocabCTLib.output import preview as module
from OpenVocabCTLib.output.preview import draw_preview
from OpenVocabCTLib.output.scene import MAX_ROWS, Scene, body_box, field_of_view, scene_rows
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.output.output_cases import box_mask, grid, segmentation

SHAPE = (40, 36, 32)


def phantom(codes: str, turn: float = 0.0) -> tuple[Geometry, CTVolume, np.ndarray]:
    """A body around the origin with a bony marker on the patient's left, in front and above."""
    spacing = (5.0, 5.5, 6.0)
    geometry = grid(codes, SHAPE, turn, spacing=spacing)
    half = (np.array(SHAPE[::-1]) - 1) / 2
    origin = -geometry.affine_lps()[:3, :3] @ half
    geometry = replace(geometry, origin=(origin[0], origin[1], origin[2]))
    k, j, i = np.indices(SHAPE)
    affine = geometry.affine_lps()
    x, y, z = (affine[row, 0] * i + affine[row, 1] * j + affine[row, 2] * k + affine[row, 3] for row in range(3))
    array = np.full(SHAPE, -1000, dtype=np.int16)
    array[x**2 + y**2 < 75**2] = 40
    marker = (x - 35) ** 2 + (y + 30) ** 2 + (z - 40) ** 2 < 18**2
    array[marker] = 600
    return geometry, CTVolume(array, geometry), marker


def pixels(figure: Any) -> np.ndarray:
    """The drawn page, (height, width, 3), 0..255."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)


def panel(figure: Any, number: int, page: np.ndarray) -> np.ndarray:
    """The pixels of one panel."""
    height, width = page.shape[:2]
    box = figure.axes[number].get_position()
    rows = slice(round((1 - box.y1) * height), round((1 - box.y0) * height))
    return page[rows, round(box.x0 * width) : round(box.x1 * width)]


def place_of(colour: Sequence[int], picture: np.ndarray) -> tuple[float, float]:
    """Where a colour is in a picture: across and down, 0..1."""
    rows, columns = np.nonzero(np.abs(picture - colour).max(axis=-1) < 12)
    assert rows.size > 20, "the outline is not drawn"
    return columns.mean() / picture.shape[1], rows.mean() / picture.shape[0]


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.texts]


@pytest.mark.parametrize(("codes", "turn"), [("LPS", 0.0), ("RAS", 0.0), ("PIR", 0.0), ("SLA", 0.2), ("LAI", 0.3)])
def test_left_is_on_the_right_front_is_up_and_top_is_up(codes: str, turn: float) -> None:
    geometry, ct, marker = phantom(codes, turn)
    result = segmentation({"odd marker": marker}, geometry, ct)
    figure = draw_preview(result)
    page = pixels(figure)
    colour = result.segments[0].colour
    across, down = place_of(colour, panel(figure, 0, page))
    assert across > 0.6 and down < 0.45, "axial: the patient's left is on the viewer's right, anterior is up"
    across, down = place_of(colour, panel(figure, 1, page))
    assert across > 0.6 and down < 0.45, "coronal: the patient's left is on the viewer's right, superior is up"
    across, down = place_of(colour, panel(figure, 2, page))
    assert across < 0.45 and down < 0.45, "sagittal: anterior is on the viewer's left, superior is up"


@pytest.mark.parametrize("codes", ["LPS", "SRA"])
def test_the_outline_surrounds_what_is_bright(codes: str) -> None:
    geometry, ct, marker = phantom(codes)
    figure = draw_preview(segmentation({"odd marker": marker}, geometry, ct))
    page = pixels(figure)
    bare = pixels(draw_preview(segmentation({"odd marker": None}, geometry, ct)))
    assert bare.shape[1] == page.shape[1]
    for number in range(3):
        picture = panel(figure, number, page)
        rows, columns = np.nonzero(np.abs(picture - (255, 196, 0)).max(axis=-1) < 12)
        middle = picture[round(rows.mean()), round(columns.mean())]
        assert middle.min() > 130, "the middle of the outline is not the bright marker"


def test_millimetres_are_as_long_across_as_down() -> None:
    geometry, ct, marker = phantom("LPS")
    figure = draw_preview(segmentation({"odd marker": marker}, geometry, ct))
    width, height = figure.get_size_inches()
    for axes in figure.axes:
        box = axes.get_position()
        (x0, x1), (y1, y0) = axes.get_xlim(), axes.get_ylim()
        assert box.width * width / (x1 - x0) == pytest.approx(box.height * height / (y1 - y0))


def test_every_panel_has_its_letters_where_it_lies_and_a_bar() -> None:
    geometry, ct, marker = phantom("LPS")
    figure = draw_preview(segmentation({"odd marker": marker}, geometry, ct))
    expected = (("RLAP", "axial"), ("RLSI", "coronal"), ("APSI", "sagittal"))
    for axes, (letters, name) in zip(figure.axes, expected, strict=True):
        written = [text.get_text() for text in axes.texts]
        assert written[:4] == list(letters)
        assert written[4].startswith(name)
        assert written[5] == "50 mm"


def test_the_title_and_the_legend(tmp_path: Path) -> None:
    geometry, ct, marker = phantom("LPS")
    result = segmentation({"liver": marker, "odd light": None}, geometry, ct, reason="no odd light in this scan")
    figure = draw_preview(result)
    title = next(text for text in texts(figure) if "HU" in text)
    assert title.split("     ")[0] == "liver"
    assert "mean 600 HU" in title and " ml" in title and "bone W 1800 L 400" in title
    legend = {text.get_text(): text.get_color() for text in figure.texts}
    assert legend["odd light   not found: no odd light in this scan"] == module._FAINT
    assert any(text.startswith("liver   ") and color == module._TEXT for text, color in legend.items())
    result.write_preview(tmp_path / "picture.png")
    image = mpl.image.imread(tmp_path / "picture.png")
    assert image.shape[1] == round(module._WIDTH * module._DPI)
    assert 500 < image.shape[0] < 1200
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]


def test_many_segments_are_capped_and_the_rest_is_listed() -> None:
    shape = (16, 8, 8)
    masks = {f"odd spot {n}": box_mask(shape, (n, 2, 2), (n + 1, 5, 5)) for n in range(MAX_ROWS + 2)}
    result = segmentation(masks, grid(shape=shape))
    figure = draw_preview(result)
    assert len(figure.axes) == 3 * MAX_ROWS
    assert f"{MAX_ROWS + 2} of {MAX_ROWS + 2} found, 2 of them not pictured" in texts(figure)[0]
    assert all(any(text.startswith(f"{name}   ") for text in texts(figure)) for name in masks)


@pytest.mark.parametrize("with_ct", [True, False])
def test_nothing_found_shows_the_middle_and_the_reasons(with_ct: bool) -> None:
    geometry, ct, _ = phantom("RAS")
    figure = draw_preview(segmentation({"liver": None, "spleen": None}, geometry, ct if with_ct else None))
    assert len(figure.axes) == 3
    assert not any(axes.collections for axes in figure.axes)
    assert "spleen   not found: not in this scan" in texts(figure)


def test_without_a_ct_masks_are_filled() -> None:
    geometry, _, marker = phantom("LPS")
    figure = draw_preview(segmentation({"odd marker": marker}, geometry))
    assert all(len(axes.collections) == 2 for axes in figure.axes)
    assert place_of([round(0.45 * c) for c in (255, 196, 0)], panel(figure, 0, pixels(figure)))[0] > 0.6


def test_all_segments_are_outlined_and_the_own_one_thicker() -> None:
    shape = (8, 20, 20)
    geometry = grid(shape=shape, spacing=(5.0, 5.0, 5.0))
    masks = {"odd one": box_mask(shape, (2, 3, 3), (6, 9, 9)), "odd two": box_mask(shape, (2, 12, 12), (6, 18, 18))}
    figure = draw_preview(segmentation(masks, geometry, CTVolume(np.zeros(shape, dtype=np.int16), geometry)))
    for row in (0, 3):
        widths = sorted(collection.get_linewidth()[0] for collection in figure.axes[row].collections)
        assert len(widths) == 2
        assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize(
    "prompt",
    [
        "$x^2$ and \\frac{1}{",
        "100 % & # _ ^ ~ {",
        "$",
        "größer 日本語 🫀",
        "x" * 80,
        "line\nbreak \x07 bell \ud800",
        "\u202eright to left",
    ],
)
def test_no_prompt_breaks_the_picture(prompt: str, tmp_path: Path) -> None:
    geometry, ct, marker = phantom("LPS")
    result = segmentation({"odd marker": marker, "liver": None}, geometry, ct, reason=prompt * 3)
    # Also what the prompts' own cleaning would not let through.
    segments = tuple(replace(segment, name=prompt) for segment in result)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Segmentation(geometry, segments, ct).write_preview(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_a_slab_of_two_slices_and_a_single_voxel_are_drawn(tmp_path: Path) -> None:
    shape = (2, 60, 60)
    geometry = grid(shape=shape, spacing=(5.0, 5.0, 1.0))
    ct = CTVolume(np.zeros(shape, dtype=np.int16), geometry)
    result = segmentation({"odd dot": box_mask(shape, (1, 0, 59), (2, 1, 60))}, geometry, ct)
    figure = draw_preview(result)
    assert all(axes.get_position().height * figure.get_size_inches()[1] > 0.8 for axes in figure.axes)
    assert all(axes.collections for axes in figure.axes)
    result.write_preview(tmp_path / "picture.png")


def test_the_body_is_shown_and_not_the_air_around() -> None:
    hu = np.full((200, 20, 20), -1000, dtype=np.int16)
    hu[50:150, 5:15, 4:16] = 0
    s, p, left = body_box(hu, hu.shape)
    assert (p, left) == (slice(5, 15), slice(4, 16))
    assert s.start <= 50 and s.stop >= 150
    assert body_box(np.full((4, 4, 4), -1000), (4, 4, 4)) == (slice(0, 4),) * 3


def test_long_scans_and_small_structures_are_shown_in_part() -> None:
    shape = (400, 100, 100)
    geometry = grid(shape=shape, spacing=(4.0, 4.0, 5.0))
    result = segmentation(
        {
            "odd spot": box_mask(shape, (390, 50, 50), (395, 55, 55)),
            "odd slab": box_mask(shape, (0, 1, 1), (200, 99, 99)),
        },
        geometry,
    )
    scene = Scene.of(result)
    small, large = (row.field for row in scene_rows(scene))
    assert [(part.stop - part.start) * mm for part, mm in zip(small, scene.view.spacing, strict=True)] == [
        240,
        240,
        240,
    ]
    assert small[0].stop == 400
    assert large[0].start == 0 and large[0].stop >= 200
    whole = field_of_view(scene, scene.body)
    assert whole == (slice(0, 400), slice(0, 100), slice(0, 100))


def test_outlines_are_bright_in_the_hue_of_the_segment() -> None:
    segment = segmentation({"odd spot": None}, grid()).segments[0]
    assert module.outline_colour(replace(segment, colour=(100, 50, 0))) == (1.0, 0.5, 0.0)
    assert module.outline_colour(replace(segment, colour=(0, 0, 0))) == (1.0, 1.0, 1.0)


def test_settings_of_matplotlib_are_left_alone(tmp_path: Path) -> None:
    geometry, ct, marker = phantom("LPS")
    before = dict(mpl.rcParams)
    segmentation({"odd marker": marker}, geometry, ct).write_preview(tmp_path / "picture.png")
    assert dict(mpl.rcParams) == before


def test_a_real_ct(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "openkbp" / "train" / "pt_1"
    ct = CTVolume.read(folder / "ct.nii.gz")
    import SimpleITK as sitk

    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "organs.nii.gz")))
    result = segmentation({"odd spot R": labels == 3, "odd spot L": labels == 4}, ct.geometry, ct)
    figure = draw_preview(result)
    page = pixels(figure)
    for row, side in ((0, "R"), (1, "L")):
        across, _ = place_of(result.segments[row].colour, panel(figure, 3 * row, page))
        assert (across < 0.5) == (side == "R")
