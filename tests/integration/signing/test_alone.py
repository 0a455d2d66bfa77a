"""Batches that lost their signers before are signed one at a time, with nothing else in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.engine import add_table
from support.signer import open_bench

if TYPE_CHECKING:
    import asyncpg

    from vaultstream.local.services import Services

pytestmark = pytest.mark.integration

PAYLOADS = {n: f"payload of {n}".encode() for n in range(1, 301)}


async def test_each_suspect_is_signed_alone_and_the_others_together(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    table = await add_table(db, PAYLOADS)
    async with open_bench(services, engine_url, db, table, key_count=12) as bench:
        job_no = bench.job.job_no
        await db.execute(
            "CREATE OR REPLACE FUNCTION suspect() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN NEW.lost := CASE WHEN NEW.batch_no IN (1, 2, 9, 20, 30) THEN 2 ELSE 1 END; RETURN NEW; END'"
        )
        await db.execute(
            "CREATE TRIGGER suspect BEFORE INSERT ON vaultstream.batches FOR EACH ROW EXECUTE FUNCTION suspect()"
        )
        try:
            await bench.run(concurrency=12)
        finally:
            await db.execute("DROP TRIGGER suspect ON vaultstream.batches; DROP FUNCTION suspect()")
        await bench.assert_ended_well(PAYLOADS)
        overlapping = await db.fetch(
            "SELECT DISTINCT l.batch_no FROM vaultstream.leases l JOIN vaultstream.keys k USING (key_no) "
            "JOIN vaultstream.leases o ON o.holder = l.holder AND o.during && l.during "
            "AND (o.key_no, o.epoch) <> (l.key_no, l.epoch) WHERE k.job_no = $1 ORDER BY 1",
            job_no,
        )
        together = {row["batch_no"] for row in overlapping}
        assert not together & {1, 2, 9, 20, 30}
        assert len(together) > 5
