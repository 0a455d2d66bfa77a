"""Who waits for a lock says who holds it, and what an administrator does then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest

from support.engine import add_job, new_name
from support.waiting import eventually
from vaultstream.doctor.held_back import OldSnapshot, examine_held_back, judge_held_back
from vaultstream.errors import LockedError
from vaultstream.local.services import Services
from vaultstream.local.stalls import find_obstacle
from vaultstream.local.status import StatusReader
from vaultstream.store import jobs
from vaultstream.store.blockers import (
    Blocker,
    LockWatch,
    blocked_hint,
    blocked_sentence,
    list_blockers,
    unless_blocked,
)
from vaultstream.store.database import connect, is_passing, open_pool
from vaultstream.store.holder import APPLICATION, SessionName
from vaultstream.store.sql import query

pytestmark = pytest.mark.integration


@asynccontextmanager
async def holding(url: str, statement: str) -> AsyncIterator[int]:
    """A transaction of somebody else that has run a statement; gives its process."""
    async with connect(url, role="\x1b[2Jledger") as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute(statement)
        yield other.get_server_pid()
        await transaction.rollback()


async def test_a_reader_of_a_locked_table_is_told_whom_to_end(engine_url: str) -> None:
    async with (
        holding(engine_url, "LOCK TABLE vaultstream.jobs") as pid,
        connect(engine_url) as waits,
    ):
        with pytest.raises(LockedError) as raised:
            async with unless_blocked(waits, engine_url, patience=0.2):
                await jobs.find_job(waits, "any")
        assert f"process {pid} of the user postgres (vaultstream-\\x1b[2Jledger)" in raised.value.message
        assert "whose transaction began at 2" in raised.value.message
        assert "\x1b" not in raised.value.message
        assert f"pg_terminate_backend({pid})" in (raised.value.hint or "")
    assert await waits_for_nobody(engine_url)


async def waits_for_nobody(url: str) -> bool:
    async with connect(url) as connection, unless_blocked(connection, url, patience=0.2):
        return await jobs.find_job(connection, "any") is None


async def test_an_error_that_has_nothing_to_do_with_a_lock_stays_as_it_is(engine_url: str) -> None:
    async with connect(engine_url) as connection:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), unless_blocked(connection, engine_url, patience=0.1):
                await connection.execute("SELECT pg_sleep(60)")


async def test_a_worker_whose_connections_all_wait_says_once_for_whom(
    db: asyncpg.Connection, engine_url: str, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    job = await add_job(db)
    name = str(SessionName.of_this_process("signing", job.job_no))
    here = replace(services, database_url=engine_url)
    async with (
        open_pool(engine_url, role=name, size=1) as pool,
        open_pool(engine_url, role="x", size=1) as own,
    ):
        watch = LockWatch(engine_url, f"{APPLICATION}{name}", every=0.0, waited=0.0)
        assert await watch.look(pool) is None
        changes = f"UPDATE vaultstream.jobs SET message = NULL WHERE job_no = {job.job_no}"
        async with pool.acquire() as connection:
            async with holding(engine_url, changes) as pid:
                waiting = asyncio.create_task(connection.execute(changes))
                sentence = await eventually(lambda: watch.look(pool))
                assert f"held by process {pid} of the user postgres" in sentence
                assert await watch.look(pool) == sentence
                assert await list_blockers(db, job_no=job.job_no, waited=0.0)
                assert not await list_blockers(db, job_no=job.job_no + 1, waited=0.0)
                assert await eventually(lambda: find_obstacle(here)) == sentence  # of a run without progress
                async with StatusReader(here, own, job.token) as reader:
                    assert (await reader.read()).message == sentence
            await waiting

        async def nobody() -> bool:
            return await watch.look(pool) is None

        await eventually(nobody)
    told = [record for record in caplog.records if "lock in Postgres" in record.message]
    assert [record.levelname for record in told] == ["WARNING", "INFO"]
    assert f"pg_terminate_backend({pid})" in told[0].__dict__["hint"]


async def test_status_and_a_run_do_not_wait_for_a_locked_table_without_a_word(
    db: asyncpg.Connection, engine_url: str, services: Services
) -> None:
    job = await add_job(db)
    here = replace(services, database_url=engine_url)
    async with open_pool(engine_url, role="x", size=1) as pool:
        async with holding(engine_url, "LOCK TABLE vaultstream.jobs") as pid:
            with pytest.raises(LockedError, match=f"process {pid} ") as raised:
                async with asyncio.timeout(60), StatusReader(here, pool, job.token) as reader:
                    await reader.read()
            assert is_passing(raised.value)  # who watches goes on
        async with StatusReader(here, pool, job.token) as reader:
            assert (await reader.read()).message is None


def test_a_prepared_transaction_that_keeps_others_waiting_is_named() -> None:
    rows = [Blocker(None, "app", "left", application="")]
    assert "prepared transaction 'left' of the user app" in (blocked_sentence(rows) or "")
    assert "ROLLBACK PREPARED 'left'" in blocked_hint(rows)
    assert "Repeat the command" not in blocked_hint(rows), "workers and the operator have none"


async def test_a_worker_that_can_not_ask_for_whom_it_waits_goes_on(engine_url: str) -> None:
    nobody_there = "postgresql://postgres@127.0.0.1:1/none"
    async with open_pool(engine_url, role="x", size=1) as pool, pool.acquire():
        watch = LockWatch(nobody_there, "any", every=0.0, waited=0.0)
        assert await watch.look(pool) is None


async def test_the_doctor_finds_an_old_snapshot_and_a_slot_that_nobody_reads(
    db: asyncpg.Connection, engine_url: str
) -> None:
    slot = new_name("slot")
    await db.execute("SELECT pg_create_physical_replication_slot($1, true)", slot)
    try:
        async with holding(engine_url, "SELECT txid_current()") as pid:
            found = await examine_held_back(db, seconds=0.0, wal=-1)
            said = {finding.check: finding.message for finding in found}
            assert "Open for a long time" in said["old snapshots"]
            assert slot in said["replication slots"]
            # Sessions of other tests may be older, and a finding does not name all.
            ours = [
                dict(row) for row in await db.fetch(query("list_old_snapshots"), 0.0, 0) if row["pid"] == pid
            ]
            [finding] = judge_held_back([OldSnapshot(**row) for row in ours], [], [])
            assert f"process {pid} of the user postgres" in finding.message
    finally:
        await db.execute("SELECT pg_drop_replication_slot($1)", slot)
