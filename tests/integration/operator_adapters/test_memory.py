"""What scaling remembers is in Postgres: a restarted operator reads it back, and of two operators one decides."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import pytest

from integration.operator_adapters.stored import SPEC, found, made
from support.planning import job_of
from vaultstream.scaling.history import History
from vaultstream.scaling.kept import KeptDecision
from vaultstream.store import jobs
from vaultstream.store.decisions import keep_decision, list_decisions
from vaultstream_operator.adapters.jetstream import JetStreamLags
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.core.memory import ScalingMemory
from vaultstream_operator.ports import ConflictError

pytestmark = pytest.mark.integration

FOUR = ScalingMemory(History().changed(0, 4, reason="Lag", now=1.0), generation=1)
SIX = ScalingMemory(FOUR.history.changed(4, 6, reason="Lag", now=2.0), generation=2)


async def writes(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("SELECT coalesce(max(version), 0) FROM vaultstream.scaling"))


async def test_a_restarted_operator_remembers_what_the_former_decided(
    store: PostgresStore, migrated_url: str, lags: JetStreamLags, connection: asyncpg.Connection
) -> None:
    view = job_of(SPEC)
    assert (await made(store, view)).memory == ScalingMemory()
    for memory in (FOUR, FOUR, SIX):
        assert await store.remember(memory, view) is None
        assert (await found(store, view)).memory == memory
    assert await writes(connection) == 2  # once for each decision that changed something
    async with PostgresStore(migrated_url, lags) as restarted:
        assert (await found(restarted, view)).memory == SIX


async def test_times_alone_are_remembered_without_a_write(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    await store.remember(FOUR, view)
    later = replace(FOUR, history=FOUR.history.but(last_active_at=9.0))
    assert await store.remember(later, view) is None
    assert (await found(store, view)).memory == later
    assert await writes(connection) == 1


async def test_an_operator_that_was_overtaken_reads_what_the_other_decided(
    store: PostgresStore, migrated_url: str, lags: JetStreamLags, connection: asyncpg.Connection
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    async with PostgresStore(migrated_url, lags) as other:
        await found(other, view)
        assert await store.remember(FOUR, view) is None
        with pytest.raises(ConflictError):
            await other.remember(SIX, view)
        assert (await found(other, view)).memory == FOUR
        assert await other.remember(SIX, view) is None
        with pytest.raises(ConflictError):
            await store.remember(SIX, view)
        assert await writes(connection) == 2


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_the_memory_of_a_deleted_job_is_deleted(
    store: PostgresStore, connection: asyncpg.Connection, policy: str
) -> None:
    view = job_of(SPEC)
    token = (await made(store, view)).token
    await store.remember(FOUR, view)
    job = await jobs.get_job(connection, token)
    await jobs.delete_job(connection, job.job_no, policy)
    assert await writes(connection) == 0


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@pytest.mark.parametrize("written", [True, False])
async def test_the_memory_of_a_deleted_job_does_not_come_back(
    store: PostgresStore, connection: asyncpg.Connection, policy: str, written: bool
) -> None:
    """Nor is it a trouble of the job that an operator read it before."""
    view = job_of(SPEC)
    token = (await made(store, view)).token
    if written:
        await store.remember(FOUR, view)
    job = await jobs.get_job(connection, token)
    await jobs.delete_job(connection, job.job_no, policy)
    with pytest.raises(ConflictError):
        await store.remember(SIX, view)
    assert await writes(connection) == 0


async def test_a_memory_that_somebody_removed_is_read_again_before_it_is_stored(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    await store.remember(FOUR, view)
    await connection.execute("DELETE FROM vaultstream.scaling")
    with pytest.raises(ConflictError):
        await store.remember(SIX, view)
    assert (await found(store, view)).memory == ScalingMemory()
    assert await store.remember(SIX, view) is None
    assert await writes(connection) == 1


def decided(at: float, desired: int) -> KeptDecision:
    return KeptDecision(
        at,
        {
            "replicas": 1,
            "desired": desired,
            "reason": "Lag",
            "message": "as the lag asks",
            "inputs": {},
            "limit": None,
            "hold": False,
        },
    )


async def test_decisions_are_kept_with_the_memory_once_each_and_the_latest_of_many(
    store: PostgresStore,
    migrated_url: str,
    lags: JetStreamLags,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vaultstream_operator.adapters.scaling.MOST_KEPT", 3)
    view = job_of(SPEC)
    token = (await made(store, view)).token
    job = await jobs.get_job(connection, token)
    await store.remember(FOUR, view, decided(1.0, 4))
    await store.remember(FOUR, view, decided(2.0, 4))  # no news
    async with PostgresStore(migrated_url, lags) as restarted:
        await found(restarted, view)
        await restarted.remember(FOUR, view, decided(3.0, 4))  # nor for an operator that was restarted
        assert await list_decisions(connection, job.job_no) == [(1, decided(1.0, 4))]
        for desired in range(5, 9):
            await restarted.remember(FOUR, view, decided(desired, desired))
    kept = await list_decisions(connection, job.job_no)
    assert [decision for _, decision in kept] == [decided(at, at) for at in (6, 7, 8)]
    newest = kept[-1][0]
    assert await list_decisions(connection, job.job_no, limit=1) == kept[-1:]
    assert await list_decisions(connection, job.job_no, after=newest - 1) == kept[-1:]


async def test_an_operator_that_was_overtaken_keeps_no_decision(
    store: PostgresStore, migrated_url: str, lags: JetStreamLags, connection: asyncpg.Connection
) -> None:
    view = job_of(SPEC)
    job = await jobs.get_job(connection, (await made(store, view)).token)
    async with PostgresStore(migrated_url, lags) as other:
        await found(other, view)
        await store.remember(FOUR, view, decided(1.0, 4))
        with pytest.raises(ConflictError):
            await other.remember(SIX, view, decided(2.0, 6))
    assert [decision for _, decision in await list_decisions(connection, job.job_no)] == [decided(1.0, 4)]


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_the_decisions_about_a_deleted_job_are_deleted_and_do_not_come_back(
    store: PostgresStore, connection: asyncpg.Connection, policy: str
) -> None:
    view = job_of(SPEC)
    job = await jobs.get_job(connection, (await made(store, view)).token)
    await store.remember(FOUR, view, decided(1.0, 4))
    await jobs.delete_job(connection, job.job_no, policy)
    with pytest.raises(ConflictError):
        await store.remember(SIX, view, decided(2.0, 6))
    await keep_decision(connection, job.job_no, decided(3.0, 7))
    assert await list_decisions(connection, job.job_no) == []
