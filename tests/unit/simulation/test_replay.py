"""Real runs on one machine, replayed: what was observed leads to what was decided. Made by hack/record_decisions.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vaultstream.simulation.replay import replayed

pytestmark = pytest.mark.unit

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.jsonl"))
SHOWN = ("replicas", "desired", "reason", "limit", "formula", "hold")
"""What a decision is. Its inputs may grow."""


def entries_of(recording: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recording.read_text().splitlines()]


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_the_recorded_observations_give_the_recorded_decisions(recording: Path) -> None:
    pairs = list(replayed(entries_of(recording)))
    assert len(pairs) >= 5
    for then, now in pairs:
        assert {key: now[key] for key in SHOWN} == {key: then[key] for key in SHOWN}


def test_the_recordings_have_different_rules() -> None:
    reasons = {entry["decision"]["reason"] for path in RECORDINGS for entry in entries_of(path)[1:]}
    assert {"FirstStep", "WorkLeft", "Lag", "JobDone"} <= reasons


def test_another_observation_gives_another_decision() -> None:
    entries = entries_of(RECORDINGS[0])
    changed = next(entry for entry in entries[1:] if entry["observation"]["lag"]["batches_pending"] > 0)
    changed["observation"]["lag"]["batches_pending"] *= 3
    assert any(then["formula"] != now["formula"] for then, now in replayed(entries))
