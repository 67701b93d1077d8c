from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from OpenVocabCTSlicer.prompts_text import prompt_key, split_prompts


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("", ()),
        (" \n,, ;\n", ()),
        ("left kidney", ("left kidney",)),
        ("left kidney, liver;spleen\nheart", ("left kidney", "liver", "spleen", "heart")),
        ("  left   kidney \r\n liver ", ("left kidney", "liver")),
        ("liver, Liver,  LIVER\nspleen, liver", ("liver", "spleen")),
        ("kidney (left, upper pole), liver", ("kidney (left, upper pole)", "liver")),
        ("a [b, (c, d)] e, f", ("a [b, (c, d)] e", "f")),
        ('"mass, hypodense", liver', ("mass, hypodense", "liver")),
        ("\u201cmass, hypodense\u201d, liver", ("mass, hypodense", "liver")),
        ("kidney (left, liver", ("kidney (left", "liver")),
        ('open "quote, liver\nspleen', ('open "quote', "liver", "spleen")),
        ('stent 2" long, liver, 3" wide', ('stent 2" long', "liver", '3" wide')),
        ("Morison's pouch, Douglas' pouch", ("Morison's pouch", "Douglas' pouch")),
        ("close) here, liver", ("close) here", "liver")),
        ('"", liver', ("liver",)),
        ('the "big, round" one, liver', ('the "big, round" one', "liver")),
        ('"a" and "b", c', ('"a" and "b"', "c")),
    ],
)
def test_texts(text: str, prompts: tuple[str, ...]) -> None:
    assert split_prompts(text) == prompts


@given(st.text(alphabet="ab,;()[]\"\u201c\u201d \n'", max_size=60))
def test_any_text_gives_clean_prompts(text: str) -> None:
    prompts = split_prompts(text)
    assert all(prompt == " ".join(prompt.split()) and prompt for prompt in prompts)
    assert len({prompt_key(prompt) for prompt in prompts}) == len(prompts)
    letters = [c for c in text if c in "ab"]
    assert len([c for prompt in prompts for c in prompt if c in "ab"]) <= len(letters)
    # No letter is lost but in repeated prompts.
    assert {c for prompt in prompts for c in prompt if c in "ab"} == set(letters)


@given(st.lists(st.from_regex(r"[a-z]{1,8}( [a-z]{1,8})?", fullmatch=True), unique_by=prompt_key))
def test_joined_prompts_come_apart_again(prompts: list[str]) -> None:
    for separator in (",", "\n", " ; "):
        assert split_prompts(separator.join(prompts)) == tuple(prompts)
