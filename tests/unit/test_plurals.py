from __future__ import annotations

import pytest

from vaultstream.plurals import counted

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
