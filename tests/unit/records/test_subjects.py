from __future__ import annotations

import pytest

from vaultstream.bus.subjects import batch_subject, parse_batch_no
from vaultstream.store.jobs import new_token

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("number", [1, 42, 10**18 - 1])
def test_a_batch_is_found_again_from_its_subject(number: int) -> None:
    assert parse_batch_no(batch_subject("a.job", number)) == number


@pytest.mark.parametrize(
    "name", ["", "x", "-1", "+1", " 1", "1e3", "²", "\N{ARABIC-INDIC DIGIT ONE}", "9" * 19, "9" * 5000]
)
def test_a_subject_that_names_no_batch_is_recognized(name: str) -> None:
    assert parse_batch_no(f"records.job.{name}") is None


@pytest.mark.parametrize("name", ["receipts", "a.b.c", "x" * 200, "Ünï *>", "a b\tc\n"])
def test_a_token_is_one_part_of_a_subject_and_never_the_same_twice(name: str) -> None:
    token = new_token(name)
    assert not set(token) & set(". *>\t\r\n")
    assert len(token) <= 60
    assert token != new_token(name)
