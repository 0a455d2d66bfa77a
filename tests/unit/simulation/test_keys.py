"""No job has more signers than it will ever have keys."""

from __future__ import annotations

import pytest

from vaultstream.api import ScalingSpec
from vaultstream.scaling.curve import Curve
from vaultstream.scaling.reasons import LimitName
from vaultstream.simulation.run import simulate
from vaultstream.simulation.scenario import Scenario

pytestmark = pytest.mark.unit


def test_twelve_keys_are_never_given_fifteen_signers() -> None:
    slow_keys = Scenario(
        "few keys",
        Curve(1000.0),
        records=150_000,
        keys=12,
        key_rate=0.5,
        scaling=ScalingSpec(lag_threshold=20),
    )
    run = simulate(slow_keys)
    assert run.finished
    assert run.peak == 12
    _, first = run.decisions[0]
    assert first.limit is not None
    assert first.limit.name is LimitName.KEY_COUNT
    assert "⌈300 / 20⌉ = 15, limited by keys.count to 12" in first.explain()
