from __future__ import annotations

import pytest

from vaultstream.signing.backoff import full_jitter

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("attempt", "ceiling"), [(1, 1.0), (2, 2.0), (3, 4.0), (6, 32.0), (7, 60.0), (100, 60.0), (10**9, 60.0)]
)
def test_a_delay_lies_between_zero_and_its_ceiling_and_uses_all_of_it(attempt: int, ceiling: float) -> None:
    delays = [full_jitter(attempt, initial_seconds=1.0, max_seconds=60.0) for _ in range(2000)]
    assert 0 <= min(delays) < 0.05 * ceiling
    assert 0.95 * ceiling < max(delays) <= ceiling
    assert 0.4 * ceiling < sum(delays) / len(delays) < 0.6 * ceiling


def test_no_delay_is_longer_than_the_cap_even_at_the_first_attempt() -> None:
    assert max(full_jitter(1, initial_seconds=10.0, max_seconds=0.5) for _ in range(500)) <= 0.5
