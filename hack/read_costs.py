"""Measures what it costs a signer to read by way of a source pool: the transactions, and queries that no session keeps.

    python hack/read_costs.py [--rounds N]

In turns, the same groups of records are read through a source pool and by a plain query with a prepared statement, on connections that
are kept at hand and in an event loop as a signer has them. Prints the processor time of this process and of the sessions in Postgres, per record,
as the lower quartile over all rounds: other work on the machine only ever adds to it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, NamedTuple

import uvloop

from vaultstream.api import RecordsSpec
from vaultstream.local.services import LocalServices
from vaultstream.records.source import inspect_source
from vaultstream.signing.read import read, sort_out
from vaultstream.store import schema
from vaultstream.store.database import connect, open_pool
from vaultstream.store.source_login import SourceDatabase, find_place
from vaultstream.store.source_pool import open_source_pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vaultstream.store.database import Connection

RECORDS = 200_000
"""In the table below, with 256 bytes each."""
CAP = 8192
GROUPS = (11_000, 2000, 1000, 500)
"""Records read together: what `vaultstream bench` reads on average in batches of 1,000 and of 50 is 11,100 and 1,060."""
TABLE = """
CREATE TABLE public.read_costs (id bigint PRIMARY KEY, payload bytea NOT NULL);
INSERT INTO public.read_costs SELECT n, decode(repeat(md5(n::text), 16), 'hex') FROM generate_series(1, 200000) AS n;
ANALYZE public.read_costs;
"""


class Cost(NamedTuple):
    """Processor time of one read, in nanoseconds."""

    client: int
    postgres: int


async def cost_of(read: Callable[[], Awaitable[None]], sessions: list[Path]) -> Cost:
    def used() -> int:
        return sum(int(session.read_text().split()[0]) for session in sessions)

    postgres, client = used(), time.process_time_ns()
    await read()
    return Cost(time.process_time_ns() - client, used() - postgres)


def session_of(connection: Connection) -> Path:
    return Path(f"/proc/{connection.get_server_pid()}/schedstat")


async def measure(url: str, rounds: int) -> None:
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(open_pool(url, role="bench", size=1, reset=False, kept=True))
        async with ours.acquire() as connection:
            place = await find_place(connection)
            source = replace(
                await inspect_source(connection, RecordsSpec(table="public.read_costs")), stored=True
            )
            sessions = [session_of(connection)]
        opening = open_source_pool(SourceDatabase.of(url, None), place=place, ours=ours, role="bench", size=1)
        sources = await stack.enter_async_context(opening)
        async with sources.transaction() as reading:
            sessions.append(session_of(reading))
        for group in GROUPS:
            costs: dict[str, list[Cost]] = {"plain": [], "pool": []}
            for turn in range(rounds + 2):
                first = turn * group % (RECORDS - group) + 1
                wanted = [range(first, first + group)]

                async def plain(wanted: list[range] = wanted) -> None:
                    async with ours.acquire() as connection:
                        found = await connection.fetch(
                            source.read_range_sql(), CAP, wanted[0][0], wanted[0][-1]
                        )
                    sort_out(wanted, found, limit=CAP)

                async def pool(wanted: list[range] = wanted) -> None:
                    await read(sources, source, wanted, cap=CAP, limit=CAP)

                for kind in (plain, pool) if turn % 2 else (pool, plain):
                    costs[kind.__name__].append(await cost_of(kind, sessions))
            show(group, costs)


def show(group: int, costs: dict[str, list[Cost]]) -> None:
    plain, pool = (
        [quantiles(each[part] for each in costs[kind][2:])[0] / 1000 / group for part in (0, 1)]
        for kind in ("plain", "pool")
    )
    sys.stdout.write(
        f"{group:6} records: client {plain[0]:.3f} -> {pool[0]:.3f}, Postgres {plain[1]:.3f} -> {pool[1]:.3f}, "
        f"more by {sum(pool) - sum(plain):.3f} µs per record\n"
    )


async def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with LocalServices(Path(folder), nats=False) as local:
            url = (await local.services()).database_url
            async with connect(url) as connection:
                await schema.migrate(connection)
                await connection.execute(TABLE)
            await measure(url, rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    uvloop.run(main(parser.parse_args().rounds))
