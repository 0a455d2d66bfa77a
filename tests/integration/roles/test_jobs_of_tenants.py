"""Whole jobs of two tenants at once, each part under the logins of its tenant in Postgres and in NATS."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from support.as_user import connect
from support.guarded import GuardedDatabase, GuardedNats, workers
from support.guarded_fixtures import TENANTS
from support.planning import job_of, spec_of
from support.waiting import eventually
from vaultstream.audit.verify import verify_job
from vaultstream.bus.connection import connect_bus
from vaultstream.bus.inspection import list_streams
from vaultstream.errors import UnknownJobError
from vaultstream.scaling.observation import Lag
from vaultstream_operator.adapters.jetstream import JetStreamLags
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import ObjectView, StoredJob

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

RECORDS = 1000
SHOP, BANK = TENANTS


def object_in(namespace: str) -> ObjectView:
    """A SigningJob `receipts` in a namespace, over a table of that namespace."""
    view = job_of(
        spec_of(
            records={"table": f"receipts_{namespace}"},
            batchSize=10,
            keys={"count": 4, "algorithm": "ED25519"},
        )
    )
    return replace(view, owner=replace(view.owner, namespace=namespace, uid=str(uuid4())))


@pytest.fixture
async def tables(tenants_database: GuardedDatabase) -> None:
    async with connect(tenants_database.urls["owner"]) as owner:
        for tenant in TENANTS:
            table = f"receipts_{tenant}"
            await owner.execute(f"CREATE TABLE {table} (id bigint PRIMARY KEY, payload text)")
            await owner.execute(
                f"INSERT INTO {table} SELECT n, '{tenant} ' || n FROM generate_series(1, {RECORDS}) AS n"
            )
            readers = (
                "source",
                "auditor",
                *(f"{part}-{tenant}" for part in ("records", "signing", "auditor")),
            )
            for reader in readers:
                await owner.execute(f"GRANT SELECT ON {table} TO {tenants_database.logins[reader]}")


async def test_two_tenants_sign_at_once_and_each_auditor_verifies_its_own(
    tenants_database: GuardedDatabase, tenants_nats: GuardedNats, tables: None, tmp_path: Path
) -> None:
    views = {tenant: object_in(tenant) for tenant in TENANTS}
    async with (
        JetStreamLags(tenants_nats.address("operator")) as lags,
        PostgresStore(tenants_database.urls["operator"], lags, tenants=TENANTS) as store,
    ):

        async def stored(tenant: str) -> StoredJob:
            found = await store.find(views[tenant])
            assert isinstance(found, StoredJob), found
            return found

        tokens, seen = {}, set()
        async with AsyncExitStack() as stack:
            for tenant in TENANTS:
                assert await store.act(StoreAction.CREATE, views[tenant]) is None
                tokens[tenant] = (await stored(tenant)).token
                await stack.enter_async_context(
                    workers(tenants_database, tenants_nats, tokens[tenant], tmp_path / tenant, tenant=tenant)
                )

            async def complete() -> bool:
                for tenant in TENANTS:
                    if isinstance(await lags.read(tokens[tenant], tenant), Lag):
                        seen.add(tenant)
                return all([(await stored(tenant)).state == "Complete" for tenant in TENANTS])

            await eventually(complete, seconds=120)
        assert seen == set(TENANTS)
        for tenant in TENANTS:
            assert (await stored(tenant)).signed == RECORDS
            report = await verify_job(
                tenants_database.urls[f"auditor-{tenant}"],
                tokens[tenant],
                source_url=tenants_database.urls["source"],
                processes=1,
            )
            assert report.ok, report
        with pytest.raises(UnknownJobError):
            await verify_job(tenants_database.urls[f"auditor-{SHOP}"], tokens[BANK], processes=1)
        assert (
            await verify_job(
                tenants_database.urls["auditor"],
                tokens[BANK],
                source_url=tenants_database.urls["source"],
                processes=1,
            )
        ).ok
        assert await store.act(StoreAction.DELETE, views[SHOP]) is None
        async with connect_bus(tenants_nats.address("auditor"), role="auditor") as bus:
            assert len(await list_streams(bus, BANK)) == 2
