"""A source that is swapped while it is verified: what was read under its name is not taken for it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import asyncpg
import pytest

from vaultstream.audit.verify import verify_job
from vaultstream.errors import SourceError

if TYPE_CHECKING:
    from integration.audit.conftest import MakeJob

pytestmark = pytest.mark.integration

SWAP = "ALTER SCHEMA public RENAME TO other; ALTER SCHEMA second RENAME TO public; ALTER SCHEMA other RENAME TO second"


async def test_what_has_the_name_of_a_source_only_during_an_audit_does_not_pass_for_it(make: MakeJob) -> None:
    """No lock on a table keeps its schema's name. Changed records would pass as unchanged."""
    signed = await make()
    await signed.execute(
        "CREATE SCHEMA second; CREATE TABLE second.receipts AS SELECT * FROM public.receipts"
    )
    await signed.execute("UPDATE public.receipts SET payload = 'changed'")
    assert (await verify_job(signed.url, signed.job.token, processes=1)).changed == 12

    async def swap() -> None:
        connection = await asyncpg.connect(signed.url)
        await connection.execute(SWAP)
        await connection.close()

    def progress(done: int, total: int) -> None:
        """Swaps after the source was opened, and swaps back before the end."""
        if done in {0, total}:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, swap()).result()

    with pytest.raises(SourceError, match="altered while it was read"):
        await verify_job(signed.url, signed.job.token, processes=1, progress=progress)
