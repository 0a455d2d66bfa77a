"""Measures what the commits of the signers cost in Postgres, beside the function of another commit of this repository.

    python hack/commit_costs.py BEFORE [--rounds N]
    python hack/commit_costs.py unstated [--rounds N]

Two databases of one private server get the same jobs: one with claims and commits as they are here, one as in the commit BEFORE.
BEFORE is not from before statements; with the word `unstated`, the first database has the same function, and jobs without them.
In turns, a group of batches is leased and committed in each. Prints the processor time of the session's backend per
record of a commit, and per claim, as medians over all rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import re
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
from vaultstream.store.sql import parse_queries

GIT = shutil.which("git") or "git"
SQL = "workers/vaultstream/store/sql"
FUNCTIONS = ("require_job", "sees", "is_leased_to", "lease_keys", "claim_batches", "commit_batches")
SHAPES = {
    "consecutive integers": ("bigint", lambda n: n),
    "integers with gaps": ("bigint", lambda n: 3 * n),
    "UUIDs": ("uuid", lambda _: uuid4()),
    "text": ("text", lambda n: f"receipt-{n:012}"),
}
UNSTATED = "unstated"
GROUP_RECORDS = 2000
"""Records that are committed together, about 50 ms of signing."""


def show(commit: str, file: str) -> str:
    """Returns the text of an SQL file in a commit of this repository."""
    shown = [GIT, "show", f"{commit}:{SQL}/{file}"]
    return subprocess.run(shown, check=True, capture_output=True, text=True).stdout


def values_for(text: str, **values: object) -> list[object]:
    """Returns those of the values that a query has parameters for, in their order."""
    names = {int(number): name for name, number in re.findall(r"\bp_(\w+) => \$(\d+)", text)}
    return [values[names[number]] for number in sorted(names)]


class Bench:
    """One database, its connection and its job."""

    def __init__(
        self, connection: asyncpg.Connection, job: Job, *, stated: bool, listing: str | None
    ) -> None:
        self._stated = stated
        self._listing = listing
        self._connection = connection
        self._job = job
        self._batches = 0
        self._schedule = Path(f"/proc/{connection.get_server_pid()}/schedstat")

    def _used(self) -> int:
        return int(self._schedule.read_text().split()[0])  # ns on a processor

    async def group(self, ids: list[list[Any]]) -> tuple[float, float]:
        """Leases and commits a group of batches; returns the µs of the claim, and per record of the commit."""
        numbers = range(self._batches + 1, self._batches + len(ids) + 1)
        self._batches += len(ids)
        await self._connection.executemany(
            "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, ids) VALUES ($1, $2, $3, $4, $5, $6)",
            [self._row(number, each) for number, each in zip(numbers, ids, strict=True)],
        )
        start = self._used()
        claims = await claim_batches(self._connection, self._job.job_no, "bench", numbers, seconds=30)
        claimed = self._used() - start
        batches = [
            self._signed(claim.batch.batch_no, claim.lease, each)
            for claim, each in zip(claims, ids, strict=True)
            if claim.lease is not None
        ]
        start = self._used()
        if self._listing is None:
            outcomes = await commit_batches(
                self._connection, self._job.job_no, "bench", batches, id_type=self._job.id_type
            )
        else:
            outcomes = await self._commit_listed(self._listing.format(id_type=self._job.id_type), batches)
        used = self._used() - start
        if set(outcomes) != {"committed"}:
            raise SystemExit(f"not committed: {outcomes}")
        return claimed / 1000, used / 1000 / sum(map(len, ids))

    async def _commit_listed(self, text: str, batches: list[SignedBatch]) -> list[str]:
        """Commits with a query of before version 17, which lists all ids."""
        stated = [batch.statement for batch in batches]
        values = values_for(
            text,
            job_no=self._job.job_no,
            holder="bench",
            batch_no=[batch.batch_no for batch in batches],
            key_no=[batch.lease.key_no for batch in batches],
            epoch=[batch.lease.epoch for batch in batches],
            signed=[len(batch.record_ids) for batch in batches],
            dead=[0 for _ in batches],
            record_id=[each for batch in batches for each in batch.record_ids],
            width=batches[0].rows.width,
            rows=b"".join([batch.rows.data for batch in batches]),
            **{f"dead_{part}": [] for part in ("slot", "id", "reason", "message")},
            statement=[each and each.body for each in stated],
            statement_signature=[each and each.signature for each in stated],
        )
        return [row["outcome"] for row in await self._connection.fetch(text, *values)]

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


async def prepare(
    connection: asyncpg.Connection, id_type: str, *, stated: bool = True, listing: str | None = None
) -> Bench:
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
    return Bench(connection, job, stated=stated, listing=listing)


async def measure(before: str, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with LocalServices(Path(folder), nats=False) as local:
            url = (await local.services()).database_url
            admin = await asyncpg.connect(url)
            for name in ("bench_before", "bench_now"):
                await admin.execute(f"CREATE DATABASE {name} TEMPLATE template1")
            await admin.close()
            urls = [url.replace("/vaultstream?", f"/{name}?", 1) for name in ("bench_before", "bench_now")]
            plans = {"plan_cache_mode": "force_generic_plan"}  # as in a signer
            async with connect(urls[0], settings=plans) as old, connect(urls[1], settings=plans) as new:
                for connection in (old, new):
                    await schema.migrate(connection)
                listing = None
                if before != UNSTATED:
                    for name in FUNCTIONS:
                        await old.execute(show(before, f"functions/{name}.sql"))
                    query = parse_queries([("leases.sql", show(before, "leases.sql"))])["commit_batches"]
                    listing = None if "p_first_id" in query else query
                for name, (id_type, make) in SHAPES.items():
                    for size in (50, 1000):
                        benches = [
                            await prepare(old, id_type, stated=before != UNSTATED, listing=listing),
                            await prepare(new, id_type),
                        ]
                        await compare(f"{name}, batches of {size}", benches, size, make, rounds)


async def compare(title: str, benches: list[Bench], size: int, make: Any, rounds: int) -> None:
    costs: list[list[tuple[float, float]]] = [[], []]
    for turn in range(rounds + 2):
        ids = [make(n) for n in range(turn * GROUP_RECORDS, (turn + 1) * GROUP_RECORDS)]
        group = [ids[at : at + size] for at in range(0, GROUP_RECORDS, size)]
        for which in (0, 1) if turn % 2 else (1, 0):
            costs[which].append(await benches[which].group(group))
    (claim, commit), (claim_now, commit_now) = (map(median, zip(*cost[2:], strict=True)) for cost in costs)
    sys.stdout.write(
        f"{title:40} {commit:6.2f} -> {commit_now:6.2f} µs per record, claim {claim:5.0f} -> {claim_now:5.0f} µs\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", help="a commit of this repository, or `unstated`")
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    asyncio.run(measure(given.before, given.rounds))
