# ruff: noqa: N802 -- names of Slicer and Qt
"""The parts of the Qt side that need no widget."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.worker.steps import Progress
from OpenVocabCTSlicer.progress_text import RemainingTime, duration, percent, stage_text
from OpenVocabCTSlicer.report import anonymous, application_name, report
from OpenVocabCTSlicer.sessions import session_for
from OpenVocabCTSlicer.settings import UserSettings
from OpenVocabCTSlicer.suggestions import Suggestion, current_word, matches, terminology_suggestions
from Testing.slicer_gui.fakes import MemoryStore

PHRASES = [
    Suggestion("left kidney", True),
    Suggestion("kidney stone"),
    Suggestion("kidneys", True),
    Suggestion("liver"),
]


@pytest.mark.parametrize(
    ("text", "cursor", "expected"),
    [
        ("left ki", 7, "left ki"),
        ("spleen, left ki", 15, "left ki"),
        ("spleen\n  left ki\nliver", 16, "left ki"),
        ("spleen, ", 8, ""),
        ("", 0, ""),
    ],
)
def test_current_word(text: str, cursor: int, expected: str) -> None:
    word = current_word(text, cursor)
    assert word.text == expected
    assert text[word.start : word.end] == expected


@given(st.text(alphabet="ab ,;\n", max_size=30), st.data())
def test_current_word_is_one_prompt_up_to_the_cursor(text: str, data: Any) -> None:
    cursor = data.draw(st.integers(0, len(text)))
    word = current_word(text, cursor)
    assert word.end == cursor
    assert text[word.start : cursor] == word.text
    assert not set(word.text) & set(",;\n")
    assert not word.text[:1].isspace()


def test_matches_best_first() -> None:
    assert [s.phrase for s in matches("kidney", PHRASES)] == ["kidneys", "kidney stone", "left kidney"]
    assert [s.phrase for s in matches("KID  st", PHRASES)] == ["kidney stone"]
    assert [s.phrase for s in matches("ki le", PHRASES)] == ["left kidney"]
    assert matches("k", PHRASES) == ()
    assert matches("liver", PHRASES) == (), "what is typed in full needs no suggestion"
    doubled = [Suggestion("liver segment"), Suggestion("Liver segment", True)]
    assert matches("liver s", doubled) == (Suggestion("Liver segment", True),)
    assert len(matches("ki", [Suggestion(f"kidney {n}") for n in range(50)])) == 8


def test_terminologies_give_names_with_sides() -> None:
    class Named:
        def GetCodeMeaning(self) -> str:
            return self.meaning

    class Terminologies:
        def GetNumberOfCategoriesInTerminology(self, _name: str) -> int:
            return 1

        def GetNthCategoryInTerminology(self, _name: str, _i: int, _category: Any) -> bool:
            return True

        def GetNumberOfTypesInTerminologyCategory(self, _name: str, _category: Any) -> int:
            return 2

        def GetNthTypeInTerminologyCategory(self, _name: str, _category: Any, i: int, kind: Any) -> bool:
            kind.SetCodeMeaning(("Kidney", "Liver")[i])
            return True

        def GetNumberOfTypeModifiersInTerminologyType(self, _name: str, _category: Any, kind: Any) -> int:
            return 2 if kind.GetCodeMeaning() == "Kidney" else 0

        def GetNthTypeModifierInTerminologyType(self, _n: str, _c: Any, _k: Any, i: int, modifier: Any) -> bool:
            modifier.SetCodeMeaning(("Right", "Left")[i])
            return True

    phrases = [s.phrase for s in terminology_suggestions(Terminologies(), "any")]
    assert phrases == ["kidney", "right kidney", "left kidney", "liver"]


@pytest.mark.parametrize(
    "text",
    [
        "cannot read /home/doe/DOE^JOHN/ct.nii.gz",
        r"cannot read C:\Users\doe\ct.nii",
        r"cannot read \\server\doe\ct",
        "cannot read ~/doe/x",
        "file:///tmp/doe.nii is bad",
        "the prompt 'doe tumour' is not understood",
        'the prompt "doe tumour" is not understood',
        "cannot read /data/my doe folder/ct.nii",
        "/data/Miller, Doe (1950)/ct.nii cannot be read: copy it",
        r"C:\Users\O'Doe\ct.nii is gone: look",
        r"the folder \\server\Miller; Doe\ct is gone: look",
        "/data/Miller: Doe/ct.nii cannot be read: copy it",
        "Looking in links: /data/Miller, Doe",
    ],
)
def test_reports_hold_no_paths_and_no_words_of_the_user(text: str) -> None:
    assert "doe" not in anonymous(text).casefold()


def test_what_is_said_of_a_path_stays_in_a_report() -> None:
    assert anonymous("/data/Doe, J/ct.nii cannot be read: copy it") == "<path> cannot be read: copy it"
    assert anonymous("the volume of 3/4 is odd: run again") == "the volume of 3/4 is odd: run again"


def test_report_of_an_unexpected_error_says_where_but_not_what_was_in_it() -> None:
    try:
        raise ValueError("bad value in /data/doe")
    except ValueError as error:
        text = report(error, {"device": "cpu"}, "Slicer 5.10.0")
    assert "device: cpu" in text
    assert "test_pure_parts.py" in text
    assert "/data" not in text
    assert "numpy: " in text
    assert report(None, {}, "x").endswith("error: none")
    assert application_name(object())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:8765", ("localhost", 8765, False)),
        (" http://gpu.example.org:80/ ", ("gpu.example.org", 80, False)),
        ("https://gpu.example.org", ("gpu.example.org", 443, True)),
        ("[::1]:9000", ("::1", 9000, False)),
    ],
)
def test_a_server_that_was_chosen(text: str, expected: tuple[str, int, bool]) -> None:
    settings = UserSettings(MemoryStore())
    settings.remote, settings.server, settings.token = True, text, "secret"
    address = session_for(settings)._source
    assert (address.host, address.port, address.tls) == expected
    assert address.token == "secret"


@pytest.mark.parametrize(
    "text",
    ["", "localhost", ":80", "a b:80", "host:0", "host:65536", "host:x", "::1:80", "user@host:80", "a/b:80"],
)
def test_a_server_whose_address_is_wrong(text: str) -> None:
    settings = UserSettings(MemoryStore())
    settings.remote, settings.server, settings.token = True, text, "secret"
    with pytest.raises(InputError, match="is no address"):
        session_for(settings)


def test_a_server_without_its_token() -> None:
    settings = UserSettings(MemoryStore())
    settings.remote, settings.server = True, "localhost:8765"
    with pytest.raises(InputError, match="token is missing"):
        session_for(settings)


def test_settings_come_back_and_survive_nonsense() -> None:
    store = MemoryStore()
    settings = UserSettings(store)
    settings.model, settings.device, settings.remote, settings.server = "/m", "cuda", True, " localhost:1 "
    settings.token = "secret"
    settings.add_model_folder("/m")
    settings.add_model_folder("/n")
    settings.add_model_folder("/m")
    again = UserSettings(store)
    assert (again.model, again.device, again.remote, again.server) == ("/m", "cuda", True, "localhost:1")
    assert again.model_folders == ("/n", "/m")
    assert again.token == ""
    for key in store.values:
        store.values[key] = 7
    assert (again.model, again.device, again.remote, again.model_folders) == (None, "auto", False, ())
    store.values["OpenVocabCT/modelFolders"] = "{not json"
    assert again.model_folders == ()


def test_remaining_time() -> None:
    now = [0.0]
    remaining = RemainingTime(lambda: now[0])
    assert remaining.seconds(Progress("encoding", 0, 10)) is None
    now[0] = 4.0
    assert remaining.seconds(Progress("encoding", 2, 10)) == pytest.approx(16.0)
    assert remaining.seconds(Progress("answering", 1, 10)) is None, "another stage has its own rate"
    assert remaining.seconds(Progress("answering", 0, 0)) is None
    assert duration(16.4) == "about 16 s left"
    assert duration(200) == "about 3 min left"
    assert percent(Progress("encoding", 3, 4)) == 75
    assert percent(Progress("waiting")) is None
    assert stage_text(Progress("loading"))
