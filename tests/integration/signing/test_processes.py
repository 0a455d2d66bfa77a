"""Signers as processes: asked to leave, frozen past their leases, killed."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import pytest

from support.engine import add_table, history_of, new_name
from support.freezing import freeze, thaw
from support.signer import Bench, open_bench
from support.waiting import eventually
from vaultstream.local.services import Services

pytestmark = pytest.mark.integration

RECORDS = 200
PAYLOADS = {n: f"payload of {n}".encode() for n in range(1, RECORDS + 1)}
SHORT = {"VAULTSTREAM_LEASE_SECONDS": "1", "VAULTSTREAM_ACK_WAIT_SECONDS": "1"}


@asynccontextmanager
async def busy_job(services: Services, url: str, db: asyncpg.Connection) -> AsyncIterator[Bench]:
    """A job whose batches take a while each to be read, its records worker at work."""
    table, view = await add_table(db, range(1, RECORDS + 1)), new_name("slow")
    await db.execute(
        f"CREATE FUNCTION {view}() RETURNS text STABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN 1; END';"
        f"CREATE VIEW {view} AS SELECT id, CASE WHEN id % 10 <> 1 OR {view}() = '1' THEN payload END AS payload "
        f"FROM {table}"
    )
    async with open_bench(services, url, db, view, key_count=4) as bench:
        yield bench


@asynccontextmanager
async def ended(*processes: Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def at_work(bench: Bench, *, floor: int = 1) -> None:
    """Returns once some is signed and some key is in use."""

    async def working() -> bool:
        return await bench.signed() >= floor and await bench.held_keys() > 0

    await eventually(working)


async def nothing_under_way(db: asyncpg.Connection) -> bool:
    """No session of a signer does anything; one that waits for its signer, to read its answer or to say more, does not."""
    return not await db.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'vaultstream-signing%' AND state = 'active' "
        "AND wait_event_type IS DISTINCT FROM 'Client'"
    )


async def test_on_sigterm_a_signer_finishes_releases_its_keys_and_exits(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    async with busy_job(services, engine_url, db) as bench:
        planning = asyncio.create_task(bench.records_worker())
        process = await bench.start_process()
        async with ended(process):
            await at_work(bench)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 10) == 0
            assert await bench.held_keys() == 0
            assert {outcome for _, _, outcome in await history_of(db, bench.job)} == {"committed"}
            assert await bench.signed() < RECORDS
        planning.cancel()


async def test_a_signer_frozen_past_its_leases_sends_nothing_when_it_wakes(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    """Meanwhile another signer takes over its keys and batches, and finishes the job."""
    async with busy_job(services, engine_url, db) as bench:
        planning = asyncio.create_task(bench.records_worker())
        frozen = await bench.start_process(**SHORT)
        async with ended(frozen):
            await at_work(bench)
            await freeze(frozen.pid)
            await eventually(lambda: nothing_under_way(db))  # what it had sent before is done
            asleep = {
                (row["key_no"], row["epoch"])
                for row in await db.fetch(
                    "SELECT key_no, epoch FROM vaultstream.keys WHERE job_no = $1 AND holder IS NOT NULL",
                    bench.job.job_no,
                )
            }
            before = await bench.signed()
            other = await bench.start_process(**SHORT)
            async with ended(other):
                await asyncio.wait_for(planning, 40)
                thaw(frozen.pid)
                assert await asyncio.wait_for(frozen.wait(), 15) == 0
                assert await asyncio.wait_for(other.wait(), 15) == 0
        assert before < RECORDS
        await bench.assert_ended_well(PAYLOADS)
        committed = {
            (key, epoch) for key, epoch, outcome in await history_of(db, bench.job) if outcome == "committed"
        }
        assert asleep
        assert not asleep & committed


async def test_a_signer_woken_while_another_works_does_no_harm(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    """Both are frozen in turn, until leases have expired or the other has made good progress."""
    async with busy_job(services, engine_url, db) as bench:
        planning = asyncio.create_task(bench.records_worker())
        signers = [await bench.start_process(**SHORT) for _ in range(2)]
        async with ended(*signers):
            await at_work(bench)
            for process in signers:
                await freeze(process.pid)
                floor = await bench.signed()

                async def others_continued(floor: int = floor) -> bool:
                    run_out = await db.fetchval(
                        "SELECT count(*) FROM vaultstream.keys WHERE job_no = $1 AND holder IS NOT NULL "
                        "AND lease_until <= clock_timestamp()",
                        bench.job.job_no,
                    )
                    return planning.done() or run_out > 0 or await bench.signed() >= floor + 60

                await eventually(others_continued, seconds=20)
                thaw(process.pid)
            await asyncio.wait_for(planning, 40)
            for process in signers:
                assert await asyncio.wait_for(process.wait(), 15) == 0
        await bench.assert_ended_well(PAYLOADS)


async def test_a_signer_that_is_killed_costs_nothing_but_time(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    async with busy_job(services, engine_url, db) as bench:
        planning = asyncio.create_task(bench.records_worker())
        for floor in (1, 40):
            process = await bench.start_process(**SHORT)
            async with ended(process):
                await at_work(bench, floor=floor)
                process.kill()
        last = await bench.start_process(**SHORT)
        async with ended(last):
            await asyncio.wait_for(planning, 40)
            assert await asyncio.wait_for(last.wait(), 15) == 0
        await bench.assert_ended_well(PAYLOADS)
        assert {outcome for _, _, outcome in await history_of(db, bench.job)} == {"committed", "expired"}


async def test_a_record_that_ends_its_signers_is_set_aside_and_all_others_are_signed(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    """Each signer that has leased a batch with the record is killed before it can read it."""
    fatal = 23
    payloads = {n: f"payload of {n}".encode() for n in range(1, 41)}
    table, view = await add_table(db, payloads), new_name("fatal")
    await db.execute(
        f"CREATE FUNCTION {view}() RETURNS text STABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN 1; END';"
        f"CREATE VIEW {view} AS SELECT id, CASE WHEN id <> {fatal} OR {view}() = '1' THEN payload END AS payload "
        f"FROM {table}"
    )
    async with open_bench(services, engine_url, db, view, key_count=4) as bench:
        planning = asyncio.create_task(bench.records_worker())

        async def leased_or_over(pid: int) -> bool:
            return planning.done() or await db.fetchval(
                "SELECT count(*) > 0 FROM vaultstream.keys k JOIN vaultstream.batches b USING (job_no, batch_no) "
                "WHERE job_no = $1 AND k.holder LIKE '%:' || $2 || ':%' AND k.lease_until > clock_timestamp() "
                "AND b.state = 'pending' AND $3::int BETWEEN b.first_id::int AND b.last_id::int",
                bench.job.job_no,
                str(pid),
                fatal,
            )

        killed = 0
        while not planning.done():
            assert killed < 20
            process = await bench.start_process(**SHORT)
            async with ended(process):
                await eventually(partial(leased_or_over, process.pid))
                if not planning.done():
                    process.kill()
                    killed += 1
                else:
                    assert await asyncio.wait_for(process.wait(), 15) == 0
        await planning
        await bench.assert_ended_well(payloads, dead=frozenset({str(fatal)}))
        letters = await db.fetch(
            "SELECT reason, message FROM vaultstream.dead_letters WHERE job_no = $1", bench.job.job_no
        )
        assert [letter["reason"] for letter in letters] == ["SignerLost"]
        assert "expired" in letters[0]["message"]
