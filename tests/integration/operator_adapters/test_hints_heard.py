"""Hints at new batches, from Postgres to the operator, the forged ones included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from integration.operator_adapters.stored import SPEC, made
from support.planning import job_of
from support.waiting import eventually
from vaultstream.store import jobs
from vaultstream.store.hints import CHANNEL, hint_at_batches
from vaultstream_operator.adapters import hints
from vaultstream_operator.adapters.hints import MOST_HINTS, MOST_RECONCILES, Hints
from vaultstream_operator.adapters.postgres import PostgresStore

pytestmark = pytest.mark.integration


@pytest.fixture
async def heard(migrated_url: str, connection: asyncpg.Connection) -> AsyncIterator[list[int]]:
    """The numbers of the jobs that hints were heard about, from when somebody listens."""
    numbers: list[int] = []
    listening = asyncio.create_task(Hints(migrated_url, lambda no, _: numbers.append(no)).listen())
    await eventually(lambda: listeners(connection))
    yield numbers
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def listeners(connection: asyncpg.Connection) -> int:
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' AND query ~* '^listen'"
        )
    )


async def test_a_hint_names_the_job_that_the_operator_reconciles(
    heard: list[int], store: PostgresStore, connection: asyncpg.Connection
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    job = await jobs.get_job(connection, f"{view.owner.namespace}/{view.owner.name}")
    await hint_at_batches(connection, job.job_no)
    await eventually(lambda: heard == [job.job_no])
    assert store.key_of(job.job_no) == (view.owner.namespace, view.owner.name)
    assert store.key_of(job.job_no + 1) is None
    store.forget(view.owner.namespace, view.owner.name)
    assert store.key_of(job.job_no) is None


async def test_what_is_no_number_of_a_job_is_not_heard(
    heard: list[int], connection: asyncpg.Connection
) -> None:
    for forged in ("", "-1", "1.5", "²", "٣", "9" * 40, "x" * 7000, "'; DROP TABLE jobs; --"):
        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, forged)
    await hint_at_batches(connection, 5)
    await eventually(lambda: heard == [5])


async def test_a_flood_of_hints_ends_listening_for_a_while(
    heard: list[int],
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(hints, "UNHEARD_SECONDS", 0.2)
    await connection.execute("SELECT pg_notify($1, n::text) FROM generate_series(1, 3000) AS n", CHANNEL)
    await eventually(lambda: "a flood of hints" in caplog.text)
    assert len(heard) >= MOST_RECONCILES
    await eventually(lambda: listeners(connection))  # again

    async def heard_again() -> bool:
        await hint_at_batches(connection, 5000)
        return 5000 in heard

    await eventually(heard_again)
    assert len(heard) < MOST_HINTS


async def test_a_connection_that_ended_is_replaced(
    heard: list[int], connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "LISTEN_AGAIN_SECONDS", 0.1)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query ~* '^listen'"
    )

    async def heard_again() -> bool:
        await hint_at_batches(connection, 7)
        return 7 in heard

    await eventually(heard_again)
