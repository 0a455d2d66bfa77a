"""Text from elsewhere can't control a terminal, hide, or pass for another message; the same function serves command and logs."""

from __future__ import annotations

import io
import json
import logging
import sys
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstream.logs import configure_logging
from vaultstream.settings import Settings
from vaultstream.visible import visible, visible_json, visible_lines

pytestmark = pytest.mark.unit

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))
BIDI = [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C]
WITHOUT_WIDTH = [*range(0x200B, 0x200E), *range(0x2060, 0x2065), 0xFEFF, 0x00AD, 0xE0041]
DRAWN_AS_NOTHING = [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164, 0xFFA0]
SELECTORS = [*range(0xFE00, 0xFE10), 0xE0100, 0xE01EF, 0xE0FFF]
BLANK = [*DRAWN_AS_NOTHING, *SELECTORS]
DANGEROUS = [*range(0x20), *range(0x7F, 0xA0), *BIDI, *WITHOUT_WIDTH, *BLANK, 0x2028, 0x2029, 0xD800, 0xDFFF]


@pytest.mark.parametrize("code", DANGEROUS, ids=lambda code: f"U+{code:04X}")
def test_a_character_that_controls_or_hides_is_escaped(code: int) -> None:
    shown = visible(f"a{chr(code)}b")
    assert shown == f"a{chr(code).encode('unicode_escape').decode()}b"
    assert shown.isascii()
    assert shown.isprintable()


def test_letters_signs_and_spaces_of_all_languages_stay() -> None:
    text = "née Straße 数字 עברית العربية 12\u00a0% \u202f€ 👍 \\x1b [bold]"
    assert visible(text) == text


@given(ANY_TEXT)
def test_nothing_that_controls_is_left(text: str) -> None:
    assert not [c for c in visible(text) if category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]
    assert visible(visible(text)) == visible(text)


@given(ANY_TEXT)
def test_only_the_first_line_of_a_message_begins_at_the_margin(text: str) -> None:
    first, *others = visible_lines(text).split("\n")
    assert all(line.startswith("  ") for line in others)
    assert [first, *(line[2:] for line in others)] == [visible(line) for line in text.split("\n")]


@given(st.dictionaries(ANY_TEXT, ANY_TEXT | st.integers()))
def test_json_keeps_its_value_and_loses_its_control_characters(value: dict[str, object]) -> None:
    text = visible_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(text) == value
    assert visible(text, keep="\n") == text


def logged(monkeypatch: pytest.MonkeyPatch, form: str, message: str, **extra: str) -> str:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        configure_logging(Settings.model_construct(log_format=form), worker=True)
        logging.getLogger("vaultstream.test").warning("%s", message, extra=extra)
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
    return stream.getvalue()


EVIL = "\x1b[2J\x9b31m\u202e\x7f"


def test_a_log_line_for_people_shows_control_characters_and_can_not_be_forged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = logged(
        monkeypatch, "text", f"{EVIL}\n12:00:00 INFO all is well", holder=f"{EVIL}\n12:00:00 INFO all is well"
    )
    assert visible(text, keep="\n") == text
    first, *others = text.rstrip("\n").split("\n")
    assert r"\x1b[2J\x9b31m\u202e\x7f" in first
    assert len(others) == 1
    assert others[0].startswith("  12:00:00 INFO all is well holder=")


def test_a_log_line_for_machines_has_the_exact_text(monkeypatch: pytest.MonkeyPatch) -> None:
    text = logged(monkeypatch, "json", EVIL, holder=EVIL)
    assert visible(text, keep="\n") == text
    entry = json.loads(text)
    assert (entry["message"], entry["holder"]) == (EVIL, EVIL)
