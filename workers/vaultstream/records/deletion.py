"""Seals that a job was deleted, where the seal key is: the operator, which deletes jobs, has none."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from vaultstream.credentials import current_database_url
from vaultstream.crypto.seal_keys import load_seal_keys
from vaultstream.errors import UsageError
from vaultstream.role import WorkerRole
from vaultstream.sealing.since import seal_since
from vaultstream.settings import seal_key_file, seals_dir
from vaultstream.store import jobs, schema
from vaultstream.store.database import open_pool

if TYPE_CHECKING:
    from vaultstream.settings import Settings

log = logging.getLogger(__name__)

SEAL_SECONDS = 30.0


async def run_records_deletion(settings: Settings, token: str) -> None:
    """Seals that a job was deleted whose rows are still there, and returns. It can be repeated.

    Raises:
        UsageError: DATABASE_URL is not set, or the job was not deleted.
        UnknownJobError: there is no such job.
        CustodyError: the seal key can't be read.
        ProofError: a log is not what was signed.
    """
    keys = await asyncio.to_thread(load_seal_keys, seal_key_file(settings))
    url = current_database_url(settings)
    async with (
        asyncio.timeout(SEAL_SECONDS),
        open_pool(url, role=WorkerRole.RECORDS, size=1) as pool,
        pool.acquire() as connection,
    ):
        await schema.require_current(connection)
        job = await jobs.get_job(connection, token)
        if job.deleted_at is None:
            raise UsageError(f"Job {job.name} was not deleted.", hint="Leave out --deleted.")
        await seal_since(connection, keys, seals_dir(settings), job.token, deletion=True)
    log.info("deletion sealed", extra={"job": job.name, "token": job.token})
