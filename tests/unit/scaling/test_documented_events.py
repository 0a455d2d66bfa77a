"""The events that the documentation quotes read as a decision explains itself today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vaultstream.scaling.reasons import LimitName, Reason, limit_clause, reason_clause

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "docs" / "operations.md", ROOT / "docs" / "scaling.md"]
BY_LAG = re.compile(
    r"(?:Scaled from|Kept) .*?: (lag is ([\d,]+) batches, lagThreshold is (\d+) per signer), ⌈"
)
LIMITED = re.compile(r"⌉ = \d+, (.*?) (\d+)\.$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_quoted_events_have_the_words_of_a_decision(page: Path) -> None:
    text = page.read_text("utf-8")
    quoted = BY_LAG.findall(text)
    assert quoted
    for clause, lag, threshold in quoted:
        inputs = {"lag": int(lag.replace(",", "")), "lagThreshold": int(threshold)}
        assert clause == reason_clause(Reason.LAG, inputs)
    for words, value in LIMITED.findall(text):
        assert f"{words} {value}" in {limit_clause(name, int(value)) for name in LimitName}
    assert not re.search(r"(Scaled from|Kept|Held) \d.* because ", text)
