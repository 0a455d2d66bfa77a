"""docs/operations.md: it names every metric that a process serves."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from vaultstream.telemetry.metrics import Metrics
from vaultstream_operator.metrics import OperatorMetrics

pytestmark = pytest.mark.unit

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
ENDINGS = {"counter": "_total", "info": "_info"}
REGISTRIES = {
    "operator": OperatorMetrics().registry,
    **{role: Metrics(role).registry for role in ("keys", "records", "signing")},
}


@pytest.mark.parametrize("registry", REGISTRIES.values(), ids=REGISTRIES)
def test_every_metric_is_documented(registry: CollectorRegistry) -> None:
    names = [
        family.name + ENDINGS.get(family.type, "")
        for family in registry.collect()
        if family.name.startswith("vaultstream_")
    ]
    assert len(names) > 3
    assert [name for name in names if f"| `{name}` |" not in PAGE and f"`{name}`, and" not in PAGE] == []
