"""The table of results: one row per prompt, with a threshold slider for what was found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import qt

from OpenVocabCTSlicer.strings import _

if TYPE_CHECKING:
    from OpenVocabCTSlicer.rows import ResultRow

NAME, VOLUME, MEAN, PRESENCE, THRESHOLD = range(5)
DELAY_MS = 150
_WIDTHS = {VOLUME: 92, MEAN: 76, PRESENCE: 72, THRESHOLD: 120}
# What fits on one line of a panel of usual width; longer texts get a second one.
_NAME_LETTERS, _REASON_LETTERS = 26, 54
_DASH = "\N{EN DASH}"
DOUBT_MARK = "\N{WARNING SIGN}"


class ResultTable:
    """Shows rows and asks for a new answer when a slider rests.

    Args:
        widget: the QTableWidget.
        on_threshold: gets prompt and threshold (0..1) once a slider has not moved for `DELAY_MS`.
        on_select: gets the row that the user selected.
    """

    def __init__(
        self, widget: Any, on_threshold: Callable[[str, float], None], on_select: Callable[[ResultRow], None]
    ) -> None:
        self._widget = widget
        self._on_threshold = on_threshold
        self._on_select = on_select
        self._rows: list[ResultRow] = []
        self._sliders: dict[str, tuple[Any, Any]] = {}
        self._pending: dict[str, float] = {}
        self._timer = qt.QTimer(widget)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.connect("timeout()", self._send)
        widget.connect("cellClicked(int,int)", self._clicked)
        self._set_up()

    @property
    def rows(self) -> tuple[ResultRow, ...]:
        """What the table shows."""
        return tuple(self._rows)

    def show(self, rows: Sequence[ResultRow]) -> None:
        """Show these rows instead of the present ones."""
        self._timer.stop()
        self._pending.clear()
        self._sliders.clear()
        self._rows = list(rows)
        self._widget.clearSpans()
        # Away with the old cells first: Qt deletes their sliders.
        self._widget.setRowCount(0)
        self._widget.setRowCount(len(self._rows))
        for index in range(len(self._rows)):
            self._fill(index)

    def update_row(self, row: ResultRow) -> None:
        """Replace the row of the same prompt; a slider that the user is moving stays where it is."""
        for index, old in enumerate(self._rows):
            if old.prompt == row.prompt:
                self._rows[index] = row
                self._fill_texts(index)
                return

    def settle_sliders(self) -> None:
        """Forget moves that nobody answers, and show the thresholds that hold: those of the rows."""
        for row in self._rows:
            if row.prompt in self._sliders:
                slider, _label = self._sliders[row.prompt]
                slider.value = round(100 * row.threshold)
        self._timer.stop()
        self._pending.clear()

    def set_sliders_enabled(self, enabled: bool) -> None:
        """Lock the sliders while a run is going on."""
        for slider, _label in self._sliders.values():
            slider.enabled = enabled

    def text(self, edited: Collection[str] = ()) -> str:
        """Return the table as tab-separated text, for a spreadsheet.

        Args:
            edited: ids of the segments that the numbers do not describe any more.
        """
        lines = ["\t".join([*_headers(), _("Remarks")])]
        for row in self._rows:
            threshold = f"{row.threshold:.2f}" if row.found else _reason(row)
            changed = _("edited since: the numbers are of before") if row.segment_id in edited else ""
            remarks = "; ".join(filter(None, (row.doubt, row.note, changed)))
            lines.append("\t".join([row.name, *_values(row), threshold, remarks]))
        return "\n".join(lines)

    def dispose(self) -> None:
        """Disconnect everything."""
        self.show(())
        self._timer.disconnect("timeout()", self._send)
        self._widget.disconnect("cellClicked(int,int)", self._clicked)

    def _set_up(self) -> None:
        self._widget.setColumnCount(THRESHOLD + 1)
        self._widget.setHorizontalHeaderLabels(_headers())
        header = self._widget.horizontalHeader()
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        for column, width in _WIDTHS.items():
            self._widget.setColumnWidth(column, width)
        self._widget.verticalHeader().hide()

    def _fill(self, index: int) -> None:
        row = self._rows[index]
        for column in range(THRESHOLD + 1):
            self._widget.setItem(index, column, qt.QTableWidgetItem())
        self._fill_texts(index)
        if row.found:
            self._widget.setCellWidget(index, THRESHOLD, self._slider(row))

    def _fill_texts(self, index: int) -> None:
        row = self._rows[index]
        name = self._widget.item(index, NAME)
        mark = "\N{CHECK MARK} " if row.found else "\N{BALLOT X} "
        name.setText(mark + row.name + (f" {DOUBT_MARK}" if row.doubt else ""))
        name.setToolTip(_tooltip(row))
        texts = _values(row) if row.found or row.prompt in self._sliders else (_reason(row), "", "")
        for column, text in zip((VOLUME, MEAN, PRESENCE), texts, strict=True):
            item = self._widget.item(index, column)
            item.setText(text)
            item.setToolTip(row.doubt if row.found else _reason(row))
            if row.found:
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        # The reason needs the room of the numbers that are not there; a row with a slider keeps its cells.
        wide = not row.found and row.prompt not in self._sliders
        if wide:
            self._widget.setSpan(index, VOLUME, 1, THRESHOLD - VOLUME + 1)
        is_long = len(row.name) > _NAME_LETTERS or (wide and len(_reason(row)) > _REASON_LETTERS)
        height = self._widget.verticalHeader().defaultSectionSize
        self._widget.setRowHeight(index, height + (height // 2 if is_long else 0))

    def _slider(self, row: ResultRow) -> Any:
        holder = qt.QWidget()
        layout = qt.QHBoxLayout(holder)
        layout.setContentsMargins(4, 0, 4, 0)
        slider, label = qt.QSlider(qt.Qt.Horizontal), qt.QLabel()
        slider.setRange(1, 99)
        slider.value = round(100 * row.threshold)
        slider.toolTip = _("Lower: the segment grows. Higher: it shrinks. The CT is not read again.")
        label.text = _decimal(slider.value)
        layout.addWidget(slider)
        layout.addWidget(label)
        prompt = row.prompt

        def moved(value: int) -> None:
            label.text = _decimal(value)
            self._pending[prompt] = value / 100
            self._timer.start()

        slider.connect("valueChanged(int)", moved)
        self._sliders[prompt] = slider, label
        return holder

    def _send(self) -> None:
        pending, self._pending = self._pending, {}
        for prompt, threshold in pending.items():
            self._on_threshold(prompt, threshold)

    def _clicked(self, index: int, _column: int) -> None:
        if 0 <= index < len(self._rows):
            self._on_select(self._rows[index])


def _headers() -> list[str]:
    return [_("Structure"), _("Volume (ml)"), _("Mean HU"), _("Presence"), _("Threshold")]


def _values(row: ResultRow) -> tuple[str, str, str]:
    presence = f"{100 * row.presence:.0f} %"
    if not row.found:
        return _DASH, _DASH, presence
    volume = f"{row.volume_ml:.1f}" if row.volume_ml < 100 else f"{row.volume_ml:.0f}"
    return volume, _DASH if row.mean_hu is None else f"{row.mean_hu:.0f}", presence


def _tooltip(row: ResultRow) -> str:
    lines = [_("Prompt: {prompt}").format(prompt=row.prompt)]
    if row.sentence:
        lines.append(_("Report: {sentence}").format(sentence=row.sentence))
    if row.doubt:
        lines.append(_("Unusual: {doubt}").format(doubt=row.doubt))
    if row.note:
        lines.append(_("Note: {note}").format(note=row.note))
    return "\n".join(lines)


def _reason(row: ResultRow) -> str:
    return _("not found: {reason}").format(reason=row.reason) if row.reason else _("not found")


def _decimal(value: int) -> str:
    return f"{value / 100:.2f}"
