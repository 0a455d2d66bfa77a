"""How many batches make a group."""

from __future__ import annotations

import pytest

from vaultstream.signing.pace import GROUP_SECONDS, Pace

pytestmark = pytest.mark.unit

MICROSECOND = 1e-6


def settled(batch_size: int, concurrency: int, record_seconds: float) -> Pace:
    pace = Pace(batch_size, concurrency)
    for _ in range(20):
        group = pace.group
        pace.signed(group, group * batch_size, group * batch_size * record_seconds)
    return pace


def test_the_first_group_is_one_batch_for_nobody_knows_how_long_it_takes() -> None:
    assert Pace(10, 64).group == 1


@pytest.mark.parametrize(
    ("batch_size", "concurrency", "record_seconds", "expected"),
    [
        (50, 64, 25 * MICROSECOND, 32),
        (100, 64, 25 * MICROSECOND, 20),
        (50, 30, 25 * MICROSECOND, 15),
        (1, 64, 25 * MICROSECOND, 32),
        (1000, 64, 25 * MICROSECOND, 2),
        (5000, 64, 25 * MICROSECOND, 1),
        (20_000, 64, 25 * MICROSECOND, 1),
        (50, 64, 1600 * MICROSECOND, 1),
        (10, 1, 25 * MICROSECOND, 1),
    ],
)
def test_a_group_is_a_short_time_of_signing_and_at_most_half_of_the_batches_in_flight(
    batch_size: int, concurrency: int, record_seconds: float, expected: int
) -> None:
    assert settled(batch_size, concurrency, record_seconds).group == expected


def test_groups_grow_at_most_eightfold_at_a_time() -> None:
    pace = Pace(10, 1000)
    sizes = []
    for _ in range(5):
        sizes.append(pace.group)
        pace.signed(sizes[-1], sizes[-1] * 10, sizes[-1] * 10 * MICROSECOND)
    assert sizes == [1, 8, 64, 500, 500]


def test_a_smaller_share_needs_no_wait_until_nothing_is_in_flight() -> None:
    """Two groups of 25 are in flight when a key is missing. Once one of them is committed, there is room for most of the next."""
    pace = settled(50, 51, 25 * MICROSECOND)
    pace.keys_were_short(50)
    assert pace.share == 43
    assert pace.least <= pace.share - 25 < pace.group


def test_groups_shrink_when_records_become_slow() -> None:
    pace = settled(50, 64, 25 * MICROSECOND)
    for _ in range(5):
        pace.signed(1, 50, GROUP_SECONDS)
    assert pace.group == 1


def test_a_group_without_records_teaches_nothing() -> None:
    pace = settled(50, 64, 25 * MICROSECOND)
    before = pace.group
    pace.signed(3, 0, 0.0)
    assert pace.group == before


def test_signers_that_want_the_same_keys_come_to_hold_about_as_many_each() -> None:
    keys, paces = 30, [Pace(50, 64), Pace(50, 64), Pace(50, 64)]
    held = [30, 0, 0]
    for turn in range(300):
        who = turn % 3
        held[who] = 0  # committed: its keys are free
        wanted = paces[who].share
        held[who] = min(wanted, keys - sum(held))
        if held[who] < wanted:
            paces[who].keys_were_short(held[who])
        else:
            paces[who].keys_were_enough()
    assert all(5 <= pace.share <= 16 for pace in paces)


def test_a_signer_that_held_no_key_soon_asks_for_as_many_as_it_may() -> None:
    pace = Pace(50, 24)
    pace.keys_were_short(0)
    shares = []
    while pace.share < 24:
        pace.keys_were_enough()
        shares.append(pace.share)
    assert shares == [2, 4, 8, 16, 24]
    pace.keys_were_short(8)
    pace.keys_were_enough()
    assert pace.share == 8


def test_a_signer_always_tries_for_one_key_and_never_for_more_than_it_may() -> None:
    pace = Pace(50, 3)
    pace.keys_were_short(0)
    assert pace.share == 1
    for _ in range(9):
        pace.keys_were_enough()
    assert pace.share == 3
