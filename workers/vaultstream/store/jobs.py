"""Jobs in Postgres: created, found, moved from state to state, deleted."""

from __future__ import annotations

import logging
import re
import secrets
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vaultstream.api import JobState, SigningJobSpec
from vaultstream.api.signingjob import IMMUTABLE
from vaultstream.errors import InvalidJobError, UnknownJobError
from vaultstream.store.hints import hint_at_batches
from vaultstream.store.lockers import changing, naming_lockers
from vaultstream.store.sql import arguments, query

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from vaultstream.store.database import Connection

log = logging.getLogger(__name__)

ID_TYPES = ("bigint", "uuid", "text")
"""Types of ids, as a job has them."""

_ROWS_OF_JOBS = (
    "jobs",
    "batches",
    "keys",
    "key_material",
    "leases",
    "dead_letters",
    "cleared_dead_letters",
    "statements",
)


@dataclass(frozen=True)
class Job:
    """One row of `vaultstream.jobs`."""

    job_no: int
    token: str
    name: str
    owner_uid: str | None
    spec: SigningJobSpec
    id_type: str
    state: JobState
    message: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deleted_at: datetime | None
    upper_id: str | None
    planned_id: str | None
    planned: bool
    next_batch_no: int
    published_through: int
    tenant: str | None = None
    source_oid: int | None = None
    """The relation that it signs; None: created before relations were stored, see `pin_source`."""
    unreadable: str | None = None
    """The first field of its spec that can't be read: of a job that has ended, what is fixed is enough, and the rest has its defaults."""

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.state.ended or self.deleted_at is not None

    @property
    def signatures_table(self) -> str:
        return signatures_table(self.job_no)

    @property
    def seconds(self) -> float | None:
        """Seconds from its start to its end; None if it did not start or end."""
        return self.seconds_until(None)

    def seconds_until(self, now: datetime | None) -> float | None:
        """Returns the seconds from its start to its end, or until `now`. None: it never started, or was deleted before its end.

        Args:
            now: by the clock of Postgres; None: only the time of a job that has ended is asked for.
        """
        end = self.finished_at or (None if self.deleted_at else now)
        return None if self.started_at is None or end is None else (end - self.started_at).total_seconds()


def signatures_table(job_no: int) -> str:
    """Returns the qualified name of the table of a job's signatures."""
    return f"vaultstream.signatures_{job_no:d}"


def job_from_row(row: asyncpg.Record) -> Job:
    """Returns the job of a row that has the columns of the query `find_job`, and possibly others.

    Raises:
        InvalidJobError: its spec, state or type of ids is none that this version knows. Of a job that has ended, the immutable part of
            the spec counts alone: whoever may change the rest must not keep others from reading what was signed.
    """
    values: dict[str, Any] = {
        field.name: row[field.name] for field in fields(Job) if field.name != "unreadable"
    }
    for name, known in (("state", list(JobState)), ("id_type", ID_TYPES)):
        if values[name] not in known:
            raise InvalidJobError(
                f"Job {values['name']}: {name}, as stored in Postgres, must be one of {', '.join(known)}.",
                hint="Its row was altered in the database. Restore it from a backup.",
            )
    values["state"] = JobState(values["state"])
    ended = values["state"].ended or values["deleted_at"] is not None
    stored = values["spec"]
    try:
        values["spec"] = SigningJobSpec.model_validate(stored)
    except ValidationError as error:
        values["unreadable"] = ".".join(map(str, ["spec", *error.errors()[0]["loc"]]))
        fixed = _fixed(stored) if ended else None
        if fixed is None:
            raise InvalidJobError(
                unreadable_spec(values["name"], values["unreadable"]), hint=CORRECT_SPEC
            ) from None
        values["spec"] = fixed
    return Job(**values)


CORRECT_SPEC = "Correct the job's spec, or delete the job."


def unreadable_spec(name: str, place: str) -> str:
    """Returns the sentence about a field of a job's spec, or the whole of it, that can't be read."""
    return f"Job {name}: {place}, as stored in Postgres, is invalid."


def _fixed(stored: object) -> SigningJobSpec | None:
    """Returns a spec with the part of a stored one that nobody can change, and otherwise its defaults; None: that part is invalid."""
    if not isinstance(stored, dict):
        return None
    try:
        return SigningJobSpec.model_validate({name: stored[name] for name in IMMUTABLE if name in stored})
    except ValidationError:
        return None


def new_token(name: str) -> str:
    """Returns a token for a job: `token_stem` and eight random hex digits."""
    return f"{token_stem(name)}-{secrets.token_hex(4)}"


def token_stem(name: str) -> str:
    """Returns what the token of a job with that name begins with: the name, with characters that NATS subjects allow."""
    return re.sub(r"[^a-z0-9-]", "-", name.lower())[:40]


async def create_job(
    connection: Connection,
    name: str,
    spec: SigningJobSpec,
    *,
    id_type: str,
    source_oid: int,
    owner_uid: str | None = None,
    tenant: str | None = None,
) -> Job:
    """Creates a job and the table of its signatures.

    Args:
        connection: to the writer.
        name: unique among jobs that are not deleted.
        spec: what to sign, and with what.
        id_type: bigint, uuid or text.
        source_oid: the relation that `spec.records.table` names; the job never signs another.
        owner_uid: uid of the SigningJob object that the job belongs to, if any.
        tenant: the namespace whose logins alone may see the job; None: those of no tenant.

    Raises:
        asyncpg.UniqueViolationError: a job of that name exists.
    """
    token = new_token(name)
    text = query("create_job")
    values = arguments(
        text,
        token=token,
        name=name,
        spec=spec.dump(),
        id_type=id_type,
        source_oid=source_oid,
        owner_uid=owner_uid,
        tenant=tenant,
    )
    await connection.execute(text, *values)
    return await get_job(connection, token)


async def pin_source(connection: Connection, job_no: int, source_oid: int) -> None:
    """Stores the relation of a job that was created before relations were stored; once stored, it stays."""
    await connection.execute(query("pin_source"), job_no, source_oid)


async def accept_source(connection: Connection, job_no: int, source_oid: int) -> None:
    """Replaces the relation of a job, as after a restore from a dump. Only the owner of the schema may."""
    await connection.execute(query("accept_source"), job_no, source_oid)


async def adopt_job(connection: Connection, job_no: int, tenant: str) -> None:
    """Gives a job without a tenant to the tenant whose namespace it is in; see `functions/adopt_job.sql`.

    Raises:
        LockedError: another transaction holds the job's row; the message names it.
    """
    async with naming_lockers(connection, ["jobs", "audited_jobs"]):
        await connection.execute(query("adopt_job"), job_no, tenant)


async def find_job(connection: Connection, name: str) -> Job | None:
    """Returns the job of that name or token, None if there is none."""
    row = await connection.fetchrow(query("find_job"), name)
    return job_from_row(row) if row else None


async def get_job(connection: Connection, name: str) -> Job:
    """Returns the job of that name. A token also finds a deleted job whose signatures were retained.

    Raises:
        UnknownJobError: there is none.
    """
    job = await find_job(connection, name)
    if job is None:
        raise UnknownJobError(name)
    if job.unreadable:
        log.warning("%s What is fixed is read.", unreadable_spec(job.name, job.unreadable))
    return job


async def list_jobs(connection: Connection, *, deleted: bool = False) -> list[Job]:
    """Returns the jobs, oldest first. Deleted jobs whose signatures were retained are included if `deleted`.

    A job whose spec is invalid is left out, with a warning: it must not hide the others.
    """
    jobs, invalid = await read_stored_jobs(connection, deleted=deleted)
    for error in invalid:
        log.warning("%s", error.message)
    return jobs


async def read_stored_jobs(
    connection: Connection, *, deleted: bool = False
) -> tuple[list[Job], list[InvalidJobError]]:
    """Returns the same jobs, and the errors of those that are left out."""
    jobs: list[Job] = []
    invalid: list[InvalidJobError] = []
    for row in await connection.fetch(query("list_jobs"), deleted):
        try:
            jobs.append(job_from_row(row))
        except InvalidJobError as error:
            invalid.append(error)
    return jobs, invalid


async def start_job(connection: Connection, job_no: int, *, upper_id: str | None) -> None:
    """Moves a pending job to Running and sets the highest id that it covers; a running job stays as it is."""
    await connection.execute(query("start_job"), job_no, upper_id)


async def complete_job_if_settled(connection: Connection, job_no: int) -> bool:
    """Moves a running job to Complete if all records are planned and no batch is pending; returns whether it did."""
    async with connection.transaction(isolation="read_committed"):
        return await complete_locked_job(connection, job_no)


async def complete_locked_job(connection: Connection, job_no: int) -> bool:
    """Does the same in a transaction of the caller's, at the isolation level READ COMMITTED."""
    # Whoever adds batches locks the job's row. Pending batches must be counted by a statement that starts after that lock.
    await connection.execute(query("lock_job"), job_no)
    return bool(await connection.fetchval(query("complete_job"), job_no))


async def fail_job(connection: Connection, job_no: int, message: str) -> None:
    """Ends a job as Failed; what is signed stays signed. An ended job stays as it is."""
    await connection.execute(query("fail_job"), job_no, message)


async def fail_overdue_job(connection: Connection, job: Job) -> None:
    """Ends a job that ran for longer than its `activeDeadlineSeconds` by the clock of Postgres as Failed, with that message.

    Raises:
        LockedError: another transaction holds the job's row; the message names it.
    """
    async with changing(connection, ["jobs"]):
        await connection.execute(
            query("fail_overdue_job"),
            job.job_no,
            "DeadlineExceeded: the job ran for longer than spec.activeDeadlineSeconds "
            f"({job.spec.active_deadline_seconds:g} s); its signatures are kept.",
        )


async def set_suspended(
    connection: Connection, job_no: int, *, suspended: bool, why: str | None = None
) -> None:
    """Suspends a job that has not ended, with the message `why` if there is one, or resumes it.

    Raises:
        LockedError: another transaction holds the job's row; the message names it.
    """
    async with changing(connection, ["jobs"]):
        await connection.execute(query("set_suspended"), job_no, suspended, why)


async def set_message(connection: Connection, job_no: int, message: str | None) -> None:
    """Sets what a job is waiting for; None: nothing."""
    await connection.execute(query("set_message"), job_no, message)


async def update_spec(connection: Connection, job_no: int, spec: SigningJobSpec) -> None:
    """Stores a spec whose mutable fields changed.

    Raises:
        LockedError: another transaction holds the job's row; the message names it.
    """
    async with changing(connection, ["jobs"]):
        await connection.execute(query("update_spec"), job_no, spec.dump())


async def retry_dead(connection: Connection, job: Job) -> int:
    """Puts the dead letters of a job into new batches and reopens the job; returns how many records.

    They stay on record as cleared; see `vaultstream.store.dead_letters`.

    Raises:
        LockedError: another transaction holds the job's row; the message names it.
    """
    async with naming_lockers(connection, ["jobs", "dead_letters"]):
        records = int(await connection.fetchval(query("retry_dead"), job.job_no))
    if records:
        await hint_at_batches(connection, job.job_no)
    return records


async def delete_job(connection: Connection, job_no: int, policy: str) -> None:
    """Deletes a job by its policy, Retain or Delete; see `functions/delete_job.sql`.

    Raises:
        LockedError: another transaction holds rows of the job, or reads its signatures; the message names it.
    """
    dropped = [f"signatures_{job_no}"] if policy == "Delete" else []
    async with naming_lockers(connection, _ROWS_OF_JOBS, dropped=dropped):
        await connection.execute(query("delete_job"), job_no, policy)
