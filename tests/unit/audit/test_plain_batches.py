"""Which batches are checked as a whole is decided from their rows, whatever their owner has written there."""

from __future__ import annotations

import pytest

from vaultstream.audit.checks.plain_batches import CoveredBatch, are_apart, is_large
from vaultstream.audit.checks.queries import covered_ids
from vaultstream.proof.planned import PlannedBatch

pytestmark = pytest.mark.unit


def batch(first: int, last: int, *ids: int) -> CoveredBatch:
    """Returns a batch of all integers from the first to the last, or of these ids."""
    planned = PlannedBatch(
        number=1,
        first_id=str(first),
        last_id=str(last),
        records=9,
        ids=tuple(map(str, ids)) or None,
    )
    return CoveredBatch(planned, covered_ids(planned, "bigint"), "done")


@pytest.mark.parametrize(
    "batches",
    [
        [batch(1, 5)],
        [batch(-5, -1), batch(0, 0), batch(2, 9, 2, 7, 9), batch(10, 2**70)],
    ],
)
def test_batches_whose_ids_ascend_are_apart(batches: list[CoveredBatch]) -> None:
    assert are_apart(batches)


@pytest.mark.parametrize(
    "batches",
    [
        [batch(1, 5), batch(5, 9)],
        [batch(6, 9), batch(1, 5)],
        [batch(5, 4)],
        [batch(1, 5), batch(9, 8), batch(20, 21)],
        [batch(1, 3, 1, 3, 2)],
        [batch(1, 2, 1, 2, 2)],
    ],
)
def test_batches_that_overlap_or_are_out_of_order_or_empty_are_not(batches: list[CoveredBatch]) -> None:
    assert not are_apart(batches)


@pytest.mark.parametrize(
    ("ends", "large"),
    [
        ((1, 1 << 16), False),
        ((1, (1 << 16) + 1), True),
        ((-(2**63), -(2**63)), False),
        ((2**63 - 1, 2**63 - 1), False),
        ((2**63, 2**63), True),
        ((-(2**63) - 1, -(2**63)), True),
        ((0, 10**30), True),
    ],
)
def test_no_memory_is_taken_for_ends_that_no_batch_can_have(ends: tuple[int, int], large: bool) -> None:
    assert is_large(batch(*ends)) is large


def test_listed_ids_are_far_apart_as_they_like() -> None:
    assert not is_large(batch(-(2**63), 2**63 - 1, -(2**63), 0, 2**63 - 1))
