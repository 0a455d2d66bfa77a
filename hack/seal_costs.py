"""Measures what sealing a job costs, for each record: processor time of the sealer and of Postgres.

    python hack/seal_costs.py [--records N] [--batch N ...]

A job of consecutive integers is planned by the engine; its statements are inserted, not signed. Then it is sealed as a records worker
does it: the plan, half of the statements at an interval, and the rest with the job's completion, which reads the whole log again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vaultstream.api import SigningJobSpec
from vaultstream.crypto.seal_keys import SealKeys
from vaultstream.local.services import LocalServices
from vaultstream.proof.note import NoteSigningKey
from vaultstream.sealing.sealer import Sealer
from vaultstream.store import schema
from vaultstream.store.database import connect
from vaultstream.store.jobs import create_job, get_job

STATEMENT = """
INSERT INTO vaultstream.statements (job_no, batch_no, key_no, epoch, body, signature)
SELECT job_no, batch_no, 1, batch_no,
       format('{"algorithm":"ED25519","batch":%s,"count":%s,"epoch":%s,"firstId":"%s","holder":"signing-1:7:ff00","jobToken":%s,'
              '"keyId":"costs-1","lastId":"%s","root":"%s","signedAt":"2026-11-28T06:48:58.120045Z"}',
              batch_no, records, batch_no, first_id, to_json($3::text), last_id, repeat('0f', 32)),
       sha256(batch_no::text::bytea) || sha256(''::bytea)
FROM vaultstream.batches WHERE job_no = $1 AND batch_no % 2 = $2
"""


def used_by(process: int) -> int:
    """Returns the ns that a process has used."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0])


async def measure(connection: asyncpg.Connection, folder: Path, records: int, size: int) -> None:
    """Prints the costs for one job."""
    spec = SigningJobSpec.model_validate(
        {"records": {"table": "source"}, "batchSize": size, "keys": {"count": 100}}
    )
    oid = await connection.fetchval("SELECT 'source'::regclass::oid")
    job = await create_job(connection, f"costs-{size}", spec, id_type="bigint", source_oid=oid)
    batches = -(-records // size)
    await connection.execute(
        "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, state, signed) "
        "SELECT $1, n, least($3, $2 - (n - 1) * $3), 1 + (n - 1) * $3, least(n * $3, $2), 'done', least($3, $2 - (n - 1) * $3) "
        "FROM generate_series(1, $4::int) AS n",
        job.job_no,
        records,
        size,
        batches,
    )
    await connection.execute(
        "UPDATE vaultstream.jobs SET state = 'Running', started_at = now(), upper_id = $2, planned_id = $2, planned = true, "
        "next_batch_no = $3 WHERE job_no = $1",
        job.job_no,
        str(records),
        batches + 1,
    )
    key = NoteSigningKey(f"costs-{size}.example", Ed25519PrivateKey.generate())
    sealer = Sealer(SealKeys(key), folder / str(size), job)
    backend = connection.get_server_pid()
    total = [0.0, 0.0]
    for name in ("plan", "interval", "completion"):
        if name != "plan":
            await connection.execute(STATEMENT, job.job_no, int(name == "interval"), job.token)
            await connection.execute("ANALYZE vaultstream.statements")
        ours, theirs = time.process_time(), used_by(backend)
        match name:
            case "plan":
                await sealer.plan.resume(connection, await get_job(connection, job.token))
                await sealer.state_plan(connection)
            case "interval":
                await sealer.seal(connection)
            case _:
                await sealer.complete(connection)
        used = time.process_time() - ours, (used_by(backend) - theirs) / 1e9
        total = [one + more for one, more in zip(total, used, strict=True)]
        sys.stdout.write(f"{size:6} {name:10} sealer {used[0]:6.2f} s, Postgres {used[1]:6.2f} s\n")
    per = [each / records * 1e6 for each in total]
    sys.stdout.write(f"{size:6} per record: sealer {per[0]:.3f} µs, Postgres {per[1]:.3f} µs\n")


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, nargs="+", default=[50, 1000])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vs-") as folder:
        async with LocalServices(Path(folder) / "services", nats=False) as local:
            url = (await local.services()).database_url
            async with connect(url) as connection:
                await schema.migrate(connection)
                await connection.execute("CREATE TABLE source (id bigint, payload text)")
                for size in given.batch:
                    await measure(connection, Path(folder), given.records, size)


if __name__ == "__main__":
    asyncio.run(main())
