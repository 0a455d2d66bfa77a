"""What logs of seals say of jobs that the database no longer has, or says were deleted: only a seal proves that."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from vaultstream.audit.exports.formats import rfc3339
from vaultstream.audit.seals.seal_trust import SealTrust
from vaultstream.audit.seals.sealed_logs import (
    kept_head,
    open_head,
    read_jobs,
    read_seal_log,
    rollback,
    sealed_deletions,
)
from vaultstream.errors import AuditError, ProofError, UnknownJobError
from vaultstream.proof.checkpoint import unverified_checkpoint
from vaultstream.proof.seal import SealEntry
from vaultstream.store.audit_events import list_audit_events
from vaultstream.store.logs import find_log, jobs_by_token, leaf_hashes, newest_checkpoint
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vaultstream.audit.seals.sealed_logs import LoggedJob
    from vaultstream.errors import VaultStreamError
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job
    from vaultstream.store.logs import Log


async def explain_unknown(connection: Connection, name: str, trust: SealTrust) -> VaultStreamError:
    """Returns the error for a job that has no row, or one that says it was deleted: it is lost if it was planned or sealed, and its newest seal does not say so.

    Args:
        connection: in the transaction with the snapshot.
        name: its name or token.
        trust: checkpoints that were kept, and the keys that signed them.

    Raises:
        ProofError: a kept checkpoint is malformed.
    """
    if reason := await _rolled_back(connection, trust):
        return AuditError(
            f"There is no job named {name!r}, and {reason}.",
            hint="The database was rolled back, or is another one.",
        )
    error = UnknownJobError(name)
    missing: list[tuple[LoggedJob, Log]] = []
    faults: list[ProofError] = []
    for row in await connection.fetch(query("audit_seal_logs")):
        ours, log = trust.has_key_of(row["origin"]), None
        try:
            log = await find_log(connection, row["origin"])
            if log is None:
                continue
            logged = await read_jobs(connection, log, name, trust if ours else SealTrust())
        except ProofError as fault:
            if (log is not None and not log.size) or (trust.keys and not ours):
                continue  # nothing was entered yet, or it is of others
            faults.append(fault)  # another log may have the job
            continue
        missing += [(job, log) for job in logged if job.deleted_at is None]
        if logged:
            kept = await known_tokens(connection, logged)
            error.hint = _where_it_is(logged[-1], kept=logged[-1].token in kept)
    deleted = await deleted_in_tenants_logs(connection, [job.token for job, _ in missing], trust)
    for job, log in missing:
        if job.token not in deleted:
            return AuditError(f"{await lost(connection, job, log)}.", hint=await _way_out(connection, job))
    if faults:
        return AuditError(f"There is no job named {name!r}. {faults[0].message}", hint=faults[0].hint)
    return error


async def _rolled_back(connection: Connection, trust: SealTrust) -> str | None:
    """Returns why a log is no later state of one that a checkpoint is of; None if all are."""
    for note in (*trust.kept, *trust.local):
        head = kept_head(note, trust)
        log = await find_log(connection, head.origin)
        if log is None and note in trust.local:
            continue  # it may be of another database
        leaves = await leaf_hashes(connection, log) if log else []
        if reason := rollback(head, leaves):
            return reason
    return None


async def known_tokens(connection: Connection, jobs: Iterable[LoggedJob]) -> set[str]:
    """Returns the tokens of those of the jobs that the database has. One that was deleted with Retain is there."""
    return {job.token for job in await jobs_by_token(connection, [each.token for each in jobs])}


async def deleted_in_tenants_logs(
    connection: Connection, tokens: Sequence[str], trust: SealTrust
) -> set[str]:
    """Returns those of some jobs whose newest seal in the log of a tenant says that they were deleted: they were given to it later.

    A log that is under none of the keys, or is not what its checkpoint says, proves nothing.
    """
    found: set[str] = set()
    if not tokens:
        return found
    for row in await connection.fetch(query("audit_seal_logs")):
        if "/tenants/" not in row["origin"] or (trust.keys and not trust.has_key_of(row["origin"])):
            continue
        with suppress(ProofError):
            log = await find_log(connection, row["origin"])
            found |= await sealed_deletions(connection, log, tokens, trust) if log else set()
    return found


async def sealed_elsewhere(connection: Connection, job: Job, trust: SealTrust) -> list[str]:
    """Returns a sentence for each log of seals under a trusted key that has seals of a job, and is not that of its tenant as Postgres says.

    A log of another tenant that is not what its checkpoint says proves nothing: whoever seals there can have written that.

    Raises:
        ProofError: the log of those without a tenant is not what its checkpoint says.
    """
    local = [
        unverified_checkpoint(note).origin for note in trust.local
    ]  # also where Postgres lists no such log
    stored = [row["origin"] for row in await connection.fetch(query("audit_seal_logs"))]
    found: list[str] = []
    for origin in dict.fromkeys([*(key.name for key in trust.keys), *local, *stored]):
        tenant = origin.partition("/tenants/")[2] or None
        if tenant == job.tenant or not trust.has_key_of(origin):
            continue
        try:
            log = await find_log(connection, origin)
            if log is None or not log.size:
                continue
            await _require_tip(connection, log, trust)  # no gigabytes of somebody without the key are read
            seals = (await read_seal_log(connection, log, job.token, trust)).seals
        except ProofError:
            if tenant is None:
                raise
            continue
        if seals:
            whose = f"of the tenant {job.tenant!r}" if job.tenant else "of no tenant"
            found.append(
                f"the log {origin!r} has a seal of the job, and Postgres says that the job is {whose}"
            )
    return found


async def _require_tip(connection: Connection, log: Log, trust: SealTrust) -> None:
    """Checks that a trusted key has signed as many entries as the log has.

    Raises:
        ProofError: none has.
    """
    stored = await newest_checkpoint(connection, log)
    if stored is None or open_head(stored.note, trust, log.origin).size != log.size:
        raise ProofError(f"The log {log.origin!r} has {log.size} entries without a checkpoint of theirs.")


async def lost(connection: Connection, job: LoggedJob, log: Log) -> str:
    """Returns a sentence about a job that a log has and the database has not, or calls deleted, without its end."""
    last = job.last
    what = (
        f"{last.signed + last.dead} records"
        if isinstance(last, SealEntry)
        else f"{last.records} planned records"
    )
    where = "is gone"
    for known in await jobs_by_token(connection, [job.token]):
        at = known.deleted_at
        where = f"was deleted at {rfc3339(at)}, as Postgres says" if at else "has another name in Postgres"
    return f"Job {job.name} ({job.token}) {where}: the log {log.origin!r} has it with {what}, and no seal says that it was deleted"


async def _way_out(connection: Connection, job: LoggedJob) -> str:
    event = await _unsealed_deletion(connection, job)
    if await known_tokens(connection, [job]):
        return (
            f"{event}`vaultstream verify {job.token}` compares what is left with the seal. If you know that the job was deleted, "
            f"`vaultstream log seal {job.token} --deleted` seals that."
        )
    return f"{event}If its rows were removed, restore them from a backup."


async def _unsealed_deletion(connection: Connection, job: LoggedJob) -> str:
    """Returns what the database says of who deleted a job: whoever owns it can write that."""
    deleted = [event for event in await list_audit_events(connection, job.job_no) if event.action == "delete"]
    if not deleted:
        return ""
    return (
        f"An unsealed event says that the login {deleted[-1].login!r} deleted it at {deleted[-1].at.isoformat()}; "
        "its owner can have written that. "
    )


def _where_it_is(job: LoggedJob, *, kept: bool) -> str:
    if job.deleted_at is not None and not kept:
        return f"Job {job.token} was deleted, as a seal of {rfc3339(job.deleted_at)} says."
    return (
        f"The name was that of job {job.token}, which is kept: `vaultstream verify {job.token}` verifies it."
    )
