"""Measures what reading the progress of a running job costs in Postgres, as the operator and `vaultstream status` do at each poll.

    python hack/progress_costs.py [BATCHES ...]

A private server gets one job after the other, with 1,000, 100,000 and 10,000,000 batches unless other numbers are named. Half of them are
settled, 100 of these within the last 20 s; 100 are published, and 3 of these are to be tried again. Prints the pages that each query reads
and the milliseconds that it takes, as medians of five.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg

from vaultstream.local.services import LocalServices
from vaultstream.scaling.workload import RATE_WINDOW_SECONDS
from vaultstream.store import schema
from vaultstream.store.database import connect
from vaultstream.store.progress import progress_statement
from vaultstream.store.sql import query

SIZES = (1_000, 100_000, 10_000_000)
TIMES = 5
RECORDS = 50
"""Records of a batch."""
LATELY, FAILING, PUBLISHED = 100, 3, 100
KEYS = 100


async def fill(connection: asyncpg.Connection, batches: int) -> str:
    """Makes a job with that many batches; returns its token. The batches are written as commits, failures and the planner leave them."""
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS public.progress_costs (id bigint PRIMARY KEY, payload bytea)"
    )
    oid = await connection.fetchval("SELECT 'public.progress_costs'::regclass::oid")
    token = f"progress-{batches}"
    spec = {
        "records": {"table": "public.progress_costs"},
        "batchSize": RECORDS,
        "keys": {"count": KEYS, "algorithm": "ED25519"},
        "retries": {"backoff": {}, "maxAttempts": 5},
    }
    job_no = await connection.fetchval(query("create_job"), token, token, spec, "bigint", oid, None, None)
    done = batches // 2
    through = done + PUBLISHED
    await connection.execute("SET session_replication_role = replica")  # no triggers: they take minutes
    await connection.execute(
        "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, state, signed, settled_at, attempts, error) "
        "SELECT $1, n, $4::int, (n * $4)::text, (n * $4 + $4 - 1)::text, CASE WHEN n <= $3::bigint THEN 'done' ELSE 'pending' END, "
        "CASE WHEN n <= $3 THEN $4 ELSE 0 END, "
        "CASE WHEN n <= $3 - $5::bigint THEN now() - interval '1 h' - ($3 - n) * interval '1 ms' WHEN n <= $3 THEN now() END, "
        "(n > $7::bigint - $6::bigint AND n <= $7)::int, CASE WHEN n > $7 - $6 AND n <= $7 THEN 'out of reach' END "
        "FROM generate_series(1, $2::bigint) AS n",
        job_no, batches, done, RECORDS, LATELY, FAILING, through,
    )  # fmt: skip
    await connection.execute("RESET session_replication_role")
    await connection.execute(
        "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key, done, signed) "
        "SELECT $1, n, $2 || '-' || n, 'ED25519', '', $3::bigint / $5, $3::bigint / $5 * $4::bigint FROM generate_series(1, $5::int) AS n",
        job_no, token, done, RECORDS, KEYS,
    )  # fmt: skip
    await connection.execute(
        "UPDATE vaultstream.jobs SET state = 'Running', started_at = now(), next_batch_no = $2::bigint + 1, planned = true, "
        "published_through = $3, cut = $2, found = $4 WHERE job_no = $1",
        job_no,
        batches,
        through,
        batches * RECORDS,
    )
    await connection.execute("ANALYZE vaultstream.batches")
    return token


async def read(connection: asyncpg.Connection, token: str) -> dict[str, tuple[int, float]]:
    """Returns the pages that each query of a poll reads, and the milliseconds that it takes."""
    [(job_no, through)] = await connection.fetch(
        "SELECT job_no, published_through FROM vaultstream.jobs WHERE token = $1", token
    )
    queries = {
        "progress": (progress_statement(), token, RATE_WINDOW_SECONDS),
        "last settled": (query("find_drain"), job_no),
        "outstanding": (query("count_pending_through"), job_no, through),
    }
    return {name: await _cost(connection, *each) for name, each in queries.items()}


async def _cost(connection: asyncpg.Connection, statement: str, *arguments: object) -> tuple[int, float]:
    """Returns the median pages and milliseconds of a query, once the caches are warm."""
    costs = []
    for _ in range(TIMES + 1):
        text = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *arguments)
        [found] = json.loads(text) if isinstance(text, str) else text
        costs.append((sum(_pages(found["Plan"])), found["Execution Time"] + found["Planning Time"]))
    return int(median(pages for pages, _ in costs[1:])), median(took for _, took in costs[1:])


def _pages(plan: dict[str, Any]) -> Iterator[int]:
    yield plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]  # those of its parts included


async def measure(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            LocalServices(Path(folder), nats=False) as local,
            connect((await local.services()).database_url) as connection,
        ):
            await schema.migrate(connection)
            for batches in sizes:
                token = await fill(connection, batches)
                await connection.execute("VACUUM vaultstream.batches")
                for name, (pages, took) in (await read(connection, token)).items():
                    sys.stdout.write(
                        f"{batches:>12,} batches  {name:14} {pages:>8,} pages {took:>10.2f} ms\n"
                    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("batches", nargs="*", type=int, metavar="BATCHES", help="sizes of the jobs")
    asyncio.run(measure(parser.parse_args().batches or list(SIZES)))
