"""Seals what happened to a job after its end: revocations, retries, exports, a deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.sealing.sealer import Sealed, Sealer
from vaultstream.store.jobs import get_job

if TYPE_CHECKING:
    from pathlib import Path

    from vaultstream.crypto.seal_keys import SealKeys
    from vaultstream.store.database import Connection


async def seal_since(connection: Connection, keys: SealKeys, folder: Path, name: str) -> Sealed | None:
    """Seals what happened to a job since its last seal; returns None if nothing did.

    Args:
        connection: of a login that may seal: the owner's, or one of the records role.
        keys: of the installation, or of the job's tenant.
        folder: of copies.
        name: name or token of the job; of a deleted job whose signatures were retained, the token.

    Raises:
        UnknownJobError: there is no such job.
        ProofError: a log is not what was signed, or what was sealed is gone.
    """
    job = await get_job(connection, name)
    sealer = Sealer(keys, folder, job, deletion=True)
    await sealer.plan.resume(connection, job)
    return await sealer.seal(connection)
