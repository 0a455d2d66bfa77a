"""Events about workers without pods: whoever may create them neither fills the operator's memory nor stops its reconciles."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from vaultstream_operator.adapters import pod_events as module
from vaultstream_operator.adapters.kube_api import KubeApi
from vaultstream_operator.adapters.pod_events import PodEvents
from vaultstream_operator.core.children import Owner
from vaultstream_operator.core.pod_problems import Ailment, Cause
from vaultstream_operator.core.view import ChildrenView, WorkerJobView

pytestmark = pytest.mark.unit

MADE = datetime.now(UTC) - timedelta(minutes=5)
OWNER = Owner("shop", "receipts", "uid-1")
BODY = "x" * 100_000


class Told:
    """An API server with Events about each Job: one of ours among others."""

    def __init__(self, count: int, **fields: Any) -> None:
        self.count, self.fields = count, fields
        self.limits: list[int] = []

    async def get(self, _path: str, **query: str) -> dict[str, Any]:
        first, size = int(query.get("continue", 0)), int(query["limit"])
        self.limits.append(size)
        events = [
            {
                "metadata": {"annotations": {"x": BODY + str(number)}},
                "reason": "FailedCreate",
                "note": f"Error creating: {number:03} {BODY}",
                "eventTime": (MADE + timedelta(seconds=number)).isoformat(),
                **self.fields,
            }
            for number in range(self.count)
        ]
        more = {"continue": str(first + size)} if first + size < self.count else {}
        return {"items": events[first : first + size], "metadata": more}


def waiting() -> ChildrenView:
    """A keys worker whose Job has had no pod for minutes."""
    return ChildrenView(keys=WorkerJobView(0, 0, 0, Ailment(Cause.NOT_MADE, since=MADE), ""))


def size_of(value: object) -> int:
    """Bytes of a value with all that it holds."""
    parts: list[object] = []
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple):
        parts = list(value)
    return sys.getsizeof(value) + sum(map(size_of, parts))


async def told_of(events: PodEvents, owner: Owner) -> Ailment | None:
    found = await events.explain(owner, waiting())
    assert found.keys is not None
    return found.keys.problem


async def test_of_events_that_others_make_large_and_many_the_operator_keeps_a_note() -> None:
    server = Told(50)
    events = PodEvents(cast("KubeApi", server))
    for number in range(10):
        problem = await told_of(events, replace(OWNER, name=f"receipts-{number}"))
        assert problem is not None
        assert (problem.cause, problem.words[:3]) == (Cause.REFUSED, "049")
    assert max(server.limits) == 5, "at most 5 of them are in memory at a time"
    assert len(server.limits) == 10 * 10
    assert size_of(vars(events)) < 50_000


async def test_events_are_read_to_an_end_however_many_there_are() -> None:
    server = Told(500)
    assert await told_of(PodEvents(cast("KubeApi", server)), OWNER) is not None
    assert len(server.limits) == 10


async def test_an_event_of_a_year_that_python_has_not_is_passed_over() -> None:
    events = PodEvents(cast("KubeApi", Told(1, eventTime="10000-01-01T00:59:59.000000Z")))
    assert await told_of(events, OWNER) == Ailment(Cause.NOT_MADE, since=MADE)


async def test_events_that_tell_nothing_are_read_no_sooner_again_than_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_UNWRITTEN_SECONDS", 0.0)
    server = Told(1, eventTime="10000-01-01T00:59:59.000000Z")
    events = PodEvents(cast("KubeApi", server))
    for _ in range(2):
        await told_of(events, OWNER)
    assert len(server.limits) == 1
