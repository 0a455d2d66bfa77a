"""A whole job as in production: TLS to both services, and each part under its own user in each."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from support.as_user import connect
from support.engine import new_name
from support.guarded import GuardedNats, guarded_database, start_worker
from support.planning import job_of, spec_of
from support.waiting import eventually
from vaultstream.audit.verify import verify_job
from vaultstream.crypto.keyring import create_keyring
from vaultstream_operator.adapters.jetstream import JetStreamLags
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import StoredJob

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

RECORDS = 1000


async def test_a_job_runs_over_tls_from_creation_to_audit(
    postgres_url: str, nats: GuardedNats, tmp_path: Path
) -> None:
    create_keyring(tmp_path / "kek")
    view = job_of(spec_of(batchSize=20, keys={"count": 3, "algorithm": "ED25519"}))
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(guarded_database(postgres_url, new_name("shop")))
        async with connect(database.urls["owner"]) as owner:
            await owner.execute("CREATE TABLE receipts (id bigint PRIMARY KEY, payload text)")
            await owner.execute(
                f"INSERT INTO receipts SELECT n, 'r' || n FROM generate_series(1, {RECORDS}) AS n"
            )
            await owner.execute(f"GRANT SELECT ON receipts TO {database.logins['source']}")
        lags = await stack.enter_async_context(JetStreamLags(nats.address("operator")))
        store = await stack.enter_async_context(PostgresStore(database.urls["operator"], lags))
        assert await store.act(StoreAction.CREATE, view) is None
        made = await store.find(view)
        assert isinstance(made, StoredJob), made
        processes = []
        for part in ("keys", "records", "signing"):
            environment = {
                **database.environment(part),
                **nats.environment(part),
                **({"VAULTSTREAM_KEK_FILE": str(tmp_path / "kek")} if part != "records" else {}),
            }
            processes.append(await start_worker(part, made.token, environment, tmp_path / f"{part}.log"))
        try:

            async def complete() -> bool:
                found = await store.find(view)
                return isinstance(found, StoredJob) and found.state == "Complete"

            await eventually(complete, seconds=90)
        finally:
            for process in processes:
                if process.returncode is None:
                    process.terminate()
                await process.wait()
        report = await verify_job(
            database.urls["auditor"], made.token, source_url=database.urls["source"], processes=1
        )
        assert report.ok, report
