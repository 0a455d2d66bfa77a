"""Measures what the functions of the signers cost in Postgres, beside those of another commit of this repository.

    python hack/commit_costs.py BEFORE [--rounds N]

Two databases of one private server get the same jobs: one with the functions as they are here, one with those of the commit
BEFORE. In turns, a group of batches is leased and committed in each. Prints the processor time of the session's backend per
record, as the median over all rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import asyncpg

from vaultstream.api import SigningJobSpec
from vaultstream.local.services import LocalServices
from vaultstream.store import schema
from vaultstream.store.database import connect
from vaultstream.store.jobs import Job, create_job
from vaultstream.store.leases import SignedBatch, claim_batches, commit_batches

GIT = shutil.which("git") or "git"
FUNCTIONS = "workers/vaultstream/store/sql/functions"
SHAPES = {
    "consecutive integers": ("bigint", lambda n: n),
    "integers with gaps": ("bigint", lambda n: 3 * n),
    "UUIDs": ("uuid", lambda _: uuid4()),
    "text": ("text", lambda n: f"receipt-{n:012}"),
}
GROUP_RECORDS = 2000
"""Records that are committed together, about 50 ms of signing."""


def functions_of(commit: str) -> list[str]:
    """Returns the definitions of the functions in a commit of this repository."""

    def git(*arguments: str) -> str:
        return subprocess.run([GIT, *arguments], check=True, capture_output=True, text=True).stdout

    files = git("ls-tree", "--name-only", commit, f"{FUNCTIONS}/").split()
    return [git("show", f"{commit}:{file}") for file in files]


class Bench:
    """One database, its connection and its job."""

    def __init__(self, connection: asyncpg.Connection, job: Job) -> None:
        self._connection = connection
        self._job = job
        self._batches = 0
        self._schedule = Path(f"/proc/{connection.get_server_pid()}/schedstat")

    def _used(self) -> int:
        return int(self._schedule.read_text().split()[0])  # ns on a processor

    async def group(self, ids: list[list[Any]]) -> tuple[float, float]:
        """Leases and commits a group of batches; returns the µs per record of each of the two calls."""
        numbers = range(self._batches + 1, self._batches + len(ids) + 1)
        self._batches += len(ids)
        await self._connection.executemany(
            "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids) VALUES ($1, $2, $3, $4, $5, $6)",
            [self._row(number, each) for number, each in zip(numbers, ids, strict=True)],
        )
        before = self._used()
        claims = await claim_batches(self._connection, self._job.job_no, "bench", numbers, seconds=30)
        leased = self._used()
        batches = [
            self._signed(claim.batch.batch_no, claim.lease, each)
            for claim, each in zip(claims, ids, strict=True)
        ]
        start = self._used()
        outcomes = await commit_batches(
            self._connection, self._job.job_no, "bench", batches, id_type=self._job.id_type
        )
        committed = self._used()
        if set(outcomes) != {"committed"}:
            raise SystemExit(f"not committed: {outcomes}")
        records = sum(map(len, ids)) * 1000
        return (leased - before) / records, (committed - start) / records

    def _row(self, number: int, ids: list[Any]) -> tuple[Any, ...]:
        dense = self._job.id_type == "bigint" and ids[-1] - ids[0] + 1 == len(ids)
        texts = [str(each) for each in ids]
        return self._job.job_no, number, len(ids), texts[0], texts[-1], None if dense else texts

    @staticmethod
    def _signed(number: int, lease: Any, ids: list[Any]) -> SignedBatch:
        return SignedBatch(
            batch_no=number,
            lease=lease,
            record_ids=ids,
            digests=[secrets.token_bytes(32) for _ in ids],
            signatures=[secrets.token_bytes(71) for _ in ids],
            dead=[],
        )


async def prepare(connection: asyncpg.Connection, id_type: str) -> Bench:
    spec = SigningJobSpec.model_validate(
        {"records": {"table": "nowhere"}, "batchSize": 50, "keys": {"count": 1, "algorithm": "ED25519"}}
    )
    job = await create_job(connection, f"bench-{secrets.token_hex(4)}", spec, id_type=id_type)
    for ordinal in range(100):
        await connection.execute(
            "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key) VALUES ($1, $2, $3, 'ED25519', '')",
            job.job_no,
            ordinal,
            f"{job.token}-{ordinal}",
        )
    return Bench(connection, job)


async def measure(before: str, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with LocalServices(Path(folder), nats=False) as local:
            url = (await local.services()).database_url
            admin = await asyncpg.connect(url)
            for name in ("bench_before", "bench_now"):
                await admin.execute(f"CREATE DATABASE {name} TEMPLATE template1")
            await admin.close()
            urls = [url.replace("/vaultstream?", f"/{name}?", 1) for name in ("bench_before", "bench_now")]
            async with connect(urls[0]) as old, connect(urls[1]) as new:
                for connection in (old, new):
                    await schema.migrate(connection)
                for function in functions_of(before):
                    await old.execute(function)
                for name, (id_type, make) in SHAPES.items():
                    for size in (50, 1000):
                        benches = [await prepare(connection, id_type) for connection in (old, new)]
                        await compare(f"{name}, batches of {size}", benches, size, make, rounds)


async def compare(title: str, benches: list[Bench], size: int, make: Any, rounds: int) -> None:
    costs: list[list[tuple[float, float]]] = [[], []]
    for turn in range(rounds + 2):
        ids = [make(n) for n in range(turn * GROUP_RECORDS, (turn + 1) * GROUP_RECORDS)]
        group = [ids[at : at + size] for at in range(0, GROUP_RECORDS, size)]
        for which in (0, 1) if turn % 2 else (1, 0):
            costs[which].append(await benches[which].group(group))
    lease, commit = ([median(each[part] for each in cost[2:]) for cost in costs] for part in (0, 1))
    sys.stdout.write(
        f"{title:40} lease {lease[0]:6.2f} -> {lease[1]:6.2f}   commit {commit[0]:6.2f} -> {commit[1]:6.2f} µs per record\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", help="a commit of this repository")
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    asyncio.run(measure(given.before, given.rounds))
