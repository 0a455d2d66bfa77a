"""SigningJobs in Postgres: the port `Store`. It never reads key material."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, Self

import asyncpg

from vaultstream.api import JobState
from vaultstream.credentials import UrlSource
from vaultstream.deletion import delete_with_messages
from vaultstream.errors import VaultStreamError
from vaultstream.records.source import inspect_source
from vaultstream.scaling.activity import Activity
from vaultstream.scaling.kept import KeptDecision
from vaultstream.scaling.observation import Progress
from vaultstream.scaling.prior import Prior
from vaultstream.scaling.workload import unplanned_batches
from vaultstream.store import jobs, schema
from vaultstream.store.database import (
    Connection,
    explain,
    is_misconfigured,
    is_transient,
)
from vaultstream.store.holder import Holder
from vaultstream.store.jobs import Job
from vaultstream.store.progress import JobSnapshot, find_snapshot, with_pauses
from vaultstream.store.sql import query
from vaultstream_operator.adapters.scaling import (
    Estimate,
    KeptScaling,
    estimated,
    find_scaling,
    write_scaling,
)
from vaultstream_operator.adapters.seals import FoundSeal, read_seal
from vaultstream_operator.adapters.shared_pool import POSTGRES_ANSWER_SECONDS, SharedPool
from vaultstream_operator.adapters.store_errors import classify
from vaultstream_operator.core.memory import ScalingMemory
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import ObjectView, StoredJob, Trouble
from vaultstream_operator.ports import ConflictError

log = logging.getLogger(__name__)


class Dispatcher(Protocol):
    """A job's data in JetStream."""

    async def remove(self, token: str, tenant: str | None = None) -> None:
        """Removes all of it. Raises `BusError`."""


@dataclass(slots=True)
class _Memory:
    """What is kept about one job between reconciles."""

    uid: str
    troubles: dict[str, Trouble] = field(default_factory=dict)
    """Current problems, by the action that failed."""
    activity: Activity = field(default_factory=Activity)
    """Activity of its signers."""
    job_no: int | None = None
    connections_left: int | None = None
    """Sessions that Postgres can take besides those that there are; None: unknown."""
    estimate: Estimate | None = None
    """About how many records its table has, while they are being planned."""
    scaling: KeptScaling | None = None
    """What scaling remembers; None: to be read."""
    complete: bool = False
    """Whether the job is complete."""


class PostgresStore:
    """The jobs in Postgres, over a pool that is opened once Postgres answers.

    An asynchronous context manager. Entering it does not wait: while Postgres is unreachable, reconciles fail.

    Args:
        url: the connection string, or what returns it at each connect.
        dispatcher: removes what jobs have in JetStream.
        tenants: namespaces that are tenants.
        connections: maximum number of connections.
    """

    def __init__(
        self, url: UrlSource, dispatcher: Dispatcher, *, tenants: Collection[str] = (), connections: int = 8
    ) -> None:
        self._dispatcher = dispatcher
        self._tenants = tenants
        self._pool = SharedPool(url, connections)
        self._memories: dict[tuple[str, str], _Memory] = {}
        self._keys: dict[int, tuple[str, str]] = {}
        """Namespaces and names of the jobs in `_memories`, by their numbers."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.aclose()

    async def find(self, job: ObjectView) -> StoredJob | Trouble | None:
        """Returns the job as Postgres has it, None if it is not there, or why it cannot be read."""

        async def snapshot_of(connection: Connection) -> tuple[JobSnapshot | None, FoundSeal | None]:
            async with asyncio.timeout(POSTGRES_ANSWER_SECONDS), self._pool.unless_blocked(connection):
                snapshot = await _find_snapshot(connection, job)
                if snapshot is None:
                    return None, None
                memory = self._memory(job)
                memory.complete = snapshot.job.state is JobState.COMPLETE
                await self._recall(connection, memory, snapshot.job)
                self._keys[snapshot.job.job_no] = (job.owner.namespace, job.owner.name)
                snapshot = await with_pauses(connection, snapshot)  # if it has ended
                memory.connections_left = await self._pool.connections_left(connection)
                memory.estimate = await estimated(connection, snapshot.job, memory.estimate)
                return snapshot, await read_seal(connection, snapshot.job)

        try:
            snapshot, seal = await self._pool.run(snapshot_of, job)
        except Exception as error:  # noqa: BLE001 - classified, or raised again
            if job.deleting and await self._nothing_there(error):
                return None
            return self._trouble(job, "find", error)
        memory = self._memory(job)
        memory.troubles.pop("find", None)
        if snapshot is None:
            memory.activity = Activity()
            return None
        found = self._stored(job, snapshot)
        return replace(found, seal=seal.status, deletion_sealed=seal.deleted) if seal else found

    async def act(self, action: StoreAction, job: ObjectView) -> Trouble | None:
        """Carries out an action of the plan, which is safe to repeat; returns None, or why it failed."""
        steps: dict[StoreAction, Callable[[Connection, ObjectView], Awaitable[None]]] = {
            StoreAction.CREATE: self._create,
            StoreAction.ADOPT: self._adopt,
            StoreAction.REMOVE_FORMER: self._remove_former,
            StoreAction.UPDATE_SPEC: _update_spec,
            StoreAction.SUSPEND: partial(_set_suspended, suspended=True),
            StoreAction.RESUME: partial(_set_suspended, suspended=False),
            StoreAction.FAIL: _fail,
            StoreAction.MARK_DELETED: partial(self._delete, policy="Retain"),
            StoreAction.DELETE: self._delete,
        }
        try:
            await self._pool.run(lambda connection: steps[action](connection, job), job)
        except Exception as error:  # noqa: BLE001 - classified, or raised again
            return self._trouble(job, action, error)
        self._memory(job).troubles.pop(action, None)
        return None

    async def remember(
        self, memory: ScalingMemory, job: ObjectView, decision: KeptDecision | None = None
    ) -> Trouble | None:
        """Keeps what scaling remembers of a job, and the decision if that is news; returns None, or why that failed.

        A changed count is stored at once. If only times and rates have changed, the copy in Postgres may be `STALE_SECONDS` old.

        Raises:
            ConflictError: another operator has decided, or the job was deleted, since this one read it.
        """
        cached = self._memory(job)
        kept, job_no = cached.scaling, cached.job_no
        if kept is None or job_no is None:
            return None
        news, complete = kept.news(decision), cached.complete
        if news is None and kept.complete == complete and not kept.to_store(memory, time.monotonic()):
            cached.scaling = replace(kept, memory=memory)
            return None
        try:
            cached.scaling = await self._pool.run(
                lambda c: write_scaling(c, job_no, kept, memory, news, complete=complete),
                job,
            )
        except ConflictError:
            cached.scaling = None
            raise
        except Exception as error:  # noqa: BLE001 - classified, or raised again
            cached.scaling = None  # it may have been written
            return self._trouble(job, "remember", error)
        cached.troubles.pop("remember", None)
        return None

    async def _recall(self, connection: Connection, memory: _Memory, job: Job) -> None:
        """Reads what scaling remembers of a job, unless it is known: one operator decides at a time."""
        if memory.job_no != job.job_no or memory.scaling is None:
            memory.job_no, memory.scaling = job.job_no, await find_scaling(connection, job)

    def forget(self, namespace: str, name: str) -> None:
        """Drops the cached state of a job that was deleted or has ended."""
        memory = self._memories.pop((namespace, name), None)
        if memory is not None and memory.job_no is not None:
            self._keys.pop(memory.job_no, None)
        self._pool.forget(namespace, name)

    def key_of(self, job_no: int) -> tuple[str, str] | None:
        """Returns namespace and name of a job that is being reconciled, by its number in Postgres; None: no such job is known."""
        return self._keys.get(job_no)

    def _memory(self, job: ObjectView) -> _Memory:
        """Returns the cached state of this job; empty if it is of an earlier job with the same name."""
        key = job.owner.namespace, job.owner.name
        memory = self._memories.get(key)
        if memory is None or memory.uid != job.owner.uid:
            memory = self._memories[key] = _Memory(job.owner.uid)
        return memory

    async def busy_pods(self, token: str) -> set[str]:
        """Returns the pods that hold a key of the job now; empty if Postgres is unreachable."""
        try:
            rows = await self._pool.run(lambda connection: connection.fetch(query("list_holders"), token))
        except Exception as error:
            if not is_transient(error) and not isinstance(error, VaultStreamError):
                raise
            log.warning("can't read which signers hold keys of %s: %s", token, explain(error).message)
            return set()
        return {holder.host for row in rows if (holder := Holder.parse(row["holder"]))}

    async def namespaces(self) -> set[str] | None:
        """Returns the namespaces of all jobs, deleted ones included; None if they can't be read now."""
        try:
            rows = await self._pool.run(lambda connection: connection.fetch(query("list_namespaces_of_jobs")))
        except Exception as error:  # noqa: BLE001 - asked again, and the jobs that need Postgres report it
            log.debug("can't read the namespaces of jobs: %s", type(error).__name__)
            return None
        return {row["namespace"] for row in rows}

    async def _nothing_there(self, error: Exception) -> bool:
        """Returns whether the database has no VaultStream schema, so there is nothing to clean up."""
        if not is_misconfigured(error):
            return False
        with suppress(Exception):
            return await self._pool.run(schema.installed_version) == 0
        return False

    def _stored(self, view: ObjectView, snapshot: JobSnapshot) -> StoredJob:
        job, counted = snapshot.job, snapshot.progress
        progress = self._progress(view, snapshot)
        return StoredJob(
            token=job.token,
            tenant=job.tenant,
            orphan=job.tenant is None and self._tenant(view) is not None,
            state=job.state,
            message=job.message or "",
            deleted_at=job.deleted_at,
            read_at=snapshot.read_at,
            ours=job.owner_uid == view.owner.uid,
            spec=job.spec,
            started_at=job.started_at,
            finished_at=job.finished_at,
            planned=job.planned,
            records=counted.records,
            signed=counted.signed,
            dead=counted.dead,
            progress=progress,
            keys_active=snapshot.keys_active,
            keys_made=snapshot.keys.made,
            records_per_second=counted.overall_rate if job.ended else progress.records_per_second,
            batches_unpublished=counted.batches_unpublished,
            batches_unplanned=unplanned_batches(
                counted, expected=self._expected(view), batch_size=job.spec.batch_size
            ),
            published=job.published_through > 0,
            memory=kept.memory if (kept := self._memory(view).scaling) else ScalingMemory(),
            prior=kept.prior if kept else Prior(),
            connections_left=self._memory(view).connections_left,
        )

    def _progress(self, view: ObjectView, snapshot: JobSnapshot) -> Progress:
        memory, now = self._memory(view), time.monotonic()
        counts, scaling = snapshot.progress, view.status.scaling
        ready, running = scaling.ready if scaling else 0, snapshot.job.state is JobState.RUNNING
        activity = replace(memory.activity, batch_size=snapshot.job.spec.batch_size)
        memory.activity = activity.observed(counts, ready=ready, running=running, now=now)
        return memory.activity.progress(counts, now, expected=self._expected(view))

    def _expected(self, view: ObjectView) -> int | None:
        """Returns about how many records a job will have; None: unknown, or all are planned."""
        estimate = self._memory(view).estimate
        return estimate.rows if estimate else None

    def _trouble(self, job: ObjectView, doing: str, error: Exception) -> Trouble:
        reason, problem, passing = classify(error)
        troubles = self._memory(job).troubles
        before = troubles.get(doing)
        trouble = Trouble(reason, problem, passing, since=time.time())
        if before is not None and before.reason is reason:
            trouble = replace(trouble, since=before.since, failures=before.failures + 1)
        troubles[doing] = trouble
        return trouble

    def _tenant(self, view: ObjectView) -> str | None:
        """Returns the tenant of a job; None if its namespace is not one."""
        return view.owner.namespace if view.owner.namespace in self._tenants else None

    async def _create(self, connection: Connection, view: ObjectView) -> None:
        await schema.require_current(connection)
        if view.spec is None:
            return
        # Without hints: this login may see tables that the job's owner may not.
        source = await inspect_source(connection, view.spec.records, hints=False)
        # Another operator was faster, or a former job still has the name: the next reconcile finds it.
        with suppress(asyncpg.UniqueViolationError):
            await jobs.create_job(
                connection,
                _name(view),
                view.spec,
                id_type=source.id_type,
                source_oid=source.oid,
                owner_uid=view.owner.uid,
                tenant=self._tenant(view),
            )

    async def _adopt(self, connection: Connection, view: ObjectView) -> None:
        job, tenant = await _own(connection, view), self._tenant(view)
        if job is not None and job.tenant is None and tenant is not None:
            await self._dispatcher.remove(job.token)  # its workers publish again, in the tenant's account
            await jobs.adopt_job(connection, job.job_no, tenant)

    async def _remove_former(self, connection: Connection, view: ObjectView) -> None:
        former = await jobs.find_job(connection, _name(view))
        if former is not None and former.owner_uid != view.owner.uid:
            await self._remove(connection, former, former.spec.deletion_policy)

    async def _delete(self, connection: Connection, view: ObjectView, *, policy: str | None = None) -> None:
        job = await _own(connection, view)
        if job is not None:
            spec = view.spec or job.spec
            await self._remove(connection, job, policy or spec.deletion_policy)

    async def _remove(self, connection: Connection, job: Job, policy: str) -> None:
        await delete_with_messages(connection, job, policy, remove=self._dispatcher.remove)


def _name(view: ObjectView) -> str:
    return f"{view.owner.namespace}/{view.owner.name}"


async def _own(connection: Connection, view: ObjectView) -> Job | None:
    for name in _names(view):
        job = await jobs.find_job(connection, name)
        if job is not None and job.owner_uid == view.owner.uid:
            return job
    return None


async def _find_snapshot(connection: Connection, view: ObjectView) -> JobSnapshot | None:
    found = None
    for name in _names(view):
        found = await find_snapshot(connection, name)
        if found is not None and found.job.owner_uid == view.owner.uid:
            break
    return found


def _names(view: ObjectView) -> tuple[str, ...]:
    """The names by which a job may be found: while it is deleted its token, because its name is free by then."""
    return (view.status.token, _name(view)) if view.deleting and view.status.token else (_name(view),)


async def _update_spec(connection: Connection, view: ObjectView) -> None:
    job = await _own(connection, view)
    if job is not None and view.spec is not None:
        fixed = {name: getattr(job.spec, name) for name in ("records", "batch_size", "keys")}
        await jobs.update_spec(connection, job.job_no, view.spec.model_copy(update=fixed))


async def _set_suspended(connection: Connection, view: ObjectView, *, suspended: bool) -> None:
    if job := await _own(connection, view):
        await jobs.set_suspended(connection, job.job_no, suspended=suspended)


async def _fail(connection: Connection, view: ObjectView) -> None:
    if job := await _own(connection, view):
        await jobs.fail_overdue_job(connection, job)
