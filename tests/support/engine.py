"""Jobs, keys, batches and sources for tests of the engine's parts, made with the product's own functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

import asyncpg

from support.as_user import connect
from support.waiting import eventually
from vaultstream.api import SigningJobSpec
from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import Bus, connect_bus
from vaultstream.crypto.rows import HEAD_BYTES, Rows
from vaultstream.local.services import Services
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.merkle import tree_root
from vaultstream.proof.statement import BatchStatement, record_hashes, signed_bytes
from vaultstream.settings import Settings, load_settings
from vaultstream.store import schema
from vaultstream.store.batches import Failure, fail_batch
from vaultstream.store.database import open_pool
from vaultstream.store.jobs import Job, create_job, get_job
from vaultstream.store.leases import (
    DatabaseClock,
    DeadRecord,
    Lease,
    SignedBatch,
    claim_batches,
    commit_batches,
    lease_clock,
)
from vaultstream.store.progress import read_job
from vaultstream.store.source_login import SourceDatabase, find_place
from vaultstream.store.source_pool import SourcePool, open_source_pool
from vaultstream.store.sql import query
from vaultstream.worker import WorkerContext


def new_name(prefix: str = "t") -> str:
    return f"{prefix}_{uuid4().hex[:12]}"


def make_spec(table: str = "nowhere", *, key_count: int = 3, **wanted: Any) -> SigningJobSpec:
    """Returns a spec with a single attempt per batch, unless `wanted` (names as in YAML) says otherwise."""
    document: dict[str, Any] = {
        "records": {"table": table},
        "batchSize": 10,
        "keys": {"count": key_count, "algorithm": "ED25519"},
        "retries": {"maxAttempts": 1, "backoff": {"initialSeconds": 0.01, "maxSeconds": 0.02}},
    }
    return SigningJobSpec.model_validate({**document, **wanted})


async def add_table(
    connection: asyncpg.Connection,
    ids: Iterable[Any] = (),
    *,
    id_type: str = "bigint",
    payload_type: str = "bytea",
    unique: bool = True,
    name: str | None = None,
) -> str:
    """Creates a table of records with distinct payloads; returns its name."""
    name = name or new_name("records")
    quoted = '"' + name.replace('"', '""') + '"'
    await connection.execute(
        f"CREATE TABLE {quoted} (id {id_type}{' PRIMARY KEY' if unique else ''}, payload {payload_type})"
    )
    await connection.executemany(
        f"INSERT INTO {quoted} VALUES ($1, $2)",
        [(i, f"payload of {i}".encode() if payload_type == "bytea" else f"payload of {i}") for i in ids],
    )
    return name


async def add_job(
    connection: asyncpg.Connection,
    table: str = "nowhere",
    *,
    id_type: str = "bigint",
    keys: int = 3,
    tenant: str | None = None,
    **spec: Any,
) -> Job:
    """Creates a job with keys that exist only as rows, or, of none, with those that a keys worker is to make.

    A table that is not there is created: it is never read.
    """
    wanted = make_spec(table, **({"key_count": keys} if keys else {}), **spec)
    table = wanted.records.table
    if await connection.fetchrow(query("find_relation"), table) is None:
        await connection.execute(f"CREATE TABLE {table} (id bigint, payload text)")
    [found] = await connection.fetch(query("find_relation"), table)
    name = new_name("job").replace("_", "-")
    job = await create_job(
        connection,
        f"{tenant}/{name}" if tenant else name,
        wanted,
        id_type=id_type,
        source_oid=found["oid"],
        tenant=tenant,
    )
    for ordinal in range(1, keys + 1):
        await connection.execute(
            "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key) "
            "VALUES ($1, $2, $3, 'ED25519', '')",
            job.job_no,
            ordinal,
            f"{job.token}-{ordinal}",
        )
    return job


async def add_batches(connection: asyncpg.Connection, job: Job, *batches: Sequence[Any]) -> list[int]:
    """Adds pending batches with the given ids, and starts the job as if they were all of it; returns their numbers."""
    first = (await get_job(connection, job.token)).next_batch_no
    for number, ids in enumerate(batches, start=first):
        dense = job.id_type == "bigint" and ids[-1] - ids[0] + 1 == len(ids)
        await connection.execute(
            "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids) "
            "VALUES ($1, $2, $3, $4, $5, $6)",
            job.job_no,
            number,
            len(ids),
            str(ids[0]),
            str(ids[-1]),
            None if dense else [str(i) for i in ids],
        )
    await connection.execute(
        "UPDATE vaultstream.jobs SET next_batch_no = $2, planned = true, state = 'Running', started_at = now() "
        "WHERE job_no = $1",
        job.job_no,
        first + len(batches),
    )
    return list(range(first, first + len(batches)))


async def lease_one(
    connection: asyncpg.Connection, job: Job, holder: str, *, seconds: float = 30.0
) -> Lease | None:
    """Leases a key that is for no particular batch."""
    row = await connection.fetchrow(
        "SELECT *, clock_timestamp() AS answered_at FROM vaultstream.lease_keys($1, $2, 1, $3)",
        job.job_no,
        holder,
        seconds,
    )
    return row and lease_of(row, holder, seconds=seconds)


def lease_of(row: asyncpg.Record, holder: str, *, seconds: float = 30.0) -> Lease:
    """Returns the lease in a row of `lease_keys`, with the clock of Postgres beside it."""
    clock = DatabaseClock(row["answered_at"], lease_clock())
    return Lease(row["key_no"], row["key_id"], row["epoch"], lease_clock() + seconds, holder, clock)


def make_lease(seconds: float = 30.0, *, key_no: int = 1, epoch: int = 1, key_id: str = "key-1") -> Lease:
    """Returns a lease that Postgres knows nothing of."""
    now = lease_clock()
    return Lease(key_no, key_id, epoch, now + seconds, "ann", DatabaseClock(datetime.now(UTC), now))


async def claim_one(
    connection: asyncpg.Connection, job: Job, holder: str, batch_no: int, *, seconds: float = 30.0
) -> Lease:
    """Claims a batch, which must be pending, with a free key."""
    [claim] = await claim_batches(connection, job.job_no, holder, [batch_no], seconds=seconds)
    assert claim.lease is not None
    return claim.lease


async def fail_one(
    connection: asyncpg.Connection, job: Job, batch_no: int, error: str = "x", *, holder: str = "ann"
) -> Failure:
    """Claims a batch, which must be pending, and lets it fail."""
    lease = await claim_one(connection, job, holder, batch_no)
    return await fail_batch(connection, job.job_no, holder, batch_no, lease, error=error)


ROW_BYTES = 100
"""The width of the rows of `signed`."""


async def commit(db: asyncpg.Connection, job: Job, *batches: SignedBatch, holder: str = "ann") -> list[str]:
    """Commits batches and returns their outcomes."""
    return await commit_batches(db, job.job_no, holder, batches, id_type=job.id_type)


def signed(batch_no: int, lease: Lease, ids: Iterable[Any], dead: Iterable[Any] = ()) -> SignedBatch:
    """Returns a batch with signatures that name their lease, so that they can be told apart later."""
    ids = list(ids)
    digests = [sha256(str(i).encode()).digest() for i in ids]
    signatures = [f"{i} by {lease.key_no}/{lease.epoch}".encode() for i in ids]
    return SignedBatch(
        batch_no=batch_no,
        lease=lease,
        record_ids=ids,
        rows=Rows.of(
            digests, signatures, width=max([ROW_BYTES, *(HEAD_BYTES + len(each) for each in signatures)])
        ),
        dead=[DeadRecord(i, "PayloadNull", "The payload is NULL.") for i in dead],
        statement=statement_for(batch_no, lease, ids, digests, signatures) if ids else None,
    )


def statement_for(
    batch_no: int,
    lease: Lease,
    ids: Sequence[Any],
    digests: Sequence[bytes],
    signatures: Sequence[bytes],
    *,
    sign: Callable[[bytes], bytes] = lambda _: b"stated",
    **changed: Any,
) -> StatementEnvelope:
    """Returns the statement of a batch of a job whose keys are named after it, as they are."""
    values: dict[str, Any] = {
        "job_token": lease.key_id.rpartition("-")[0],
        "batch": batch_no,
        "key_id": lease.key_id,
        "epoch": lease.epoch,
        "holder": lease.holder,
        "algorithm": "ED25519",
        "count": len(ids),
        "first_id": str(ids[0]),
        "last_id": str(ids[-1]),
        "root": tree_root(record_hashes(ids, digests, signatures)),
        "signed_at": lease.clock.shown,
        **changed,
    }
    body = BatchStatement(**values).body
    return StatementEnvelope(body, sign(signed_bytes(body)))


async def expire(connection: asyncpg.Connection, *leases: Lease) -> None:
    """Makes leases expire."""
    await connection.execute(
        "UPDATE vaultstream.keys SET lease_until = clock_timestamp() WHERE key_no = ANY ($1)",
        [lease.key_no for lease in leases],
    )


async def signatures_of(connection: asyncpg.Connection, job: Job) -> dict[Any, bytes]:
    rows = await connection.fetch(f"SELECT record_id, signature FROM {job.signatures_table}")
    return {row["record_id"]: row["signature"] for row in rows}


async def dead_of(connection: asyncpg.Connection, job: Job) -> dict[str, str]:
    rows = await connection.fetch(
        "SELECT record_id, reason FROM vaultstream.dead_letters WHERE job_no = $1", job.job_no
    )
    return {row["record_id"]: row["reason"] for row in rows}


async def history_of(connection: asyncpg.Connection, job: Job) -> set[tuple[int, int, str]]:
    """Returns the ended leases of a job as (key, epoch, outcome)."""
    rows = await connection.fetch(
        "SELECT l.key_no, l.epoch, l.outcome FROM vaultstream.leases l "
        "JOIN vaultstream.keys k USING (key_no) WHERE k.job_no = $1",
        job.job_no,
    )
    return {(row["key_no"], row["epoch"], row["outcome"]) for row in rows}


async def overlaps_of(connection: asyncpg.Connection, job: Job) -> int:
    """Counts pairs of overlapping leases of one key, independently of the constraint that forbids them."""
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM vaultstream.leases a JOIN vaultstream.leases b USING (key_no) "
            "JOIN vaultstream.keys k USING (key_no) WHERE k.job_no = $1 AND a.epoch < b.epoch AND a.during && b.during",
            job.job_no,
        )
    )


async def covered_by(connection: asyncpg.Connection, job: Job, states: Sequence[str]) -> list[str]:
    """Returns the ids that batches in the given states cover, with repetitions."""
    rows = await connection.fetch(
        "SELECT first_id, last_id, ids FROM vaultstream.batches WHERE job_no = $1 AND state = ANY ($2) ORDER BY batch_no",
        job.job_no,
        list(states),
    )
    covered: list[str] = []
    for row in rows:
        if row["ids"] is None:
            covered += map(str, range(int(row["first_id"]), int(row["last_id"]) + 1))
        else:
            covered += row["ids"]
    return covered


@asynccontextmanager
async def open_bus(services: Services) -> AsyncIterator[Bus]:
    async with connect_bus(
        BusAddress(services.nats_url, services.nats_user, services.nats_password), role="test"
    ) as bus:
        yield bus


@asynccontextmanager
async def open_context(
    services: Services, url: str, job: Job, **settings: Any
) -> AsyncIterator[WorkerContext]:
    """Opens the resources of a worker in this process; settings are given by their field names."""
    async with open_pool(url, role="test", size=4) as pool, open_bus(services) as bus:
        yield WorkerContext(
            settings=worker_settings(services, url, **settings),
            job=job,
            pool=pool,
            bus=bus,
            holder=new_name("holder"),
            stop=asyncio.Event(),
        )


@asynccontextmanager
async def open_sources(
    url: str, source_url: str | None = None, *, size: int = 2
) -> AsyncIterator[SourcePool]:
    """Opens connections for reading sources; without a URL for them, by the login that does everything."""
    async with open_pool(url, role="test", size=size) as ours:
        async with ours.acquire() as connection:
            place = await find_place(connection)
        async with open_source_pool(
            SourceDatabase.of(url, source_url), place=place, ours=ours, role="test", size=size
        ) as sources:
            yield sources


def worker_settings(services: Services, url: str, **wanted: Any) -> Settings:
    return load_settings(
        **{
            "database_url": url,
            "nats_url": services.nats_url,
            "nats_user": services.nats_user,
            "nats_password": services.nats_password,
            "kek_file": services.kek_file,
            "data_dir": services.data_dir,
            "seals_dir": services.data_dir / "seals-of" / sha256(url.encode()).hexdigest()[:16],
            **wanted,
        }
    )


@asynccontextmanager
async def new_database(services: Services) -> AsyncIterator[str]:
    """Creates a database with the schema, and drops it."""
    name = new_name("engine")
    admin = await asyncpg.connect(services.database_url)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE template1")
        url = services.database_url.replace("/vaultstream?", f"/{name}?", 1)
        async with connect(url) as connection:
            await schema.migrate(connection)
        try:
            yield url
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


async def handled(bus: Bus) -> None:
    """Returns once NATS has handled what was published. The client sends the first ping before what it has not sent yet."""
    await bus.client.flush()
    await bus.client.flush()


async def waits_for_a_lock(connection: asyncpg.Connection) -> None:
    """Returns once some session of this database waits for a lock."""

    async def waiting() -> bool:
        return bool(
            await connection.fetchval(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
                "WHERE datname = current_database() AND NOT granted"
            )
        )

    await eventually(waiting)


async def counts_are_right(connection: asyncpg.Connection, job: Job) -> bool:
    """Whether the counts that are kept of a job are those of its batches."""
    kept = (await read_job(connection, job.token)).progress
    counted = await connection.fetchrow(
        "SELECT coalesce(sum(records) FILTER (WHERE planned), 0) AS records, coalesce(sum(signed), 0) AS signed, "
        "coalesce(sum(records) FILTER (WHERE state = 'pending'), 0) AS records_left, "
        "count(*) FILTER (WHERE state <> 'split') AS batches, count(*) FILTER (WHERE state = 'done') AS batches_done, "
        "count(*) FILTER (WHERE state = 'pending') AS batches_left, "
        "(SELECT count(*) FROM vaultstream.dead_letters d WHERE d.job_no = $1) AS dead "
        "FROM vaultstream.batches WHERE job_no = $1",
        job.job_no,
    )
    assert counted is not None
    return all(getattr(kept, name) == number for name, number in counted.items())
