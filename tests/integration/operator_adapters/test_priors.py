"""What a job has shown is in Postgres for the next one of its kind, and for no other."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace

import asyncpg
import pytest

from integration.operator_adapters.stored import SPEC, found, made
from support.engine import add_batches
from support.planning import job_of, spec_of
from support.waiting import eventually
from vaultstream.scaling.history import History
from vaultstream.scaling.prior import Prior
from vaultstream.scaling.throughput import Seen
from vaultstream.store import jobs
from vaultstream.store.priors import JobKind, dispensable, learn
from vaultstream_operator.adapters.jetstream import JetStreamLags
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.core.memory import ScalingMemory
from vaultstream_operator.core.view import ObjectView

pytestmark = pytest.mark.integration

RATES = tuple(Seen(signers=count, rate=1_000.0 * count, samples=3, at=time.time()) for count in (4, 16))
KIND = JobKind("", "ED25519", 1, 0, "{}")
SHOWN = History(seen=RATES, starts=(6.0,)).changed(0, 16, reason="WorkLeft", now=1.0)


async def test_the_next_job_of_the_kind_begins_with_what_one_has_shown(
    store: PostgresStore, migrated_url: str, lags: JetStreamLags, connection: asyncpg.Connection
) -> None:
    first, other = job_of(SPEC), another("other", batchSize=7)
    assert (await made(store, first)).prior == Prior()
    assert await store.remember(ScalingMemory(SHOWN, generation=1), first) is None
    async with PostgresStore(migrated_url, lags) as restarted:
        following = another("next")
        await made(restarted, following)

        async def learned() -> Prior | None:
            """A read that takes too long is left out of a reconcile."""
            prior = (await found(restarted, following)).prior
            return prior if prior.seen else None

        prior = await eventually(learned)
        assert {one.signers: one.rate for one in prior.seen} == {4: 4_000.0, 16: 16_000.0}
        assert [one.seconds for one in prior.starts] == [6.0]
        assert (await made(restarted, other)).prior == Prior()  # its batches have another size
        assert (await found(restarted, first)).prior == prior  # the operator may be replaced meanwhile
    assert await connection.fetchval("SELECT count(*) FROM vaultstream.priors") == 1


async def test_a_prior_is_written_once_for_each_change_of_the_count(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    memory = ScalingMemory(SHOWN, generation=1)
    await store.remember(memory, view)
    written = await connection.fetchval("SELECT written_at FROM vaultstream.priors")
    assert written is not None
    await store.remember(replace(memory, history=SHOWN.but(last_active_at=9.0)), view)
    more = SHOWN.changed(16, 20, reason="WorkLeft", now=2.0)
    await store.remember(replace(memory, history=more), view)  # the same rates
    assert await connection.fetchval("SELECT written_at FROM vaultstream.priors") == written


async def test_the_drain_of_a_job_is_learned_though_no_signer_was_left_when_it_was_complete(
    store: PostgresStore, migrated_url: str, lags: JetStreamLags, connection: asyncpg.Connection
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    job = await jobs.get_job(connection, view.owner.namespace + "/" + view.owner.name)
    await add_batches(connection, job, [1])
    gone = ScalingMemory(SHOWN.changed(16, 0, reason="JobDone", now=2.0), generation=1)
    assert await store.remember(gone, view) is None
    await connection.execute(
        "UPDATE vaultstream.batches SET state = 'done', signed = 1, settled_at = '2026-01-01 00:00:01Z'"
    )
    await connection.execute(
        "UPDATE vaultstream.jobs SET state = 'Complete', started_at = '2026-01-01Z', finished_at = '2026-01-01 00:00:04Z'"
    )
    await found(store, view)
    assert await store.remember(gone, view) is None
    async with PostgresStore(migrated_url, lags) as restarted:
        prior = (await made(restarted, another("next"))).prior
    assert [one.seconds for one in prior.drains] == [3.0]


async def test_a_prior_that_can_not_be_read_is_none(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    view = job_of(SPEC)
    await made(store, view)
    await store.remember(ScalingMemory(SHOWN, generation=1), view)
    await connection.execute("""UPDATE vaultstream.priors SET prior = '{"seen": 7}'""")
    assert (await made(store, another("next"))).prior == Prior()


async def test_a_job_that_has_ended_does_not_fail_because_postgres_takes_no_prior(
    connection: asyncpg.Connection,
) -> None:
    await connection.execute("SET default_transaction_read_only = on")  # as after a failover
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await learn(connection, KIND, 1, SHOWN)
    async with dispensable():
        await learn(connection, KIND, 1, SHOWN)
    assert await connection.fetchval("SELECT count(*) FROM vaultstream.priors") == 0


def another(name: str, **fields: object) -> ObjectView:
    view = job_of(spec_of(**{"keys": {"count": 2}, "batchSize": 2, **fields}))
    return replace(view, owner=replace(view.owner, name=name, uid=str(uuid.uuid4())))
