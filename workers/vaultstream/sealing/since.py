"""Seals what happened to a job after its end: revocations, retries, exports, a deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.errors import UsageError
from vaultstream.proof.checkpoint import open_checkpoint
from vaultstream.proof.seal import DELETED, SealEntry, log_origin
from vaultstream.sealing.sealer import Sealed, Sealer
from vaultstream.store.entry_facts import find_seal, require_entered
from vaultstream.store.jobs import get_job
from vaultstream.store.logs import find_log, newest_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from vaultstream.crypto.seal_keys import SealKeys
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job


async def seal_since(
    connection: Connection, keys: SealKeys, folder: Path, name: str, *, deletion: bool
) -> Sealed | None:
    """Seals what happened to a job since its last seal; returns None if nothing did.

    Args:
        connection: of a login that may seal: the owner's, or one of the records role.
        keys: of the installation, or of the job's tenant.
        folder: of copies.
        name: name or token of the job; of a deleted job whose signatures were retained, the token.
        deletion: whether somebody who knows that the job was deleted asks for a seal of that.

    Raises:
        UnknownJobError: there is no such job.
        UsageError: only Postgres says that the job was deleted. Whoever owns the database can write that.
        ProofError: a log is not what was signed, or what was sealed is gone.
    """
    job = await get_job(connection, name)
    if job.deleted_at is not None and not deletion and not await _deletion_is_sealed(connection, keys, job):
        raise UsageError(
            f"Postgres says that job {job.name} was deleted at {job.deleted_at.isoformat()}, and no seal does.",
            hint="If you know that it was, add --deleted: then that is sealed, too. Whoever owns the database can write such a mark.",
        )
    sealer = Sealer(keys, folder, job, deletion=True)
    await sealer.plan.resume(connection, job)
    return await sealer.seal(connection)


async def _deletion_is_sealed(connection: Connection, keys: SealKeys, job: Job) -> bool:
    """Returns whether the newest seal of a job says that it was deleted. It is verified, and so is the log that has it.

    Raises:
        ProofError: the log is not what was signed.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        log = await find_log(connection, log_origin(keys.origin, job.tenant))
        newest = await newest_checkpoint(connection, log) if log else None
        entry = await find_seal(connection, log, job.job_no, job.token) if log else None
        data = entry.data if entry is not None else None
        if log is None or newest is None or entry is None or data is None:
            return False
        head = open_checkpoint(newest.note, keys.known, origin=log.origin).checkpoint
        await require_entered(connection, log, entry, head)
    return SealEntry.parse(data).state == DELETED
