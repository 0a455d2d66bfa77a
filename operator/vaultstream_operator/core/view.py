"""What the operator observes of one SigningJob: the object, its job in Postgres, its lag, and its children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from vaultstream.api import JobState, SigningJobSpec
from vaultstream.scaling.observation import Lag, LagUnknown, Progress
from vaultstream.scaling.prior import Prior
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.api.status import JobStatus, SealStatus
from vaultstream_operator.core.children import Owner
from vaultstream_operator.core.memory import ScalingMemory
from vaultstream_operator.core.pod_problems import Ailment

FINALIZER = "vaultstream.dev/cleanup"
"""Keeps a deleted SigningJob until its data in Postgres and JetStream is cleaned up."""


@dataclass(frozen=True, slots=True)
class ObjectView:
    """The SigningJob in the API server.

    Attributes:
        spec: None if this operator can't read it; `problem` is then the reason.
        deleting: its deletion was requested.
        too_large: whether it is too large to be read; `problem` names the part.
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
    too_large: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the job can't be read or created in Postgres.

    Attributes:
        passing: whether it ends without anyone's action; nothing is wrong with the job.
    """

    reason: JobReason
    problem: str
    passing: bool
    since: float
    failures: int = 1


@dataclass(frozen=True, slots=True)
class StoredJob:
    """The job in Postgres.

    Attributes:
        state: never Deleting, which Postgres does not know.
        message: what it waits for, or why it failed.
        ours: whether it was created for this object, not for an earlier one of the same name.
        progress: the progress that the scaling decision uses.
        keys_active: keys that may be leased; None: keys are still being created.
        keys_made: keys created so far, in any state.
        records_per_second: recent rate while it runs, rate of the whole job once it has ended; None: unknown.
        batches_unpublished: batches that are planned and not published to JetStream yet.
        batches_unplanned: batches that the table is expected to have beyond those that are planned.
        published: whether any batch was published. Before that, a missing consumer is normal.
        read_at: when this was read, by the clock of Postgres, like its other times.
        tenant: the tenant that alone sees the job; None: it belongs to no tenant.
        orphan: whether it was created before its namespace became a tenant.
        seal: its newest seal, not verified; None: it is not sealed, or Postgres has no seal that can be read.
        deleted_at: when it was deleted; its rows are still there. None: it was not.
        deletion_sealed: whether its newest seal says that it was deleted.
        memory: what scaling remembers of it.
        prior: what earlier jobs of its kind have shown.
        connections_left: sessions that Postgres can take besides those that there are; None: unknown.
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
    read_at: datetime
    batches_unpublished: int = 0
    batches_unplanned: int = 0
    published: bool = False
    tenant: str | None = None
    orphan: bool = False
    seal: SealStatus | None = None
    deleted_at: datetime | None = None
    deletion_sealed: bool = False
    memory: ScalingMemory = field(default_factory=ScalingMemory)
    prior: Prior = field(default_factory=Prior)
    connections_left: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerJobView:
    """The Kubernetes Job of a keys or records worker.

    Attributes:
        problem: why its pod is not created, does not start or exits; None: no problem is known.
        template: the fingerprint of the pod template that it was created with.
        leaving: its deletion was requested.
    """

    active: int
    failed: int
    succeeded: int
    problem: Ailment | None = None
    template: str = ""
    leaving: bool = False

    @property
    def over(self) -> bool:
        """Returns whether its pod has finished for good: the Job must be deleted before a new one can be created."""
        return self.active == 0 and self.succeeded > 0


@dataclass(frozen=True, slots=True)
class SignersView:
    """The Deployment of signers.

    Attributes:
        pods: pods that exist, including terminating ones, which finish their batches in flight.
        problem: why pods are not created, don't start or exit; None: no problem is known.
        generation: increases with each change of its spec, whoever makes it.
        unplaced: pods that are requested, and that no node has room for or a quota refuses.
    """

    replicas: int
    ready: int
    problem: Ailment | None = None
    pods: int = 0
    generation: int = 1
    unplaced: int = 0


@dataclass(frozen=True, slots=True)
class ChildrenView:
    """The children by role; None: there is none."""

    keys: WorkerJobView | None = None
    records: WorkerJobView | None = None
    signing: SignersView | None = None

    @property
    def any(self) -> bool:
        return any(child is not None for child in (self.keys, self.records, self.signing))


@dataclass(frozen=True, slots=True)
class View:
    """Everything observed of a job for one reconcile.

    Attributes:
        stored: None if there is no such job in Postgres yet.
        lag: the lag in JetStream; None: it was not read.
        lost: why the operator can't work in the job's namespace, where its children are then unknown; empty: it can.
        lost_for: for how many seconds that has been so.
    """

    job: ObjectView
    stored: StoredJob | Trouble | None
    lag: Lag | LagUnknown | None
    children: ChildrenView = field(default_factory=ChildrenView)
    lost: str = ""
    lost_for: float = 0.0
