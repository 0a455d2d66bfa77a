"""What the reconcile needs of the world. The adapters are the only ones that do I/O."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from vaultstream.scaling.observation import Lag
from vaultstream.scaling.reasons import LagProblem
from vaultstream_operator.api.reasons import Statement
from vaultstream_operator.api.status import JobStatus
from vaultstream_operator.core.children import Manifest, Owner
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import ChildrenView, ObjectView, StoredJob, Trouble


class ConflictError(Exception):
    """The object changed since it was read: look again."""


class Refusal(Exception):  # noqa: N818 - an answer, which the status tells on
    """The API server does not take what it was given, in its own words.

    Args:
        problem: why.
        not_ours: there is an object of that name that belongs to something else.
    """

    def __init__(self, problem: str, *, not_ours: bool = False) -> None:
        super().__init__(problem)
        self.not_ours = not_ours


class Cluster(Protocol):
    """SigningJobs and their children on a Kubernetes API server. Every call may be repeated."""

    async def get(self, namespace: str, name: str) -> ObjectView | None:
        """Returns a SigningJob as it is now; None if there is none."""

    async def children(self, owner: Owner) -> ChildrenView:
        """Returns the children that there are."""

    async def apply(self, manifest: Manifest) -> None:
        """Applies a child, server-side. Raises `Refusal`."""

    async def delete_child(self, owner: Owner, role: str) -> None:
        """Deletes a child with its pods; one that is not there is no error."""

    async def set_finalizer(self, job: ObjectView, *, present: bool) -> None:
        """Adds or removes our finalizer. Raises `ConflictError`."""

    async def write_status(self, job: ObjectView, status: JobStatus) -> ObjectView:
        """Writes the whole status, if it differs; returns the job as it is then. Raises `ConflictError`."""

    async def delete_object(self, job: ObjectView) -> None:
        """Asks for the SigningJob's deletion."""

    async def mark_idle(self, owner: Owner, busy: Collection[str]) -> None:
        """Marks the signing pods that are not in `busy` (names of pods) to be deleted first, and unmarks the others."""

    async def tell(self, owner: Owner, statement: Statement) -> bool:
        """Records an Event; returns whether it could: failing to do so is logged, and no more."""


class Store(Protocol):
    """The job in Postgres, and what of it lies in JetStream."""

    async def look(self, job: ObjectView) -> StoredJob | Trouble | None:
        """Returns the job as Postgres has it; None: not there yet."""

    async def act(self, action: StoreAction, job: ObjectView) -> Trouble | None:
        """Does what the plan asks for; returns why it could not, None if it could."""

    def forget(self, namespace: str, name: str) -> None:
        """Drops what is remembered of a job that has gone or ended."""

    async def busy_pods(self, token: str) -> set[str]:
        """Returns the pods (host names of holders) that hold a key of the job now."""


class Lags(Protocol):
    """The lag of jobs' consumers."""

    async def read(self, token: str) -> Lag | LagProblem:
        """Returns pending and in-flight batches (`batches_unpublished` is 0: Postgres knows it), or why they are unknown."""
