"""What scaling remembers: read back as it was written, whatever else is in the database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from support.planning import ALL, NOW, after, planned, replicas_of, spec_of, stored_of, view_of
from vaultstream.scaling.history import Change, Entry, History
from vaultstream.scaling.kept import KeptDecision
from vaultstream.scaling.observation import Lag
from vaultstream.scaling.throughput import Seen
from vaultstream_operator.adapters.scaling import KeptScaling
from vaultstream_operator.core.memory import STALE_SECONDS, ScalingMemory
from vaultstream_operator.core.view import SignersView

pytestmark = pytest.mark.unit

HISTORY = History(
    highs=(Entry(at=1.0, replicas=5),),
    lows=(Entry(at=2.0, replicas=4),),
    added=(Entry(at=3.0, replicas=3),),
    removed=(Entry(at=4.0, replicas=2),),
    seen=(Seen(signers=3, rate=100.5, samples=4, at=5.0),),
    changes=(Change(at=6.0, before=3, after=5, reason="Lag", limit="MaxReplicaCount"),),
    last_active_at=7.0,
)
MEMORY = ScalingMemory(HISTORY, generation=4)
LATER = replace(MEMORY, history=HISTORY.but(last_active_at=9.0))


def test_a_memory_is_read_back_as_it_was_written() -> None:
    assert ScalingMemory.parse(MEMORY.dump()) == MEMORY


@pytest.mark.parametrize("stored", [None, [], "text", {"history": 3, "generation": "4"}])
def test_a_memory_that_cannot_be_read_is_empty(stored: object) -> None:
    assert ScalingMemory.parse(stored) == ScalingMemory()


def test_what_cannot_be_read_of_a_memory_is_left_out() -> None:
    stored = {"history": {"highs": [{"at": "?"}], "lows": "none", "lastActiveAt": 7.0}, "generation": 2}
    assert ScalingMemory.parse(stored) == ScalingMemory(History(last_active_at=7.0), 2)


@pytest.mark.parametrize(
    ("memory", "seconds", "stored"),
    [
        (MEMORY, 1e6, False),
        (LATER, STALE_SECONDS - 1, False),
        (LATER, STALE_SECONDS, True),
        (replace(MEMORY, generation=5), 0.0, True),
        (replace(MEMORY, history=HISTORY.changed(5, 6, reason="Lag", now=9.0)), 0.0, True),
        (replace(MEMORY, history=HISTORY.but(added=())), 0.0, True),
    ],
)
def test_a_changed_count_is_stored_at_once_and_times_only_now_and_then(
    memory: ScalingMemory, seconds: float, stored: bool
) -> None:
    kept = KeptScaling(MEMORY, MEMORY, version=1, stored_at=100.0)
    assert kept.to_store(memory, 100.0 + seconds) is stored


def test_a_decision_is_kept_if_it_is_news() -> None:
    shown = {"replicas": 4, "desired": 4, "reason": "Lag", "limit": None, "hold": False}
    latest = KeptDecision(1.0, shown)
    kept = KeptScaling(MEMORY, MEMORY, version=1, stored_at=100.0, latest=latest)
    other = KeptDecision(2.0, {**shown, "desired": 5})
    assert kept.news(replace(latest, at=2.0)) is None
    assert kept.news(None) is None
    assert kept.news(other) == other


TWENTY = replace(ALL, signing=SignersView(20, 20, generation=3))


@pytest.mark.parametrize("lag", [120, 0])
@pytest.mark.parametrize("stored", [None, "unreadable"])
def test_signers_of_which_nothing_is_remembered_are_kept_for_the_whole_window(
    stored: object, lag: int
) -> None:
    """The row is missing after an upgrade from a version that kept none."""
    view = view_of(stored_of(memory=ScalingMemory.parse(stored)), lag=Lag(lag), children=TWENTY)
    first = planned(view)
    assert replicas_of(first) == 20
    view = after(view, first)
    window = spec_of().scaling.behavior.scale_down.stabilization_window_seconds
    assert replicas_of(planned(view, NOW + timedelta(seconds=window - 1))) == 20
    assert (replicas_of(planned(view, NOW + timedelta(seconds=window + 1))) or 0) < 20


def test_a_job_that_rests_begins_without_a_window() -> None:
    none = replace(ALL, signing=SignersView(0, 0))
    done = planned(view_of(stored_of(), lag=Lag(70, 10), children=none))
    assert done.memory is not None
    assert [entry.replicas for entry in done.memory.history.highs] == [replicas_of(done)]
