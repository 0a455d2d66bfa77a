"""Measures what the commits of the signers cost in Postgres, beside the function of another commit of this repository.

    python hack/commit_costs.py BEFORE [--rounds N]
    python hack/commit_costs.py unstated [--rounds N]

Two databases of one private server get the same jobs: one with commit_batches as it is here, one as in the commit BEFORE.
BEFORE is not from before statements; with the word `unstated`, the first database has the same function, and jobs without them.
In turns, a group of batches is leased and committed in each. Prints the processor time of the session's backend per
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
from vaultstream.crypto.rows import Rows
from vaultstream.local.services import LocalServices
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.proof.statement import BatchStatement
from vaultstream.store import schema
from vaultstream.store.database import connect
from vaultstream.store.jobs import Job, create_job
from vaultstream.store.leases import Lease, SignedBatch, claim_batches, commit_batches

GIT = shutil.which("git") or "git"
FUNCTION = "workers/vaultstream/store/sql/functions/commit_batches.sql"
SHAPES = {
    "consecutive integers": ("bigint", lambda n: n),
    "integers with gaps": ("bigint", lambda n: 3 * n),
    "UUIDs": ("uuid", lambda _: uuid4()),
    "text": ("text", lambda n: f"receipt-{n:012}"),
}
UNSTATED = "unstated"
GROUP_RECORDS = 2000
"""Records that are committed together, about 50 ms of signing."""


def function_of(commit: str) -> str:
    """Returns the definition of the function in a commit of this repository."""
    shown = [GIT, "show", f"{commit}:{FUNCTION}"]
    return subprocess.run(shown, check=True, capture_output=True, text=True).stdout


class Bench:
    """One database, its connection and its job."""

    def __init__(self, connection: asyncpg.Connection, job: Job, *, stated: bool) -> None:
        self._stated = stated
        self._connection = connection
        self._job = job
        self._batches = 0
        self._schedule = Path(f"/proc/{connection.get_server_pid()}/schedstat")

    def _used(self) -> int:
        return int(self._schedule.read_text().split()[0])  # ns on a processor

    async def group(self, ids: list[list[Any]]) -> float:
        """Leases and commits a group of batches; returns the µs per record of the commit."""
        numbers = range(self._batches + 1, self._batches + len(ids) + 1)
        self._batches += len(ids)
        await self._connection.executemany(
            "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids) VALUES ($1, $2, $3, $4, $5, $6)",
            [self._row(number, each) for number, each in zip(numbers, ids, strict=True)],
        )
        claims = await claim_batches(self._connection, self._job.job_no, "bench", numbers, seconds=30)
        batches = [
            self._signed(claim.batch.batch_no, claim.lease, each)
            for claim, each in zip(claims, ids, strict=True)
            if claim.lease is not None
        ]
        start = self._used()
        outcomes = await commit_batches(
            self._connection, self._job.job_no, "bench", batches, id_type=self._job.id_type
        )
        used = self._used() - start
        if set(outcomes) != {"committed"}:
            raise SystemExit(f"not committed: {outcomes}")
        return used / 1000 / sum(map(len, ids))

    def _row(self, number: int, ids: list[Any]) -> tuple[Any, ...]:
        dense = self._job.id_type == "bigint" and ids[-1] - ids[0] + 1 == len(ids)
        texts = [str(each) for each in ids]
        return self._job.job_no, number, len(ids), texts[0], texts[-1], None if dense else texts

    def _signed(self, number: int, lease: Lease, ids: list[Any]) -> SignedBatch:
        ids = sorted(ids)
        batch = SignedBatch(
            batch_no=number,
            lease=lease,
            record_ids=ids,
            rows=Rows.of([secrets.token_bytes(32) for _ in ids], [secrets.token_bytes(71) for _ in ids]),
        )
        if self._stated:
            body = BatchStatement(
                job_token=self._job.token,
                batch=number,
                key_id=lease.key_id,
                epoch=lease.epoch,
                holder=lease.holder,
                algorithm=str(self._job.spec.keys.algorithm),
                count=len(ids),
                first_id=str(ids[0]),
                last_id=str(ids[-1]),
                root=secrets.token_bytes(32),
                signed_at=lease.clock.shown,
            ).body
            batch.statement = StatementEnvelope(body, secrets.token_bytes(71))
        return batch


async def prepare(connection: asyncpg.Connection, id_type: str, *, stated: bool) -> Bench:
    await connection.execute("CREATE TABLE IF NOT EXISTS public.commit_costs (id bigint, payload bytea)")
    oid = await connection.fetchval("SELECT 'public.commit_costs'::regclass::oid")
    spec = SigningJobSpec.model_validate(
        {
            "records": {"table": "public.commit_costs"},
            "batchSize": 50,
            "keys": {"count": 1, "algorithm": "ED25519"},
        }
    )
    name = f"bench-{secrets.token_hex(4)}"
    job = await create_job(connection, name, spec, id_type=id_type, source_oid=oid)
    for ordinal in range(100):
        await connection.execute(
            "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key) VALUES ($1, $2, $3, 'ED25519', '')",
            job.job_no,
            ordinal,
            f"{job.token}-{ordinal}",
        )
    if not stated:
        for statement in (
            "ALTER TABLE vaultstream.jobs DISABLE TRIGGER guard",
            f"UPDATE vaultstream.jobs SET stated = false WHERE job_no = {job.job_no:d}",  # noqa: S608 - a number
            "ALTER TABLE vaultstream.jobs ENABLE TRIGGER guard",
        ):
            await connection.execute(statement)
    return Bench(connection, job, stated=stated)


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
                if before != UNSTATED:
                    await old.execute(function_of(before))
                for name, (id_type, make) in SHAPES.items():
                    for size in (50, 1000):
                        benches = [
                            await prepare(old, id_type, stated=before != UNSTATED),
                            await prepare(new, id_type, stated=True),
                        ]
                        await compare(f"{name}, batches of {size}", benches, size, make, rounds)


async def compare(title: str, benches: list[Bench], size: int, make: Any, rounds: int) -> None:
    costs: list[list[float]] = [[], []]
    for turn in range(rounds + 2):
        ids = [make(n) for n in range(turn * GROUP_RECORDS, (turn + 1) * GROUP_RECORDS)]
        group = [ids[at : at + size] for at in range(0, GROUP_RECORDS, size)]
        for which in (0, 1) if turn % 2 else (1, 0):
            costs[which].append(await benches[which].group(group))
    before, now = (median(cost[2:]) for cost in costs)
    sys.stdout.write(f"{title:40} {before:6.2f} -> {now:6.2f} µs per record\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", help="a commit of this repository, or `unstated`")
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    asyncio.run(measure(given.before, given.rounds))
