r"""Text from elsewhere, such as an id, a name or a message, in a form that is safe to show.

A control character can move the cursor, rewrite what a terminal shows, or end a line; others reverse the order of the text
or are invisible. Each of these is shown as Python would write it: `\x1b`, `\n`, `\u202e`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from unicodedata import category

if TYPE_CHECKING:
    from collections.abc import Callable

_SPACES = "Zs"
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
"""Letters, marks and signs that are drawn as nothing, or change only how the one before them is drawn."""


def is_visible(character: str) -> bool:
    """Whether a character can be shown as it is: it is printable, or a space of some width.

    All others are escaped: C0, DEL and C1 controls, characters that change the direction of text or have no width, separators
    of lines, lone surrogates, what this version of Unicode does not assign, and letters, marks and selectors that are drawn
    as nothing.
    """
    return (character.isprintable() and not _BLANK.match(character)) or category(character) == _SPACES


def visible(text: str, *, keep: str = "") -> str:
    """Returns `text` with each character that can't be shown as it is escaped; those in `keep` stay as they are."""
    return _escaped(text, keep, lambda character: character.encode("unicode_escape").decode("ascii"))


def visible_lines(text: str) -> str:
    """Returns a text of several lines, made visible. All lines but the first are indented: none can pass for another message."""
    return visible(text.replace("\n", "\n  "), keep="\n")


def visible_json(text: str) -> str:
    """Returns a JSON text in which these characters are written as JSON's own escapes: it has the same value."""
    return _escaped(text, "\n", lambda character: json.dumps(character)[1:-1])


def _escaped(text: str, keep: str, escape: Callable[[str], str]) -> str:
    if text.isprintable() and not _BLANK.search(text):
        return text
    return "".join(
        character if character in keep or is_visible(character) else escape(character) for character in text
    )
