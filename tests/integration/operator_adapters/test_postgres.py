"""SigningJobs in a real Postgres: created once, read, changed and removed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from integration.operator_adapters.stored import SPEC, found, made
from support.as_user import connect
from support.engine import add_batches, claim_one, signed
from support.planning import job_of, spec_of
from support.waiting import eventually
from vaultstream.bus.connection import Bus
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.records import RecordsStream
from vaultstream.scaling.reasons import Reason
from vaultstream.store import jobs
from vaultstream.store.leases import commit_batches
from vaultstream_operator.adapters.jetstream import JetStreamLags
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.api.reasons import JobReason, say
from vaultstream_operator.api.status import JobStatus, ScalingStatus
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import StoredJob, Trouble

pytestmark = pytest.mark.integration

NAME = "shop/receipts"


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
        found_by_one, found_by_other = await one.find(view), await other.find(view)
        assert found_by_one
        assert found_by_other
        assert replace(found_by_other, read_at=found_by_one.read_at) == found_by_one
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


async def test_the_rate_of_a_job_that_has_ended_counts_the_time_in_which_somebody_worked(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    job = await jobs.get_job(connection, NAME)
    await add_batches(connection, job, [1, 2], [3, 4])
    await add_keys(connection, job, 1)
    key = await connection.fetchval("SELECT key_no FROM vaultstream.keys")
    await connection.executemany(  # suspended, or between its end and a retry, for 400 s
        "INSERT INTO vaultstream.leases (key_no, epoch, holder, during, outcome) VALUES ($1, $2, 'h', "
        "tstzrange('2026-01-01Z'::timestamptz + make_interval(secs => $3), "
        "'2026-01-01Z'::timestamptz + make_interval(secs => $4)), 'released')",
        [(key, 1, 0.0, 2.0), (key, 2, 402.0, 404.0)],
    )
    await connection.execute(
        "UPDATE vaultstream.batches SET state = 'done', signed = 2, settled_at = '2026-01-01 00:06:44Z'"
    )
    await connection.execute("UPDATE vaultstream.keys SET done = 2, signed = 4")
    await connection.execute(
        "UPDATE vaultstream.jobs SET state = 'Complete', started_at = '2026-01-01Z', finished_at = '2026-01-01 00:06:44Z'"
    )
    assert (await found(store, view)).records_per_second == pytest.approx(1.0)


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


async def test_the_batches_that_a_table_is_expected_to_have_count_before_they_are_planned(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    rows = await connection.fetchval(f"SELECT count(*) FROM {SPEC.records.table}")
    await connection.execute(f"ANALYZE {SPEC.records.table}")
    store.forget(view.owner.namespace, view.owner.name)
    stored = await found(store, view)
    assert stored.progress.records_expected == rows
    assert stored.batches_unplanned == -(-rows // SPEC.batch_size)


@pytest.mark.parametrize("rows", ["Infinity", "NaN", "1e38", "1e-38"])
async def test_no_number_of_rows_that_the_owner_of_a_table_has_set_keeps_its_job_from_being_read(
    store: PostgresStore, connection: asyncpg.Connection, rows: str
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    job = await jobs.get_job(connection, NAME)
    await connection.execute(
        "UPDATE pg_class SET reltuples = $2::text::real, relpages = 2147483647 WHERE oid = $1",
        job.source_oid,
        rows,
    )
    store.forget(view.owner.namespace, view.owner.name)  # read again
    for one in (view, replace(view, deleting=True)):
        assert (await found(store, one)).batches_unplanned >= 0


async def test_the_free_connections_of_postgres_come_with_the_job(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    stored = await made(store, job_of(SPEC))
    most = int(await connection.fetchval("SHOW max_connections"))
    assert stored.connections_left is not None
    assert 0 < stored.connections_left <= most - 2  # this test and the store are connected


async def test_no_lock_on_a_partition_keeps_the_job_of_its_table_from_being_read(
    store: PostgresStore, connection: asyncpg.Connection, migrated_url: str
) -> None:
    await connection.execute(
        "DROP TABLE public.receipts; CREATE TABLE public.receipts (id bigint PRIMARY KEY, payload text) PARTITION BY RANGE (id)"
    )
    for part in range(3):
        await connection.execute(
            f"CREATE TABLE public.part_{part} PARTITION OF public.receipts FOR VALUES FROM ({part * 10}) TO ({part * 10 + 10})"
        )
    await connection.execute(
        "INSERT INTO public.receipts SELECT n, 'x' FROM generate_series(0, 29) AS n; ANALYZE public.receipts"
    )
    view = job_of(SPEC)
    async with connect(migrated_url) as owner, owner.transaction():
        assert await store.act(StoreAction.CREATE, view) is None
        await owner.execute("LOCK TABLE public.part_1 IN ACCESS EXCLUSIVE MODE")
        stored = await asyncio.wait_for(found(store, view), 4)
    assert stored.batches_unplanned == 15  # 30 records in batches of two
