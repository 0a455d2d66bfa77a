"""The ports of the reconciler. Only their adapters do I/O."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from vaultstream.scaling.kept import KeptDecision
from vaultstream.scaling.observation import Lag
from vaultstream.scaling.reasons import LagProblem
from vaultstream_operator.api.reasons import Statement
from vaultstream_operator.api.status import JobStatus
from vaultstream_operator.core.children import Manifest, Owner
from vaultstream_operator.core.memory import ScalingMemory
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import ChildrenView, ObjectView, StoredJob, Trouble


class ConflictError(Exception):
    """The object has changed since it was read: reconcile again."""


class Refusal(Exception):  # noqa: N818 - an answer, which the status reports
    """The API server refused a request.

    Args:
        problem: the API server's message.
        not_ours: whether an object of the same name exists that belongs to something else.
    """

    def __init__(self, problem: str, *, not_ours: bool = False) -> None:
        super().__init__(problem)
        self.not_ours = not_ours


class Cluster(Protocol):
    """SigningJobs and their children on a Kubernetes API server. Every call may be repeated."""

    async def get(self, namespace: str, name: str, *, known: ObjectView | None = None) -> ObjectView | None:
        """Returns the current SigningJob; None if it does not exist, or can't be read in a lost namespace.

        While no change is known, that is `known`: what the step before has read.
        """

    def lost(self, namespace: str) -> tuple[str, float]:
        """Returns why the operator can't work in a namespace, and for how many seconds; empty if it can. Children are then unknown."""

    async def children(self, owner: Owner) -> ChildrenView:
        """Returns the existing children."""

    async def apply(self, manifest: Manifest) -> None:
        """Applies a child with server-side apply. Raises `Refusal`."""

    async def delete_child(self, owner: Owner, role: str) -> None:
        """Deletes a child with its pods. A missing child is not an error."""

    async def nudge(self, owner: Owner, role: str) -> None:
        """Makes Kubernetes try again to create a child's pods, at most every `NUDGE_SECONDS`. A failure is only logged."""

    async def set_finalizer(self, job: ObjectView, *, present: bool) -> None:
        """Adds or removes our finalizer. Raises `ConflictError`."""

    async def write_status(self, job: ObjectView, status: JobStatus) -> ObjectView:
        """Writes the whole status if it has news; returns the updated job. Raises `ConflictError`."""

    async def delete_object(self, job: ObjectView) -> None:
        """Requests the deletion of the SigningJob."""

    async def mark_idle(self, owner: Owner, busy: Collection[str]) -> None:
        """Marks the signing pods whose names are not in `busy` to be deleted first, and unmarks the others.

        Returns when a lower count may follow: new marks need a moment to reach those who delete pods.
        """

    async def record_event(self, owner: Owner, statement: Statement) -> bool:
        """Records an Event; returns whether that succeeded. A failure is only logged."""


class Store(Protocol):
    """The job's data in Postgres and JetStream."""

    async def find(self, job: ObjectView) -> StoredJob | Trouble | None:
        """Returns the job's state in Postgres; None if the job is not there yet."""

    async def act(self, action: StoreAction, job: ObjectView) -> Trouble | None:
        """Carries out an action of the plan; returns None, or why it failed."""

    async def remember(
        self, memory: ScalingMemory, job: ObjectView, decision: KeptDecision | None = None
    ) -> Trouble | None:
        """Keeps what scaling remembers of the job, and its decision if that is news; returns None, or why that failed.

        Raises `ConflictError`: another operator decided.
        """

    def forget(self, namespace: str, name: str) -> None:
        """Drops the cached state of a job that was deleted or has ended."""

    async def busy_pods(self, token: str) -> set[str]:
        """Returns the names of the pods that currently hold a key of the job (the host names of the holders)."""


class Lags(Protocol):
    """The lag of the jobs' consumers."""

    async def read(self, token: str, tenant: str | None = None) -> Lag | LagProblem:
        """Returns pending and in-flight batches, or why they are unknown. `batches_unpublished` is 0: only Postgres knows it."""
