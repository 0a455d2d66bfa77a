"""When the services are asked why a run makes no progress."""

from __future__ import annotations

import time

import pytest

from vaultstream.local.stalls import STALL_SECONDS, StallWatch

pytestmark = pytest.mark.unit


def test_services_are_asked_once_nothing_has_changed_for_a_while_and_again_after_as_long() -> None:
    watch, now = StallWatch(), time.monotonic()
    assert not watch.is_due("a", now)
    assert not watch.is_due("a", now + STALL_SECONDS - 0.1)
    assert watch.is_due("a", now + STALL_SECONDS)
    assert not watch.is_due("a", now + STALL_SECONDS + 0.1)
    assert watch.is_due("a", now + 2 * STALL_SECONDS)
    assert not watch.is_due("b", now + 3 * STALL_SECONDS)
