"""What the operator can not read or change in Postgres is explained in words, and recovers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from integration.operator_adapters.stored import SPEC, made, trouble
from support.as_user import connect
from support.planning import job_of, spec_of
from support.waiting import eventually
from vaultstream.bus.address import BusAddress
from vaultstream.store import schema
from vaultstream_operator.adapters.jetstream import JetStreamLags
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import StoredJob, Trouble

pytestmark = pytest.mark.integration


async def test_a_wrong_password_is_reported_and_never_shown(
    connection: asyncpg.Connection, migrated_url: str, lags: JetStreamLags
) -> None:
    role = f"guarded_{uuid4().hex[:8]}"
    await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    hba = Path(await connection.fetchval("SHOW hba_file"))
    before = await asyncio.to_thread(hba.read_text)
    await asyncio.to_thread(hba.write_text, f"local all {role} scram-sha-256\n{before}")
    await connection.execute("SELECT pg_reload_conf()")
    url = migrated_url.replace("://postgres@", f"://{role}:wr0ng-s3cret@")

    async def refused() -> Trouble | None:
        async with PostgresStore(url, lags) as store:
            answer = await trouble(store, job_of(SPEC))
        return answer if "password" in answer.problem else None

    try:
        answer = await eventually(refused)
    finally:
        await asyncio.to_thread(hba.write_text, before)
        await connection.execute("SELECT pg_reload_conf()")
        await connection.execute(f"DROP ROLE {role}")
    assert (answer.reason, answer.passing) == (JobReason.DATABASE_REFUSES, False)
    assert "wr0ng" not in repr(answer)


@pytest.fixture
async def bare_store(database_url: str, lags: JetStreamLags) -> AsyncIterator[PostgresStore]:
    """In a database without the schema."""
    async with PostgresStore(database_url, lags) as store:
        yield store


async def test_a_missing_schema_is_reported_until_the_database_is_migrated(
    bare_store: PostgresStore, database_url: str
) -> None:
    view = job_of(SPEC)
    answer = await trouble(bare_store, view)
    assert (answer.reason, answer.passing, answer.failures) == (JobReason.SCHEMA_NOT_READY, False, 1)
    again = await trouble(bare_store, view)
    assert (again.failures, again.since) == (2, answer.since)
    assert await bare_store.find(replace(view, deleting=True)) is None  # nothing of ours can be there
    async with connect(database_url) as connection:
        await schema.migrate(connection)
    assert await bare_store.find(view) is None


async def test_troubles_are_those_of_one_object_and_forgotten_with_it(bare_store: PostgresStore) -> None:
    view = job_of(SPEC)
    assert [(await trouble(bare_store, view)).failures for _ in range(2)] == [1, 2]
    anew = replace(view, owner=replace(view.owner, uid="another"))
    assert (await trouble(bare_store, anew)).failures == 1
    assert (await trouble(bare_store, anew)).failures == 2
    bare_store.forget(view.owner.namespace, view.owner.name)
    assert (await trouble(bare_store, anew)).failures == 1
    for n in range(50):
        other = replace(view, owner=replace(view.owner, name=f"job-{n}", uid=f"uid-{n}"))
        await trouble(bare_store, other)
        bare_store.forget(other.owner.namespace, other.owner.name)
    assert len(bare_store._memories) == 1


async def test_a_newer_schema_is_reported(store: PostgresStore, connection: asyncpg.Connection) -> None:
    await connection.execute("INSERT INTO vaultstream.schema_version (version, works_from) VALUES (999, 999)")
    view = job_of(SPEC)
    answer = await trouble(store, view)
    assert answer.reason is JobReason.SCHEMA_NOT_READY
    assert "999" in answer.problem
    assert isinstance(await store.find(replace(view, deleting=True)), Trouble)


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        ({"table": "reciepts"}, "no table or view 'reciepts'"),
        ({"table": "receipts", "payloadColumn": "paylod"}, "no column 'paylod'"),
    ],
)
async def test_an_unusable_table_is_reported_and_no_job_is_created(
    store: PostgresStore, connection: asyncpg.Connection, records: dict[str, str], problem: str
) -> None:
    view = job_of(spec_of(records=records))
    answer = await store.act(StoreAction.CREATE, view)
    assert answer is not None
    assert (answer.reason, answer.passing) == (JobReason.TABLE_UNUSABLE, False)
    assert problem in answer.problem
    assert await store.find(view) is None


async def test_a_user_without_privileges_is_reported(
    connection: asyncpg.Connection, migrated_url: str, lags: JetStreamLags
) -> None:
    role = f"poor_{uuid4().hex[:8]}"
    await connection.execute(f"CREATE ROLE {role} LOGIN")
    try:
        async with PostgresStore(migrated_url.replace("://postgres@", f"://{role}@"), lags) as store:
            answer = await trouble(store, job_of(SPEC))
    finally:
        await connection.execute(f"DROP ROLE {role}")
    assert (answer.reason, answer.passing) == (JobReason.DATABASE_REFUSES, False)
    assert "permission denied" in answer.problem


async def test_an_unreachable_postgres_is_reported_at_once_and_recovers(
    lags: JetStreamLags, migrated_url: str, connection: asyncpg.Connection, unused_tcp_port: int
) -> None:
    async with PostgresStore(f"postgresql://u:s3cret@127.0.0.1:{unused_tcp_port}/d", lags) as store:
        views = [job_of(SPEC)] * 20
        answers = await asyncio.wait_for(asyncio.gather(*(store.find(view) for view in views)), 3)
        assert {type(answer) for answer in answers} == {Trouble}
        answer = await trouble(store, views[0])
        assert (answer.reason, answer.passing, answer.failures) == (JobReason.POSTGRES_UNREACHABLE, True, 21)
        assert "s3cret" not in repr(answer)
        assert await store.busy_pods("x") == set()


async def test_a_broken_connection_is_replaced(store: PostgresStore, connection: asyncpg.Connection) -> None:
    view = job_of(SPEC)
    await made(store, view)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'vaultstream-operator' AND datname = current_database()"
    )

    async def seen() -> bool:
        return isinstance(await store.find(view), StoredJob)

    await eventually(seen)


async def test_deletion_while_nats_is_unreachable_keeps_the_job(
    store: PostgresStore, migrated_url: str, connection: asyncpg.Connection, unused_tcp_port: int
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    async with (
        JetStreamLags(BusAddress(f"nats://127.0.0.1:{unused_tcp_port}", "u", "p")) as nowhere,
        PostgresStore(migrated_url, nowhere) as cut_off,
    ):
        answer = await cut_off.act(StoreAction.DELETE, view)
        assert answer is not None
        assert (answer.reason, answer.passing) == (JobReason.NATS_UNREACHABLE, True)
    assert isinstance(await store.find(view), StoredJob)


async def test_a_wait_for_a_locked_table_names_who_holds_it(
    connection: asyncpg.Connection, store: PostgresStore
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    async with connection.transaction():
        await connection.execute("LOCK TABLE vaultstream.jobs")
        answer = await trouble(store, view)
    assert (answer.reason, answer.passing) == (JobReason.DATABASE_REFUSES, True)
    assert f"process {connection.get_server_pid()} of the user postgres" in answer.problem
    assert "pg_terminate_backend" in answer.problem
    assert isinstance(await store.find(view), StoredJob)
