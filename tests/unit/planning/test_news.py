"""A status is written when there is something new to say, and it stays small."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.planning import ALL, NOW, after, job_of, planned, spec_of, stored_of, trouble_of, view_of
from vaultstream.api import JobState
from vaultstream.scaling.observation import Lag, LagUnknown, Progress
from vaultstream.scaling.reasons import Reason
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.api.status import JobStatus, SealStatus
from vaultstream_operator.core.news import is_news
from vaultstream_operator.core.view import ChildrenView, SignersView, View

pytestmark = pytest.mark.unit

FULL_SPEC = spec_of(scaling={"maxReplicaCount": 6}, finishWithin=3600)
PROGRESS = Progress(records_left=19_000, batches_left=38, planned=True, records_per_second=500.123)


def settled(view: View) -> View:
    """The view after everything that it asks for was done and reported."""
    for _ in range(3):
        view = after(view, planned(view))
    return view


@pytest.mark.parametrize(
    "view",
    [
        view_of(stored_of(progress=PROGRESS), lag=Lag(38), children=ALL),
        view_of(stored_of(progress=PROGRESS), lag=LagUnknown(Reason.NATS_UNREACHABLE, 5.0), children=ALL),
        view_of(stored_of(), lag=Lag(0), children=ALL),
        view_of(trouble_of(JobReason.POSTGRES_UNREACHABLE, passing=True), children=ALL),
        view_of(
            stored_of(), lag=Lag(40), children=ALL, job=job_of(annotations={"vaultstream.dev/paused": "true"})
        ),
        view_of(stored_of(), lag=Lag(400), children=ALL),
    ],
    ids=["running", "held", "cooling down", "without postgres", "paused", "a change that is not made"],
)
def test_time_that_passes_is_no_news(view: View) -> None:
    view = settled(view)
    for seconds in (1, 5, 60):
        later = planned(view, NOW + timedelta(seconds=seconds)).status
        if view.stored is not None and later.eta is not None and view.job.status.eta is not None:
            later = later.model_copy(update={"eta": view.job.status.eta})
        assert not is_news(view.job.status, later), (later.dump(), view.job.status.dump())


@pytest.mark.parametrize(
    ("fields", "news"),
    [
        ({}, False),
        ({"records_per_second": 470.0}, False),
        ({"records_per_second": 300.0}, True),
        ({"records_per_second": None}, True),
        ({"signed": 1_001}, True),
        ({"message": "It waits."}, True),
        ({"eta": NOW + timedelta(seconds=41)}, False),
        ({"eta": NOW + timedelta(seconds=60)}, True),
        ({"eta": None}, True),
    ],
)
def test_what_a_reader_would_notice_is_news(fields: dict[str, Any], news: bool) -> None:
    status = planned(view_of(stored_of(progress=PROGRESS), lag=Lag(38), children=ALL)).status
    status = status.model_copy(update={"eta": NOW + timedelta(seconds=38)})
    assert is_news(status, status.model_copy(update=fields)) is news


def test_the_signers_of_a_job_that_has_ended_are_counted_until_they_are_gone() -> None:
    running = settled(view_of(stored_of(), lag=Lag(40), children=ALL))
    ended = replace(running, stored=stored_of(state=JobState.COMPLETE, finished_at=NOW, signed=20_000))
    ready = []
    for children in (ALL, ChildrenView(signing=SignersView(0, 1)), ChildrenView()):
        ended = after(replace(ended, children=children), planned(replace(ended, children=children)))
        assert ended.job.status.scaling is not None
        ready.append(ended.job.status.scaling.ready)
    assert ready == [4, 1, 0]


def test_a_status_with_all_that_it_can_say_is_small_and_has_no_epoch() -> None:
    view = view_of(stored_of(FULL_SPEC, progress=PROGRESS, seal=seal()), lag=Lag(60), job=job_of(FULL_SPEC))
    for number in range(40):
        count = number % 5
        view = replace(view, children=replace(ALL, signing=SignersView(count, count, generation=number)))
        view = after(view, planned(view, NOW + timedelta(minutes=20 * number)))
    dumped = view.job.status.dump()
    assert len(dumped["scaling"]["changes"]) == 8
    assert len(json.dumps(dumped, separators=(",", ":"))) < 4096
    assert JobStatus.model_validate(dumped) == view.job.status
    assert list(epochs(dumped)) == []


def epochs(value: object, path: str = "") -> list[str]:
    """The numbers that look like seconds since 1970."""
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in epochs(inner, f"{path}.{key}")]
    if isinstance(value, list):
        return [found for inner in value for found in epochs(inner, path)]
    return [path] if isinstance(value, int | float) and value > 1e9 else []


def seal() -> SealStatus:
    note = "log.example/jobs/receipts-0011aabb\n12345\n" + "Y" * 43 + "=\n\n— log.example " + "Z" * 100 + "\n"
    return SealStatus(
        origin="log.example",
        size=12345,
        checkpoint=note,
        job_checkpoint=note,
        signed=1000,
        dead=0,
        sealed_at=NOW,
    )
