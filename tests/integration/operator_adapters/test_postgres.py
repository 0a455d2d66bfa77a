"""SigningJobs in a real Postgres: created once, read, changed and removed; errors are explained in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from support.engine import add_batches, claim_one, signed
from support.planning import job_of, spec_of
from support.waiting import eventually
from vaultstream.bus.connection import Bus, BusAddress
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.records import RecordsStream
from vaultstream.scaling.reasons import Reason
from vaultstream.store import jobs, schema
from vaultstream.store.database import connect
from vaultstream.store.leases import commit_batches
from vaultstream_operator.adapters.jetstream import JetStreamLags
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.api.reasons import JobReason, say
from vaultstream_operator.api.status import JobStatus, ScalingStatus
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import ObjectView, StoredJob, Trouble

pytestmark = pytest.mark.integration

NAME = "shop/receipts"
SPEC = spec_of(keys={"count": 2}, batchSize=2)


async def made(store: PostgresStore, view: ObjectView) -> StoredJob:
    assert await store.find(view) is None
    assert await store.act(StoreAction.CREATE, view) is None
    return await found(store, view)


async def found(store: PostgresStore, view: ObjectView) -> StoredJob:
    stored = await store.find(view)
    assert isinstance(stored, StoredJob), stored
    return stored


async def trouble(store: PostgresStore, view: ObjectView) -> Trouble:
    stored = await store.find(view)
    assert isinstance(stored, Trouble), stored
    return stored


async def add_keys(connection: asyncpg.Connection, job: jobs.Job, count: int) -> None:
    await connection.execute(
        "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key) "
        "SELECT $1, n, $2 || '-' || n, 'ED25519', '' FROM generate_series(1, $3::int) AS n",
        job.job_no,
        job.token,
        count,
    )


async def test_a_job_is_made_for_its_object(store: PostgresStore, connection: asyncpg.Connection) -> None:
    view = job_of(SPEC)
    stored = await made(store, view)
    job = await jobs.get_job(connection, NAME)
    assert (job.owner_uid, job.spec) == (view.owner.uid, SPEC)
    assert (stored.token, stored.state, stored.ours) == (job.token, "Pending", True)
    assert (stored.keys_active, stored.keys_made, stored.published) == (None, 0, False)
    assert (stored.progress.records_left, stored.progress.records_per_second) == (None, None)
    assert not stored.progress.done


async def test_two_operators_that_make_a_job_at_once_make_one(
    migrated_url: str, lags: JetStreamLags, connection: asyncpg.Connection
) -> None:
    view = job_of(SPEC)
    async with PostgresStore(migrated_url, lags) as one, PostgresStore(migrated_url, lags) as other:
        stores = [one, other] * 4
        answers = await asyncio.gather(*(store.act(StoreAction.CREATE, view) for store in stores))
        assert answers == [None] * 8
        assert await one.find(view) == await other.find(view)
    assert await connection.fetchval("SELECT count(*) FROM vaultstream.jobs") == 1


async def test_counts_lag_and_keys_are_those_of_postgres(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    job = await jobs.get_job(connection, NAME)
    first, *_ = await add_batches(connection, job, [1, 2], [3, 4], [5, 6])
    await add_keys(connection, job, 1)
    assert (await found(store, view)).keys_active is None
    await connection.execute("DELETE FROM vaultstream.keys")
    await add_keys(connection, job, 2)
    lease = await claim_one(connection, job, "receipts-signing-abc-x1:7:ff00", first)
    assert await store.busy_pods(job.token) == {"receipts-signing-abc-x1"}
    batch = signed(first, lease, [1], dead=[2])
    await commit_batches(connection, job.job_no, "receipts-signing-abc-x1:7:ff00", [batch], id_type="bigint")
    await connection.execute("UPDATE vaultstream.jobs SET published_through = 2")

    stored = await found(store, view)
    assert (stored.records, stored.signed, stored.dead, stored.planned) == (6, 1, 1, True)
    assert (stored.progress.records_left, stored.progress.batches_left) == (4, 2)
    assert (stored.batches_unpublished, stored.published) == (1, True)
    assert (stored.keys_active, stored.keys_made) == (2, 2)
    assert await store.busy_pods(job.token) == set()


async def test_a_rate_is_unknown_before_there_was_time_to_measure_it(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    job = await jobs.get_job(connection, NAME)
    await add_batches(connection, job, [1, 2], [3, 4], [5, 6])
    assert (await found(store, view)).progress.records_per_second is None
    await connection.execute(
        "UPDATE vaultstream.batches SET state = 'done', signed = 2, settled_at = now() WHERE batch_no = 1"
    )
    assert (await found(store, view)).progress.records_per_second is None
    await connection.execute(
        "UPDATE vaultstream.batches SET settled_at = now() - interval '4 s' WHERE batch_no = 1"
    )
    rate = (await found(store, view)).progress.records_per_second
    assert rate == pytest.approx(0.5, rel=0.2)


async def test_a_rate_settles_for_one_window_after_the_number_of_signers_changed(
    store: PostgresStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaultstream.scaling.workload.RATE_WINDOW_SECONDS", 0.2)
    view = job_of(SPEC)
    await made(store, view)
    await add_batches(connection, await jobs.get_job(connection, NAME), [1, 2])

    async def settles(ready: int) -> bool:
        scaling = ScalingStatus(replicas=2, desired=2, ready=ready, reason="Lag", formula="", message="")
        seen = replace(view, status=JobStatus(scaling=scaling))
        return (await found(store, seen)).progress.settling

    async def settled(ready: int) -> bool:
        return not await settles(ready)

    assert await settles(1)
    await eventually(lambda: settled(1))
    assert await settles(2)
    await eventually(lambda: settled(2))


async def test_a_rate_of_zero_says_that_signers_had_time_and_work(
    store: PostgresStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaultstream.scaling.workload.RATE_WINDOW_SECONDS", 0.2)
    view = job_of(SPEC)
    await made(store, view)
    await add_batches(connection, await jobs.get_job(connection, NAME), [1, 2])
    assert (await found(store, view)).progress.records_per_second is None  # no signer was ready
    scaling = ScalingStatus(replicas=2, desired=2, ready=2, reason="Lag", formula="", message="")
    at_work = replace(view, status=JobStatus(scaling=scaling))

    async def stalled() -> bool:
        return (await found(store, at_work)).progress.records_per_second == 0.0

    assert not await stalled()
    await eventually(stalled)


async def test_suspending_resuming_changing_and_failing(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    for _ in range(2):
        assert await store.act(StoreAction.SUSPEND, view) is None
    assert (await found(store, view)).state == "Suspended"
    assert await store.act(StoreAction.RESUME, view) is None
    assert (await found(store, view)).state == "Pending"
    changed = spec_of(keys={"count": 9}, batchSize=7, scaling={"maxReplicaCount": 3}, activeDeadlineSeconds=5)
    assert await store.act(StoreAction.UPDATE_SPEC, replace(view, spec=changed)) is None
    spec = (await found(store, view)).spec
    assert (spec.scaling.max_replica_count, spec.batch_size, spec.keys.count) == (3, 2, 2)
    assert await store.act(StoreAction.FAIL, view) is None
    assert (await found(store, view)).state == "Pending"
    await connection.execute("UPDATE vaultstream.jobs SET started_at = now() - interval '6 s'")
    assert await store.act(StoreAction.FAIL, view) is None
    stored = await found(store, view)
    assert (stored.state, stored.message.split(":")[0]) == ("Failed", "DeadlineExceeded")


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_deletion_takes_jetstream_in_any_case_and_signatures_by_policy(
    store: PostgresStore, connection: asyncpg.Connection, bus: Bus, lags: JetStreamLags, policy: str
) -> None:
    view = job_of(SPEC.model_copy(update={"deletion_policy": policy}))
    stored = await made(store, view)
    stream, keys = RecordsStream(bus), KeysStream(bus)
    await stream.ensure()
    await keys.ensure()
    await stream.ensure_consumer(stored.token, ack_wait_seconds=30, max_ack_pending=10)
    await stream.publish(stored.token, [1, 2])

    async def deleted() -> bool:
        return await store.act(StoreAction.DELETE, view) is None

    await eventually(deleted)  # the connection to NATS may just be being made
    assert await store.find(view) is None
    assert await lags.read(stored.token) is Reason.CONSUMER_MISSING
    assert await stream.present(stored.token) == set()
    kept = await jobs.find_job(connection, stored.token)
    assert (kept is None) is (policy == "Delete")
    assert await store.act(StoreAction.DELETE, view) is None


async def test_a_deletion_that_waits_for_an_open_transaction_names_it_and_delays_no_other_job(
    store: PostgresStore, connection: asyncpg.Connection, lags: JetStreamLags
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    await eventually(lambda: _connected(lags))
    await connection.execute("ALTER FUNCTION vaultstream.delete_job SET lock_timeout = '300ms'")
    async with connection.transaction():
        await connection.execute("SELECT FROM vaultstream.jobs FOR UPDATE")
        answer = await store.act(StoreAction.DELETE, view)
        assert isinstance(answer, Trouble)
        assert (answer.reason, answer.passing) == (JobReason.DATABASE_REFUSES, True)
        assert f"process {connection.get_server_pid()} of the user" in answer.problem
        assert "credentials" not in say(answer.reason, problem=answer.problem).message
        assert isinstance(await store.find(view), StoredJob)
    assert await store.act(StoreAction.DELETE, view) is None


async def test_a_name_used_again_removes_the_former_job_and_only_that(
    store: PostgresStore, connection: asyncpg.Connection, lags: JetStreamLags
) -> None:
    former = job_of(SPEC)
    token = (await made(store, former)).token
    owner = replace(former.owner, uid="7c9e6679-7425-40de-944b-e07fc1f90ae7")
    view = replace(former, owner=owner)
    assert not (await found(store, view)).ours
    await eventually(lambda: _connected(lags))
    assert await store.act(StoreAction.REMOVE_FORMER, view) is None
    stored = await made(store, view)
    assert stored.ours
    assert stored.token != token
    assert await store.act(StoreAction.REMOVE_FORMER, view) is None
    assert await store.act(StoreAction.DELETE, former) is None
    assert (await found(store, view)).token == stored.token


async def _connected(lags: JetStreamLags) -> bool:
    return await lags.read("nothing") is Reason.CONSUMER_MISSING


# -- what is wrong, in words


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
