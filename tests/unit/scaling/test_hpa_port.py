"""`behavior` decides as a port of HPA's algorithm does, in random behaviors and courses of the lag."""

from __future__ import annotations

from random import Random

import pytest

from support.hpa import HpaPort, random_behavior
from support.scaling import EMPTY, NOW, seen
from vaultstream.api import ScalingSpec
from vaultstream.scaling.decide import decide_next

pytestmark = [pytest.mark.unit, pytest.mark.no_cover]  # coverage would triple their time

MOST = 200
STEPS = 20
BEHAVIORS = 1_000


def courses(seed: int) -> tuple[list[int], list[int]]:
    """The counts of one random behavior over one random course: ours and those of the port."""
    random = Random(seed)
    behavior = random_behavior(random)
    spec = ScalingSpec(lag_threshold=1, min_replica_count=1, max_replica_count=MOST, behavior=behavior)
    port, history, now = HpaPort(behavior, MOST), EMPTY, NOW
    ours = theirs = random.randint(1, 60)
    counts: list[int] = []
    expected: list[int] = []
    for _ in range(STEPS):
        wanted = random.randint(1, 100)
        history = history.beginning_with(ours, now)
        decision, history = decide_next(spec, seen(wanted, ours), history, now)
        ours, theirs = decision.desired, port.desired(theirs, wanted, now)
        counts.append(ours)
        expected.append(theirs)
        now += random.choice([5, 15, 15, 40])
    return counts, expected


def test_a_thousand_random_behaviors_decide_as_hpa_does() -> None:
    differing = [seed for seed in range(BEHAVIORS) if (pair := courses(seed))[0] != pair[1]]
    assert differing == []
