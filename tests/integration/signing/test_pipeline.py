"""One signer on real services, disturbed on its way from fetch to ack."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from support.deliveries import Deliveries, deliveries, outcomes, payloads
from support.engine import add_table, expire, history_of, lease_of, lease_one, new_name, signatures_of
from support.signer import Bench, fetch_all, open_bench
from support.waiting import eventually
from vaultstream.bus.pull import BatchPuller
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import RECORDS_STREAM
from vaultstream.crypto.revocations import Revocation, add_revocations
from vaultstream.local.services import Services
from vaultstream.records import worker
from vaultstream.signing import failures, hold, lease, pipeline
from vaultstream.signing.batch import Batch
from vaultstream.signing.fetch import fetch
from vaultstream.signing.pace import Pace
from vaultstream.store import keys
from vaultstream.store.leases import Lease
from vaultstream.store.progress import read_job

__all__ = ["deliveries"]

pytestmark = pytest.mark.integration


async def slow_view(db: asyncpg.Connection, count: int, *, seconds: float) -> str:
    """A source that takes its time once for each batch: at its records 1, 11, 21, ..."""
    table, view = await add_table(db, range(1, count + 1)), new_name("slow")
    await db.execute(
        f"CREATE FUNCTION {view}() RETURNS text STABLE LANGUAGE plpgsql "
        f"AS 'BEGIN PERFORM pg_sleep({seconds}); RETURN 1; END';"
        f"CREATE VIEW {view} AS SELECT id, CASE WHEN id % 10 <> 1 OR {view}() = '1' THEN payload END AS payload "
        f"FROM {table}"
    )
    return view


async def held_leases(bench: Bench) -> list[Lease]:
    rows = await bench.db.fetch(
        "SELECT key_no, key_id, epoch, clock_timestamp() AS answered_at FROM vaultstream.keys WHERE job_no = $1 AND holder IS NOT NULL",
        bench.job.job_no,
    )
    return [lease_of(row, "somebody", seconds=0) for row in rows]


async def test_a_job_is_signed_to_its_end(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    async with open_bench(services, engine_url, db, await add_table(db, range(1, 96))) as bench:
        await bench.run()
        await bench.assert_ended_well(payloads(95))
        assert await outcomes(bench) == ["committed"] * 10


async def test_the_one_unreadable_record_becomes_a_dead_letter_and_the_rest_is_signed(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    table, view = await add_table(db, range(1, 51)), new_name("view")
    await db.execute(
        f"CREATE VIEW {view} AS SELECT id, CASE WHEN 1 / (id - 23) IS NOT NULL THEN payload END AS payload FROM {table}"
    )
    async with open_bench(services, engine_url, db, view) as bench:
        await bench.run()
        await bench.assert_ended_well(payloads(50), dead=frozenset({"23"}))
        message = await db.fetchval(
            "SELECT message FROM vaultstream.dead_letters WHERE job_no = $1", bench.job.job_no
        )
        assert "division by zero" in message


async def test_a_source_slower_than_a_lease_is_signed_under_renewed_leases(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    """With more slow reads at a time than there are connections to read them over."""
    view = await slow_view(db, 60, seconds=1.2)
    async with open_bench(services, engine_url, db, view, key_count=8) as bench:
        await bench.run(concurrency=6, lease_seconds=1.0)
        await bench.assert_ended_well(payloads(60))
        assert await outcomes(bench) == ["committed"] * 6


@pytest.mark.parametrize("how", ["expired", "revoked"])
async def test_a_signer_fenced_in_mid_batch_writes_nothing_of_it(
    services: Services, engine_url: str, db: asyncpg.Connection, how: str
) -> None:
    view = await slow_view(db, 10, seconds=0.7)
    async with open_bench(services, engine_url, db, view, key_count=2) as bench:

        async def fence() -> None:
            [lease] = await eventually(lambda: held_leases(bench))
            if how == "expired":
                await expire(db, lease)
            else:
                await keys.end_keys(db, bench.job.job_no, [lease.key_id], state="revoked")

            async def given_to_another_lease() -> bool:
                return bool([each for each in await held_leases(bench) if each != lease])

            await eventually(given_to_another_lease)
            assert await bench.signed() == 0

        await bench.run(during=fence)
        await bench.assert_ended_well(payloads(10))
        assert await outcomes(bench) == ["committed", how]


async def test_a_key_that_the_file_of_revocations_names_signs_nothing_though_postgres_leases_it(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    """There is no keys worker that would revoke it again: the other keys do the work."""
    async with open_bench(services, engine_url, db, await add_table(db, range(60)), key_count=3) as bench:
        [revoked, *_] = await keys.list_keys(db, bench.job.job_no)
        file = services.kek_file.with_name("revocations")
        entry = Revocation.of(revoked.key_id, revoked.public_key, at=datetime.now(UTC))
        assert add_revocations(file, [entry]) == [entry]
        await bench.run(concurrency=1)
        await bench.assert_ended_well({n: f"payload of {n}".encode() for n in range(60)})
        history = await history_of(db, bench.job)
        assert {how for key_no, _, how in history if key_no == revoked.key_no} == {"released"}
        assert {how for key_no, _, how in history if key_no != revoked.key_no} == {"committed"}


async def test_a_missing_table_of_signatures_costs_no_record(
    services: Services,
    engine_url: str,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A person has to fix it; until then batches wait, and none is counted as failed."""
    monkeypatch.setattr(failures, "MISCONFIGURED_SECONDS", 0.1)
    caplog.set_level(logging.WARNING)
    async with open_bench(services, engine_url, db, await add_table(db, range(1, 26))) as bench:
        own = bench.job.signatures_table
        await db.execute(f"ALTER TABLE {own} RENAME TO away")

        async def fix() -> None:
            async def tried() -> bool:
                return "waits until this is fixed" in caplog.text

            await eventually(tried)
            await db.execute(f"ALTER TABLE vaultstream.away RENAME TO {own.partition('.')[2]}")

        await bench.run(during=fix)
        await bench.assert_ended_well(payloads(25))
        assert (await read_job(db, bench.job.token)).progress.batches == 3


async def test_a_connection_that_breaks_costs_no_record(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    view = await slow_view(db, 60, seconds=0.1)
    async with open_bench(services, engine_url, db, view) as bench:

        async def cut() -> None:
            for floor in (1, 20, 40):

                async def so_many(floor: int = floor) -> bool:
                    return await bench.signed() >= floor

                await eventually(so_many)
                await db.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

        await bench.run(during=cut, lease_seconds=2.0)
        await bench.assert_ended_well(payloads(60))


async def test_a_batch_delivered_twice_is_signed_once(
    services: Services, engine_url: str, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "RECONCILE_SECONDS", 60.0)
    view = await slow_view(db, 30, seconds=0.3)
    async with open_bench(services, engine_url, db, view, key_count=6) as bench, bench.signer() as signer:
        stream = RecordsStream(signer.context.bus)
        planning = asyncio.create_task(bench.records_worker())

        async def all_published() -> bool:
            lag = await stream.lag(bench.job.token)
            return lag is not None and lag.total == 3

        await eventually(all_published)
        for generation in ("again", "and again"):
            await stream.publish(bench.job.token, [1, 2, 3], generation=generation)
        signing = asyncio.create_task(signer.pipeline.run(signer.context.stop))
        await asyncio.wait_for(planning, 60)
        signer.context.stop.set()
        await asyncio.wait_for(signing, 60)
        await bench.assert_ended_well(payloads(30))
        assert await outcomes(bench) == ["committed"] * 3


async def test_a_signer_that_drains_finishes_its_batches_in_flight_and_fetches_no_more(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    view = await slow_view(db, 100, seconds=0.4)
    async with open_bench(services, engine_url, db, view, key_count=2) as bench:
        planning = asyncio.create_task(bench.records_worker())
        async with bench.signer(concurrency=6) as signer:
            signing = asyncio.create_task(signer.pipeline.run(signer.context.stop))

            async def one_waits_for_a_key() -> bool:
                return bool(signer.pipeline.in_flight > await bench.held_keys() == 2)

            await eventually(one_waits_for_a_key)
            fetched = signer.pipeline.in_flight
            signer.context.stop.set()
            await asyncio.wait_for(signing, 5)
            assert signer.pipeline.in_flight == 0

            async def all_acknowledged() -> ConsumerInfo | None:
                info = await signer.context.bus.jetstream.consumer_info(RECORDS_STREAM, bench.job.token)
                return None if info.num_ack_pending else info

            consumer = await eventually(
                all_acknowledged, seconds=5
            )  # NATS counts an ack after it has received it
        assert await bench.held_keys() == 0
        committed = await outcomes(bench)
        assert set(committed) == {"committed"}
        assert fetched <= len(committed) < 10
        assert consumer.delivered is not None
        assert consumer.delivered.consumer_seq == len(committed)
        async with bench.signer(concurrency=2) as other:
            signing = asyncio.create_task(other.pipeline.run(other.context.stop))
            await asyncio.wait_for(planning, 60)
            other.context.stop.set()
            await signing
        await bench.assert_ended_well(payloads(100))


async def test_a_batch_without_a_key_is_returned_to_the_queue_at_once_when_its_signer_drains(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    """Others have all the keys, and nobody waits for them: the end comes before any ack wait is over."""
    async with open_bench(services, engine_url, db, await add_table(db, range(1, 31)), key_count=1) as bench:
        theirs = await lease_one(db, bench.job, "somebody else", seconds=600)
        assert theirs is not None
        planning = asyncio.create_task(bench.records_worker())
        async with bench.signer(concurrency=3, ack_wait_seconds=60.0) as signer:
            signing = asyncio.create_task(signer.pipeline.run(signer.context.stop))

            async def some_fetched() -> bool:
                return bool(signer.pipeline.in_flight)

            await eventually(some_fetched)
            signer.context.stop.set()
            await asyncio.wait_for(signing, 2)
            assert signer.pipeline.in_flight == 0
        await db.execute(
            "SELECT vaultstream.release_keys('somebody else', $1, $2)", [theirs.key_no], [theirs.epoch]
        )
        async with bench.signer(concurrency=3) as another:
            signing = asyncio.create_task(another.pipeline.run(another.context.stop))
            await asyncio.wait_for(planning, 60)
            another.context.stop.set()
            await asyncio.wait_for(signing, 60)
        await bench.assert_ended_well(payloads(30))


async def test_a_batch_that_found_no_key_waits_until_one_of_its_signer_is_free(
    services: Services, engine_url: str, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim by itself would cost as much as that of a group, and find nothing."""
    claims: list[tuple[bool, int, int]] = []

    async with open_bench(
        services, engine_url, db, await slow_view(db, 300, seconds=0.02), key_count=4
    ) as bench:
        for _ in range(2):
            assert await lease_one(db, bench.job, "somebody else", seconds=600)
        planning = asyncio.create_task(bench.records_worker())
        async with bench.signer(concurrency=4) as signer:

            async def claim(*arguments: Any, **options: Any) -> lease.Leased:
                held = await bench.held_keys() - 2
                before = signer.pipeline.committed
                leased = await lease.lease(*arguments, **options)
                claims.append((leased.short, held, before))
                return leased

            monkeypatch.setattr(pipeline, "lease", claim)
            signing = asyncio.create_task(signer.pipeline.run(signer.context.stop))
            await asyncio.wait_for(planning, 60)
            signer.context.stop.set()
            await asyncio.wait_for(signing, 60)
        assert await outcomes(bench) == ["committed"] * 30
    after_short = [
        (before, later) for (short, held, before), (_, _, later) in pairwise(claims) if short and held
    ]
    assert after_short
    assert all(before < later for before, later in after_short)


async def test_batches_that_found_no_key_are_claimed_together_once_all_keys_are_free(
    services: Services, engine_url: str, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claims grow from one on, because of the others that also waited."""
    granted: list[int] = []
    short = asyncio.Event()

    async def claim(*arguments: Any, **options: Any) -> lease.Leased:
        leased = await lease.lease(*arguments, **options)
        if leased.batches:
            granted.append(len(leased.batches))
        elif len(leased.keyless) == 12:
            short.set()
        return leased

    def experienced(batch_size: int, concurrency: int) -> Pace:
        pace = Pace(batch_size, concurrency)
        pace.signed(concurrency, concurrency * batch_size, 0.001)
        return pace

    monkeypatch.setattr(pipeline, "lease", claim)

    async def all_at_once(puller: BatchPuller, count: int, *, wait_seconds: float) -> list[Batch]:
        monkeypatch.setattr(pipeline, "fetch", fetch)
        assert count == 12, wait_seconds
        return await fetch_all(puller, count)

    monkeypatch.setattr(pipeline, "fetch", all_at_once)
    monkeypatch.setattr(pipeline, "Pace", experienced)
    table = await add_table(db, range(1, 121))
    async with open_bench(services, engine_url, db, table, key_count=24) as bench:
        theirs = [await lease_one(db, bench.job, "somebody else", seconds=600) for _ in range(24)]
        planning = asyncio.create_task(bench.records_worker())
        async with bench.signer(concurrency=24) as signer:

            async def all_published() -> bool:
                try:
                    info = await signer.context.bus.jetstream.consumer_info(RECORDS_STREAM, bench.job.token)
                except NotFoundError:
                    return False
                return info.num_pending == 12

            await eventually(all_published)
            signing = asyncio.create_task(signer.pipeline.run(signer.context.stop))
            await asyncio.wait_for(short.wait(), 60)
            assert not granted
            await db.execute(
                "SELECT vaultstream.release_keys('somebody else', $1, $2)",
                [each.key_no for each in theirs if each],
                [each.epoch for each in theirs if each],
            )
            await asyncio.wait_for(planning, 60)
            signer.context.stop.set()
            await asyncio.wait_for(signing, 60)
    assert (sum(granted), len(granted) <= 8) == (12, True), granted


async def test_a_signer_that_drains_waits_for_a_key_that_is_only_locked(
    services: Services, engine_url: str, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim skips the row of a key that is being renewed or was just released, though the key is free."""
    claims = 0

    async def claim(*arguments: Any, **options: Any) -> lease.Leased:
        nonlocal claims
        claims += 1
        return await lease.lease(*arguments, **options)

    monkeypatch.setattr(pipeline, "lease", claim)
    async with open_bench(services, engine_url, db, await add_table(db, range(1, 31)), key_count=1) as bench:
        planning = asyncio.create_task(bench.records_worker())
        async with bench.signer(ack_wait_seconds=60.0) as signer:
            async with db.transaction():
                await db.execute(
                    "SELECT FROM vaultstream.keys WHERE job_no = $1 FOR NO KEY UPDATE", bench.job.job_no
                )
                signing = asyncio.create_task(signer.pipeline.run(signer.context.stop))
                await eventually(lambda: signer.pipeline.in_flight)
                fetched = signer.pipeline.in_flight
                signer.context.stop.set()
                before = claims
                await eventually(lambda: claims >= before + 3 or signing.done())
            await asyncio.wait_for(signing, 5)
        planning.cancel()
        assert await outcomes(bench) == ["committed"] * fetched


async def test_a_signer_with_a_broken_step_exits_instead_of_holding_its_keys_forever(
    services: Services,
    engine_url: str,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    deliveries: Deliveries,
) -> None:
    async def broken(_: object) -> None:
        raise RuntimeError("nobody expects this")

    deliveries.some_stay = True
    whole = hold.ack
    monkeypatch.setattr(hold, "ack", broken)
    async with open_bench(services, engine_url, db, await add_table(db, range(1, 31))) as bench:
        planning = asyncio.create_task(bench.records_worker())
        async with bench.signer(lease_seconds=1.0) as signer:
            with pytest.raises(RuntimeError, match="nobody expects"):
                await asyncio.wait_for(signer.pipeline.run(signer.context.stop), 15)
        monkeypatch.setattr(hold, "ack", whole)
        async with bench.signer() as other:
            signing = asyncio.create_task(other.pipeline.run(other.context.stop))
            await asyncio.wait_for(planning, 60)
            other.context.stop.set()
            await signing
        assert len(await signatures_of(db, bench.job)) == 30


async def test_a_signer_without_time_to_finish_releases_its_keys_and_returns_its_batches(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    """Nobody has to wait for its one-minute leases to expire."""
    view = await slow_view(db, 30, seconds=3.0)
    async with open_bench(services, engine_url, db, view, key_count=3) as bench:
        planning = asyncio.create_task(bench.records_worker())
        async with bench.signer(lease_seconds=60.0, ack_wait_seconds=60.0, drain_seconds=0.2) as signer:
            signing = asyncio.create_task(signer.pipeline.run(signer.context.stop))
            await eventually(lambda: held_leases(bench))
            signer.context.stop.set()
            await asyncio.wait_for(signing, 2)
            assert (await held_leases(bench), signer.pipeline.committed) == ([], 0)
        assert set(await outcomes(bench)) == {"released"}
        async with bench.signer() as another:
            signing = asyncio.create_task(another.pipeline.run(another.context.stop))
            await asyncio.wait_for(planning, 60)
            another.context.stop.set()
            await asyncio.wait_for(signing, 60)
        await bench.assert_ended_well(payloads(30))
