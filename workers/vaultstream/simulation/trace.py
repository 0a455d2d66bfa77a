"""The decisions of a simulated run as log lines, in the form in which the operator logs its own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from vaultstream.simulation.run import SimulatedRun

OPERATOR_LOGGER: Final = "vaultstream_operator.reconciler"
"""The logger under which the operator logs a decision."""


def decision_lines(run: SimulatedRun, *, namespace: str, job: str) -> list[dict[str, Any]]:
    """Returns a log line for each decision that changed the count, ready for JSON. The job is created at 1970-01-01T00:00:00Z."""
    return [
        {
            "time": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S%z"),
            "level": "INFO",
            "logger": OPERATOR_LOGGER,
            "message": decision.explain(),
            "namespace": namespace,
            "job": job,
            "reason": str(decision.reason),
            "decided": decision.dump(),
        }
        for at, decision in run.decisions
    ]
