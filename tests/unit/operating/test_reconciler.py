"""The order in which one reconcile carries out its plan; the effects themselves are tested against a real API server."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, cast

import pytest

from support.planning import ALL, NOW, OPTIONS, job_of, planned, stored_of, view_of
from vaultstream.api import JobState
from vaultstream.scaling.kept import KeptDecision
from vaultstream.scaling.observation import Lag
from vaultstream_operator.api.reasons import Statement
from vaultstream_operator.api.status import JobStatus
from vaultstream_operator.core.children import Manifest, Owner
from vaultstream_operator.core.memory import ScalingMemory
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import ChildrenView, ObjectView, StoredJob
from vaultstream_operator.metrics import OperatorMetrics
from vaultstream_operator.ports import ConflictError, Refusal
from vaultstream_operator.reconciler import Reconciler

pytestmark = pytest.mark.unit


class World:
    """A job with a lag of 80 batches and four signers; records what is done to it."""

    def __init__(self) -> None:
        self.job: ObjectView | None = job_of()
        self.done: list[str] = []
        self.refuses = ""
        self.conflicts = 0
        self.lag = 80
        self.overtaken = 0
        self.memory = ScalingMemory()
        self.forgotten: list[tuple[str, str]] = []

    async def get(self, namespace: str, name: str, *, known: ObjectView | None = None) -> ObjectView | None:
        return self.job

    async def children(self, owner: Owner) -> ChildrenView:
        return ALL

    def lost(self, namespace: str) -> tuple[str, float]:
        return "", 0.0

    async def apply(self, manifest: Manifest) -> None:
        self.done.append(f"apply {manifest['spec'].get('replicas')}")
        if self.refuses:
            raise Refusal(self.refuses)

    async def write_status(self, job: ObjectView, status: JobStatus) -> ObjectView:
        assert job == self.job, "written over a newer one"
        if self.conflicts:
            self.conflicts -= 1
            raise ConflictError
        scaling = status.scaling
        assert scaling is not None
        changes = [(change.before, change.after) for change in scaling.changes]
        self.done.append(f"status {scaling.desired} {changes}")
        self.job = replace(job, status=status, resource_version=f"{job.resource_version}+")
        return self.job

    async def delete_child(self, owner: Owner, role: str) -> None:
        self.done.append(f"delete {role}")

    async def act(self, action: StoreAction, job: ObjectView) -> None:
        self.done.append(f"act {action}")

    async def mark_idle(self, owner: Owner, busy: set[str]) -> None:
        self.done.append(f"mark all but {sorted(busy)}")

    async def record_event(self, owner: Owner, statement: Statement) -> bool:
        self.done.append(f"event {statement.reason}")
        return True

    async def find(self, job: ObjectView) -> StoredJob:
        return stored_of(job.spec, memory=self.memory)

    async def remember(
        self, memory: ScalingMemory, job: ObjectView, decision: KeptDecision | None = None
    ) -> None:
        if self.overtaken:
            self.overtaken -= 1
            raise ConflictError
        if memory.history.changes != self.memory.history.changes:
            self.done.append(f"remember {memory.history.changes[-1].after}")
        self.memory = memory

    async def busy_pods(self, token: str) -> set[str]:
        return {"busy"}

    def forget(self, namespace: str, name: str) -> None:
        self.forgotten.append((namespace, name))

    async def read(self, token: str, tenant: str | None = None) -> Lag:
        return Lag(self.lag)


def reconciler(world: World) -> Reconciler:
    cast_world = cast("Any", world)
    return Reconciler(
        cast_world, cast_world, cast_world, OPTIONS, metrics=OperatorMetrics(), clock=lambda: NOW
    )


async def test_a_change_is_recorded_and_reported_before_it_is_made(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    with caplog.at_level(logging.INFO, "vaultstream_operator"):
        await reconciler(world).reconcile("shop", "receipts")
    assert world.done == [
        "remember 8",
        "status 8 [(4, 8)]",
        "event ScaledOut",
        "apply 8",
        "status 8 [(4, 8)]",
        "event Signing",
    ]
    (record,) = [r for r in caplog.records if hasattr(r, "decided")]
    assert (record.getMessage().startswith("Scaled from 4 to 8"), record.levelno) == (True, logging.INFO)


async def test_pods_without_a_key_are_marked_before_the_count_falls() -> None:
    world = World()
    assert world.job is not None
    assert world.job.spec is not None
    scaling = world.job.spec.scaling.model_copy(update={"max_replica_count": 2})
    world.job = replace(world.job, spec=world.job.spec.model_copy(update={"scaling": scaling}))
    await reconciler(world).reconcile("shop", "receipts")
    marked, lowered = world.done.index("mark all but ['busy']"), world.done.index("apply 2")
    assert marked < lowered


async def test_an_unchanged_count_is_logged_without_an_event(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.lag = 40
    with caplog.at_level(logging.DEBUG, "vaultstream_operator"):
        await reconciler(world).reconcile("shop", "receipts")
    assert "event ScaledOut" not in world.done
    (record,) = [r for r in caplog.records if hasattr(r, "decided")]
    assert record.levelno == logging.DEBUG


@pytest.mark.parametrize("outdated", ["overtaken", "conflicts"])
async def test_a_decision_that_another_operator_has_overtaken_is_not_applied(outdated: str) -> None:
    world = World()
    setattr(world, outdated, 1)
    await reconciler(world).reconcile("shop", "receipts")
    assert world.done.count("apply 8") == 1
    assert world.done.index("status 8 [(4, 8)]") < world.done.index("apply 8")


async def test_a_refused_child_keeps_the_decision_and_reports_the_reason() -> None:
    world = World()
    world.refuses = "exceeded quota: few"
    await reconciler(world).reconcile("shop", "receipts")
    assert world.done == [
        "remember 8",
        "status 8 [(4, 8)]",
        "event ScaledOut",
        "apply 8",
        "status 8 [(4, 8)]",
        "event Signing",
        "event ChildRefused",
    ]
    assert world.job is not None
    assert "exceeded quota: few." in world.job.status.message


async def test_a_suspension_is_reported_before_the_signers_are_stopped() -> None:
    world = World()
    assert world.job is not None
    assert world.job.spec is not None
    await reconciler(world).reconcile("shop", "receipts")
    world.job = replace(world.job, spec=world.job.spec.model_copy(update={"suspend": True}))
    world.done.clear()
    await reconciler(world).reconcile("shop", "receipts")
    assert world.done == [
        "act suspend",
        "remember 0",
        "status 0 [(4, 8), (4, 0)]",
        "event Suspending",
        "apply 0",
        "delete records",
        "delete keys",
        "status 0 [(4, 8), (4, 0)]",
    ]


async def test_postgres_is_asked_once_whether_a_job_has_ended_and_before_anything_is_deleted() -> None:
    world = World()
    ended = planned(view_of(stored_of(state=JobState.COMPLETE, finished_at=NOW))).status
    world.job = job_of(status=ended)
    found = stored_of(state=JobState.COMPLETE, finished_at=NOW)
    asked, there = 0, ChildrenView()

    async def find(job: ObjectView) -> StoredJob:
        nonlocal asked
        asked += 1
        return found

    async def children(owner: Owner) -> ChildrenView:
        return there

    async def unwritten(job: ObjectView, status: JobStatus) -> ObjectView:
        return job

    world.find, world.children, world.write_status = find, children, unwritten  # type: ignore[method-assign]
    operator = reconciler(world)
    for _ in range(3):
        await operator.reconcile("shop", "receipts")
    assert (asked, world.done) == (1, [])
    there = ALL
    await operator.reconcile("shop", "receipts")
    assert (asked, world.done) == (2, ["delete signing", "delete records", "delete keys"])
    there, again = ChildrenView(), replace(world.job, owner=replace(world.job.owner, uid="of-another-job"))
    world.job = again  # of the same name
    for _ in range(2):
        await operator.reconcile("shop", "receipts")
    assert asked == 3
    world.job = None
    await operator.reconcile("shop", "receipts")
    assert not operator._ends, "it grows with each job that there ever was"


async def test_without_its_finalizer_a_job_is_not_taken_for_ended_by_its_status_alone() -> None:
    """Whoever may write a status may remove a finalizer, too."""
    world = World()
    ended = planned(view_of(stored_of(state=JobState.COMPLETE, finished_at=NOW))).status
    world.job = job_of(status=ended, finalizers=())
    seen = await reconciler(world)._observe(world.job)
    assert isinstance(seen.stored, StoredJob)
    assert seen.stored.state is JobState.RUNNING


async def test_a_deleted_job_is_forgotten() -> None:
    world = World()
    world.job = None
    assert await reconciler(world).reconcile("shop", "receipts") is None
    assert world.forgotten == [("shop", "receipts")]


async def test_a_change_that_fails_is_reported_once_and_again_after_a_restart() -> None:
    world = World()
    world.refuses = "exceeded quota: few"
    first = reconciler(world)
    for _ in range(3):
        await first.reconcile("shop", "receipts")
    assert (world.done.count("apply 8"), world.done.count("event ScaledOut")) == (3, 1)
    await reconciler(world).reconcile("shop", "receipts")
    assert (world.done.count("apply 8"), world.done.count("event ScaledOut")) == (4, 2)
    assert {done for done in world.done if done.startswith("status")} == {"status 8 [(4, 8)]"}
