"""What the operator sees of one SigningJob: the object, its job in Postgres, its lag, and its children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from vaultstream.api import JobState, SigningJobSpec
from vaultstream.scaling.observation import Lag, LagUnknown, Progress
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.api.status import JobStatus
from vaultstream_operator.core.children import Owner
from vaultstream_operator.core.pod_problems import Ailment

FINALIZER = "vaultstream.dev/cleanup"
"""Keeps a SigningJob until what it has in Postgres and JetStream is dealt with."""


@dataclass(frozen=True, slots=True)
class ObjectView:
    """The SigningJob as the API server has it.

    Attributes:
        spec: None if this operator can't read it; `problem` then says why.
        deleting: its deletion was asked for.
    """

    owner: Owner
    generation: int
    resource_version: str
    created_at: datetime
    deleting: bool
    finalizers: tuple[str, ...]
    annotations: Mapping[str, str]
    spec: SigningJobSpec | None
    problem: str
    status: JobStatus


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the job can't be seen in Postgres, or can't be made there.

    Attributes:
        passing: it goes away without anyone's doing: nothing is wrong with the job.
    """

    reason: JobReason
    problem: str
    passing: bool
    since: float
    failures: int = 1


@dataclass(frozen=True, slots=True)
class StoredJob:
    """The job as Postgres has it.

    Attributes:
        state: never Deleting, which Postgres does not know.
        message: what it waits for, or why it failed.
        ours: it was made for this very object, and not for one of the same name before it.
        progress: for the scaling decision.
        keys_active: keys that may be leased; None: the ring is still being made.
        keys_made: keys of the ring that are there, in any state.
        records_per_second: lately while it runs, over the whole once it has ended; None: unknown.
        batches_unpublished: planned, and not handed to JetStream yet.
        published: JetStream was handed some. Before, it is no wonder that there is no consumer.
    """

    token: str
    state: JobState
    message: str
    ours: bool
    spec: SigningJobSpec
    started_at: datetime | None
    finished_at: datetime | None
    planned: bool
    records: int
    signed: int
    dead: int
    progress: Progress
    keys_active: int | None
    keys_made: int
    records_per_second: float | None
    batches_unpublished: int = 0
    published: bool = False


@dataclass(frozen=True, slots=True)
class WorkerJobView:
    """A Kubernetes Job of ours: how its pods fare.

    Attributes:
        problem: why its pod is not made, does not start or does not stay; None: nothing is known.
        template: the fingerprint of the pod template that it was made with.
        leaving: its deletion was asked for.
    """

    active: int
    failed: int
    succeeded: int
    problem: Ailment | None = None
    template: str = ""
    leaving: bool = False

    @property
    def over(self) -> bool:
        """Its pod has left and no other follows: it must go before there can be a new one."""
        return self.active == 0 and self.succeeded > 0


@dataclass(frozen=True, slots=True)
class SignersView:
    """The Deployment of signers.

    Attributes:
        pods: that still exist, including terminating ones, which finish their batches in flight.
        problem: why pods are not made, don't start or don't stay; None: nothing is known.
        generation: goes up with each change of its spec, by whomever.
    """

    replicas: int
    ready: int
    problem: Ailment | None = None
    pods: int = 0
    generation: int = 1


@dataclass(frozen=True, slots=True)
class ChildrenView:
    """The children by role; None: does not exist."""

    keys: WorkerJobView | None = None
    records: WorkerJobView | None = None
    signing: SignersView | None = None

    @property
    def any(self) -> bool:
        return any(child is not None for child in (self.keys, self.records, self.signing))


@dataclass(frozen=True, slots=True)
class View:
    """All of it at one time.

    Attributes:
        stored: None if there is no such job in Postgres yet.
        lag: as JetStream has it; None: nobody asked.
    """

    job: ObjectView
    stored: StoredJob | Trouble | None
    lag: Lag | LagUnknown | None
    children: ChildrenView = field(default_factory=ChildrenView)
