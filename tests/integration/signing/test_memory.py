"""A signer under the memory limit of its pod, with large payloads."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from support.engine import history_of, new_name
from support.memory import memory_limit, peak_memory
from support.signer import open_bench
from vaultstream_operator.core.shapes import signer_mebibytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    from support.signer import Bench
    from vaultstream.local.services import Services

    OpenBench = Callable[..., AbstractAsyncContextManager[Bench]]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180), pytest.mark.long]

MIB = 1024 * 1024


@pytest.fixture
def bench_of(services: Services, engine_url: str, db: asyncpg.Connection) -> OpenBench:
    @asynccontextmanager
    async def open_it(
        count: int,
        size: int,
        *,
        batch_size: int,
        limit: int = MIB,
    ) -> AsyncIterator[Bench]:
        """A job of so many payloads, each of so many bytes."""
        table = new_name("large")
        await db.execute(f"CREATE TABLE {table} (id bigint PRIMARY KEY, payload bytea)")
        # not compressed: that would take longer than to sign it
        await db.execute(f"ALTER TABLE {table} ALTER payload SET STORAGE EXTERNAL")
        await db.execute(
            f"INSERT INTO {table} SELECT n, overlay($2::bytea PLACING n::text::bytea FROM 1) FROM generate_series(1, $1::int) AS n",
            count,
            bytes(size),
        )
        records = {"table": table, "maxPayloadBytes": limit}
        async with open_bench(
            services, engine_url, db, table, key_count=16, batchSize=batch_size, records=records
        ) as bench:
            yield bench
        await db.execute(f"DROP TABLE {table}")

    return open_it


@pytest.mark.parametrize(
    ("count", "size", "spec"),
    [
        (320, 900_000, {"batch_size": 500}),
        (320, MIB, {"batch_size": 500}),
        (320, 900_000, {"batch_size": 25}),
        (5, 64 * MIB, {"batch_size": 5, "limit": 64 * MIB}),
    ],
    ids=["one-batch", "the-default-limit", "several-batches", "the-largest-limit"],
)
async def test_large_payloads_pass_through_a_pod_of_the_default_size(
    bench_of: OpenBench, count: int, size: int, spec: dict[str, int]
) -> None:
    async with bench_of(count, size, **spec) as bench:
        allowed = signer_mebibytes(bench.job.spec) * MIB
        with memory_limit(allowed) as limit:
            process = await bench.start_process()
            if limit is not None:
                limit(process.pid)
            planning = asyncio.create_task(bench.records_worker())
            peak = 0
            try:
                while process.returncode is None:
                    peak = max(peak, peak_memory(process.pid))
                    await asyncio.sleep(0.02)
                assert process.returncode == 0
                await asyncio.wait_for(planning, 60)
            finally:
                planning.cancel()
                if process.returncode is None:
                    process.kill()
                await process.wait()
        assert 0 < peak < allowed
        assert await bench.signed() == count
        outcomes = [outcome for _, _, outcome in await history_of(bench.db, bench.job)]
        assert outcomes == ["committed"] * -(-count // spec["batch_size"])


async def test_a_payload_that_the_pod_has_no_memory_for_is_set_aside_and_all_others_are_signed(
    bench_of: OpenBench,
) -> None:
    async with bench_of(20, 1000, batch_size=10, limit=64 * MIB) as bench:
        table = bench.job.spec.records.table
        await bench.db.execute(f"UPDATE {table} SET payload = $1 WHERE id = 7", bytes(64 * MIB))
        planning = asyncio.create_task(bench.records_worker())
        ends = []
        while not planning.done():
            assert len(ends) < 15
            with memory_limit(160 * MIB) as limit:
                if limit is None:
                    planning.cancel()
                    pytest.skip("only root can limit the memory of a process")
                process = await bench.start_process(
                    VAULTSTREAM_LEASE_SECONDS="1", VAULTSTREAM_ACK_WAIT_SECONDS="1"
                )
                limit(process.pid)
                ends.append(await process.wait())
        await planning
        assert set(ends) <= {-signal.SIGKILL, 0}
        assert ends.count(-signal.SIGKILL) >= 2 + 3 + 3
        letters = await bench.db.fetch(
            "SELECT record_id, reason FROM vaultstream.dead_letters WHERE job_no = $1", bench.job.job_no
        )
        assert [tuple(letter) for letter in letters] == [("7", "SignerLost")]
        assert await bench.signed() == 19
