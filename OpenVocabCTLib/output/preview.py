"""A picture of a segmentation: three slices through each segment, to judge at a glance whether it is right."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from OpenVocabCTLib.output.atomic import replacing
from OpenVocabCTLib.output.masks import Box
from OpenVocabCTLib.output.planes import PLANES, AnatomicalView, Plane, display_window, scale_bar, to_grey
from OpenVocabCTLib.output.scene import Drawn, Row, Scene, scene_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from OpenVocabCTLib.output.segmentation import Segment, Segmentation

# Lengths on the page are in inches.
_DPI = 120
_WIDTH = 12.6
_MARGIN = 0.15
_GAP = 0.08
_PANEL_WIDTH = (_WIDTH - 2 * _MARGIN - 2 * _GAP) / 3
_PANEL_MAX_HEIGHT = 1.05 * _PANEL_WIDTH
_PICTURE_MIN_WIDTH = 2.5  # room for the letters and the caption, also on slabs of a few slices
_PICTURE_MIN_HEIGHT = 0.9
_HEADER_HEIGHT = 0.38
_TITLE_HEIGHT = 0.34
_LINE_HEIGHT = 0.2
_LEGEND_COLUMNS = 2
_LEGEND_CHARACTERS = 78
_LEGEND_INDENT = 0.28

_BACKGROUND = "black"
_TEXT = "#f2f2f2"
_FAINT = "#9a9a9a"
_FONT: dict[str, Any] = {"family": "DejaVu Sans", "parse_math": False, "usetex": False}


def write_preview(segmentation: Segmentation, path: Path) -> None:
    """Write a PNG picture: axial, coronal and sagittal slices through each found segment, and a legend of all prompts.

    Slices are the ones with the segment's largest area, in radiological convention (the patient's right on the
    viewer's left), to scale along both axes, outlined with every segment that they cut.

    Raises:
        InputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    figure = draw_preview(segmentation)
    picture = io.BytesIO()
    with warnings.catch_warnings():
        # A prompt in a script that the font lacks is shown as boxes; that is no reason to bother the user.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(picture, format="png", dpi=_DPI, facecolor=_BACKGROUND)
    with replacing(path) as temporary:
        temporary.write_bytes(picture.getvalue())


def draw_preview(segmentation: Segmentation) -> Figure:
    """Draw the picture that `write_preview` writes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scene = Scene.of(segmentation)
    rows = scene_rows(scene)
    heights = [_panel_height(scene.view, row) for row in rows]
    legend = legend_entries(segmentation)
    columns = _legend_columns(legend)
    legend_height = max(sum(len(entry.lines) for entry in column) for column in columns) * _LINE_HEIGHT
    total = _HEADER_HEIGHT + sum(heights) + len(rows) * (_TITLE_HEIGHT + _GAP) + legend_height + 3 * _MARGIN

    figure = Figure(figsize=(_WIDTH, total), dpi=_DPI)
    FigureCanvasAgg(figure)
    page = Page(figure, total)
    page.text(_MARGIN, 0.14, _headline(segmentation, len(rows)), size=10, color=_FAINT)
    top = _HEADER_HEIGHT
    for row, height in zip(rows, heights, strict=True):
        _draw_row(page, scene, row, top, height)
        top += _TITLE_HEIGHT + height + _GAP
    _draw_legend(page, columns, top + _MARGIN)
    return figure


@dataclass(frozen=True)
class Page:
    """A figure addressed in inches from its top left corner."""

    figure: Figure
    height: float

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """Write text whose first line starts at a place."""
        x, y = left / _WIDTH, 1 - top / self.height
        self.figure.text(x, y, printable(text), ha="left", va="top", **(_FONT | style))

    def swatch(self, left: float, top: float, colour: tuple[float, ...] | None) -> None:
        """Draw a small square: filled with a colour, or hollow and grey."""
        from matplotlib.patches import Rectangle

        side = 0.13
        self.figure.add_artist(
            Rectangle(
                (left / _WIDTH, 1 - (top + side) / self.height),
                side / _WIDTH,
                side / self.height,
                transform=self.figure.transFigure,
                facecolor="none" if colour is None else colour,
                edgecolor=_FAINT if colour is None else colour,
                linewidth=0.8,
            )
        )

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes without ticks or frame."""
        axes = self.figure.add_axes(
            (left / _WIDTH, 1 - (top + height) / self.height, width / _WIDTH, height / self.height)
        )
        axes.set_axis_off()
        return axes


def printable(text: str) -> str:
    """Return text that no font engine trips over: no control characters but line ends, no half surrogate pairs."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _headline(segmentation: Segmentation, rows: int) -> str:
    found = len(segmentation.found)
    text = f"OpenVocabCT   {found} of {len(segmentation.segments)} found"
    if found > rows:
        text += f", {found - rows} of them not pictured (see the list below)"
    return text + "   \u00b7   axial and coronal: the patient's right is on the left"


# Slices ---------------------------------------------------------------------------------------------------------------


def _picture_parts(view: AnatomicalView, plane: Plane, box: Box) -> tuple[slice, slice]:
    """Return the rows and columns of a plane's picture that a box in view order covers."""
    rows, columns = box[plane.row_axis], box[plane.column_axis]
    if plane.flipped:
        size = view.shape[plane.row_axis]
        rows = slice(size - rows.stop, size - rows.start)
    return rows, columns


def _size_mm(view: AnatomicalView, plane: Plane, field: Box) -> tuple[float, float]:
    """Return the width and height in mm of a plane's picture."""
    rows, columns = field[plane.row_axis], field[plane.column_axis]
    return (
        (columns.stop - columns.start) * view.spacing[plane.column_axis],
        (rows.stop - rows.start) * view.spacing[plane.row_axis],
    )


def _panel_height(view: AnatomicalView, row: Row) -> float:
    sizes = [_size_mm(view, plane, row.field) for plane in PLANES]
    tallest = max(_PANEL_WIDTH * height / width for width, height in sizes)
    return max(_PICTURE_MIN_HEIGHT, min(_PANEL_MAX_HEIGHT, tallest))


def _draw_row(page: Page, scene: Scene, row: Row, top: float, height: float) -> None:
    mean_hu = None if row.drawn is None else row.drawn.segment.mean_hu
    window = display_window(mean_hu)
    _draw_title(page, row, window if scene.ct is not None else None, top)
    for number, (plane, index) in enumerate(zip(PLANES, row.slices, strict=True)):
        width_mm, height_mm = _size_mm(scene.view, plane, row.field)
        scale = min(_PANEL_WIDTH / width_mm, height / height_mm)
        width = max(width_mm * scale, _PICTURE_MIN_WIDTH)
        tall = max(height_mm * scale, _PICTURE_MIN_HEIGHT)
        left = _MARGIN + number * (_PANEL_WIDTH + _GAP) + (_PANEL_WIDTH - width) / 2
        axes = page.axes(left, top + _TITLE_HEIGHT + (height - tall) / 2, width, tall)
        _draw_ct(axes, scene, plane, index, row.field, window)
        _draw_outlines(axes, scene, plane, index, row.drawn)
        _fit(axes, scene.view, plane, row.field, (width / scale, tall / scale))
        _draw_marks(axes, plane, width / scale, f"{plane.name}  {scene.view.position(plane, index)}")


def _draw_title(page: Page, row: Row, window: tuple[str, float, float] | None, top: float) -> None:
    left = _MARGIN
    if row.drawn is None:
        facts = ["nothing found: the middle of the scan"]
    else:
        segment = row.drawn.segment
        page.swatch(left, top + 0.1, outline_colour(segment))
        left += 0.22
        facts = [textwrap.shorten(segment.name, 80, placeholder="\u2026"), volume_text(segment.volume_ml)]
        facts += [] if segment.mean_hu is None else [f"mean {segment.mean_hu:.0f} HU"]
    facts += [] if window is None else [f"{window[0]} W {window[1]:.0f} L {window[2]:.0f}"]
    page.text(left, top + 0.07, "     ".join(facts), size=12, color=_TEXT)


def _draw_ct(axes: Axes, scene: Scene, plane: Plane, index: int, field: Box, window: tuple[str, float, float]) -> None:
    rows, columns = _picture_parts(scene.view, plane, field)
    if scene.ct is None:
        grey = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.uint8)
    else:
        grey = to_grey(plane.take(scene.ct, index)[rows, columns], window[1], window[2])
    dx, dy = scene.view.spacing[plane.column_axis], scene.view.spacing[plane.row_axis]
    extent = ((columns.start - 0.5) * dx, (columns.stop - 0.5) * dx, (rows.stop - 0.5) * dy, (rows.start - 0.5) * dy)
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto", interpolation="hanning")


def _draw_outlines(axes: Axes, scene: Scene, plane: Plane, index: int, own: Drawn | None) -> None:
    from matplotlib.patheffects import Normal, Stroke

    # The row's own segment last, on top of the others.
    for drawn in sorted(scene.drawn, key=lambda d: d is own):
        part = drawn.mask.box[plane.normal]
        if not part.start <= index < part.stop:
            continue
        picture = plane.take(drawn.mask.array, index - part.start)
        if not picture.any():
            continue
        rows, columns = _picture_parts(scene.view, plane, drawn.mask.box)
        dx, dy = scene.view.spacing[plane.column_axis], scene.view.spacing[plane.row_axis]
        # One voxel of background around, so that outlines close at the box's edge.
        x = np.arange(columns.start - 1, columns.stop + 1) * dx
        y = np.arange(rows.start - 1, rows.stop + 1) * dy
        inside = np.pad(picture, 1).astype(np.float32)
        colour = outline_colour(drawn.segment)
        if scene.ct is None:
            axes.contourf(x, y, inside, levels=[0.5, 1.5], colors=[colour], alpha=0.45)
        width = 1.9 if drawn is own else 0.8
        lines = axes.contour(x, y, inside, levels=[0.5], colors=[colour], linewidths=width)
        if drawn is own:
            lines.set_path_effects([Stroke(linewidth=width + 1.2, foreground="black", alpha=0.7), Normal()])


def _fit(axes: Axes, view: AnatomicalView, plane: Plane, field: Box, size_mm: tuple[float, float]) -> None:
    """Show a width and height in mm around the middle of the field."""
    rows, columns = _picture_parts(view, plane, field)
    x = (columns.start + columns.stop - 1) / 2 * view.spacing[plane.column_axis]
    y = (rows.start + rows.stop - 1) / 2 * view.spacing[plane.row_axis]
    axes.set_xlim(x - size_mm[0] / 2, x + size_mm[0] / 2)
    axes.set_ylim(y + size_mm[1] / 2, y - size_mm[1] / 2)


def _draw_marks(axes: Axes, plane: Plane, width_mm: float, caption: str) -> None:
    """Write the orientation letters, where the slice lies, and a scale bar."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.2, foreground="black")]
    style = _FONT | {"transform": axes.transAxes, "color": _TEXT, "path_effects": halo}
    places = (
        (0.015, 0.5, "left", "center"),
        (0.985, 0.5, "right", "center"),
        (0.5, 0.985, "center", "top"),
        (0.5, 0.015, "center", "bottom"),
    )
    for letter, (x, y, ha, va) in zip(plane.letters, places, strict=True):
        axes.text(x, y, letter, ha=ha, va=va, size=11, weight="bold", **style)
    axes.text(0.015, 0.985, caption, ha="left", va="top", size=8, **style)
    bar = scale_bar(width_mm)
    length = bar / width_mm
    line = axes.plot([0.975 - length, 0.975], [0.03, 0.03], transform=axes.transAxes, color=_TEXT, linewidth=2)
    line[0].set_path_effects([*halo])
    axes.text(0.975 - length / 2, 0.042, f"{bar:.0f} mm", ha="center", va="bottom", size=8, **style)


# Legend ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LegendEntry:
    """What the legend says about one prompt: a colour where it was found, and lines of text."""

    colour: tuple[float, ...] | None
    lines: tuple[str, ...]


def legend_entries(segmentation: Segmentation) -> list[LegendEntry]:
    """Return one entry per prompt, wrapped to the width of a column."""
    entries = []
    for segment in segmentation.segments:
        detail = volume_text(segment.volume_ml) if segment.found else f"not found: {segment.reason}"
        lines = textwrap.wrap(f"{segment.name}   {detail}", _LEGEND_CHARACTERS) or [segment.id]
        entries.append(LegendEntry(outline_colour(segment) if segment.found else None, tuple(lines)))
    return entries


def _legend_columns(entries: Sequence[LegendEntry]) -> list[list[LegendEntry]]:
    """Split the entries, in order, into columns of about the same number of lines."""
    share = sum(len(entry.lines) for entry in entries) / _LEGEND_COLUMNS
    columns: list[list[LegendEntry]] = [[] for _ in range(_LEGEND_COLUMNS)]
    lines = 0
    for entry in entries:
        columns[min(int(lines / max(share, 1)), _LEGEND_COLUMNS - 1)].append(entry)
        lines += len(entry.lines)
    return columns


def _draw_legend(page: Page, columns: Sequence[Sequence[LegendEntry]], top: float) -> None:
    for number, column in enumerate(columns):
        left = _MARGIN + number * (_WIDTH - 2 * _MARGIN) / _LEGEND_COLUMNS
        line_top = top
        for entry in column:
            page.swatch(left, line_top + 0.015, entry.colour)
            for line in entry.lines:
                colour = _FAINT if entry.colour is None else _TEXT
                page.text(left + _LEGEND_INDENT, line_top, line, size=9, color=colour)
                line_top += _LINE_HEIGHT


def outline_colour(segment: Segment) -> tuple[float, ...]:
    """Return a segment's colour with channels 0..1, as bright as its hue allows, to be seen on grey."""
    brightest = max(segment.colour)
    return tuple(channel / brightest for channel in segment.colour) if brightest else (1.0, 1.0, 1.0)


def volume_text(ml: float) -> str:
    """Return a volume with the digits that matter, for example "0.042 ml", "3.1 ml", "1432 ml"."""
    if ml >= 100:
        return f"{ml:.0f} ml"
    return f"{ml:.1f} ml" if ml >= 1 else f"{ml:.2g} ml"
