from __future__ import annotations

import pytest

from vaultstream.plurals import NounCount, counted

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("number", "noun", "plural", "text"),
    [
        (0, "key", None, "0 keys"),
        (1, "key", None, "1 key"),
        (1200, "key", None, "1,200 keys"),
        (1, "batch", "batches", "1 batch"),
        (2, "batch", "batches", "2 batches"),
    ],
)
def test_a_number_agrees_with_its_noun(number: int, noun: str, plural: str | None, text: str) -> None:
    assert counted(number, noun, plural) == text


@pytest.mark.parametrize(
    ("number", "template", "text"),
    [
        (1, "{n:key}", "1 key"),
        (2, "{n:active key}", "2 active keys"),
        (1, "{n:batch|batches}", "1 batch"),
        (1200, "{n:batch|batches}", "1,200 batches"),
        (1200, "{n}", "1200"),
        (1200, "{n:,}", "1,200"),
        (12, "{n:.0f} s", "12 s"),
        (10, "{n:g}", "10"),
    ],
)
def test_a_format_may_be_a_noun(number: int, template: str, text: str) -> None:
    assert template.format(n=NounCount(number)) == text
