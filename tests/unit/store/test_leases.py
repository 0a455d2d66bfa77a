from __future__ import annotations

import pytest

from support.engine import make_lease
from vaultstream.store.leases import SAFETY_FACTOR

pytestmark = pytest.mark.unit


def test_a_lease_that_was_lost_has_no_time_left_whatever_its_deadline() -> None:
    lease = make_lease(1000)
    assert 990 < lease.remaining <= 1000
    lease.lost = True
    assert lease.remaining == 0


def test_a_lease_expires() -> None:
    assert make_lease(0).remaining <= 0


def test_a_holder_uses_less_than_the_full_lease() -> None:
    assert 0.5 < SAFETY_FACTOR < 1
