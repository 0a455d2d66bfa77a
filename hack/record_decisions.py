"""Records the scaling decisions of a command that runs jobs on this machine. `hack/record_decisions.py FILE.jsonl run -f job.yaml`.

The recordings in tests/unit/simulation/recordings were made so. They are replayed in a test.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from vaultstream.api import ScalingSpec
from vaultstream.local import scaler
from vaultstream.scaling.decide import decide_next
from vaultstream.scaling.decision import Decision
from vaultstream.scaling.history import History
from vaultstream.scaling.observation import Observation
from vaultstream.simulation.replay import recorded
from vaultstream_cli.app import app
from vaultstream_cli.main import load

entries: list[dict[str, Any]] = []


def recording(
    spec: ScalingSpec, observation: Observation, history: History, now: float
) -> tuple[Decision, History]:
    """Decides as `decide_next` does, and keeps what it was given and what it returned."""
    if not entries:
        entries.append({"spec": spec.model_dump(mode="json", by_alias=True)})
    decision, after = decide_next(spec, observation, history, now)
    entries.append(recorded(observation, decision, now))
    return decision, after


def main() -> None:
    """Runs the command, and writes the recording when it ends."""
    target, arguments = Path(sys.argv[1]), sys.argv[2:]
    scaler.decide_next = recording  # type: ignore[attr-defined]
    load(arguments[0])
    try:
        app(arguments)
    finally:
        target.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")


if __name__ == "__main__":
    main()
