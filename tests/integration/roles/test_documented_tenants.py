"""The files that docs/production.md gives to those who prepare tenants create what the operator and the workers need."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sysconfig
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

import nats_tenants
from support.as_user import connect
from support.engine import add_job
from support.guarded import GuardedDatabase
from support.waiting import eventually
from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import connect_bus
from vaultstream.bus.records import ConsumerLag, RecordsStream
from vaultstream.local.ports import choose_port
from vaultstream.local.psql import bundled_psql, psql_command
from vaultstream.store.jobs import list_jobs

pytestmark = pytest.mark.integration

EXAMPLES = Path(__file__).parents[3] / "examples" / "production"
TENANT = "team-a"


async def test_the_documented_sql_creates_logins_that_see_their_tenant_alone(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    given, environment = psql_command(
        database.superuser_url.replace(
            "/vaultstream?", f"/{await owner.fetchval('SELECT current_database()')}?"
        ),
        ["--no-psqlrc", "--set", f"tenant={TENANT}", "--file", str(EXAMPLES / "tenant.sql")],
    )
    process = await asyncio.create_subprocess_exec(
        *(bundled_psql(), *given), env={**os.environ, **environment}, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 0, said
    job = await add_job(owner, tenant=TENANT)
    await add_job(owner)
    admin = await asyncpg.connect(database.superuser_url)
    try:
        for part in ("keys", "records", "signing"):
            await admin.execute(f"""ALTER ROLE "{TENANT}_{part}" PASSWORD 'secret'""")
            place = database.urls[part].split("@", 1)[1]
            async with connect(f"postgresql://{TENANT}_{part}:secret@{place}") as connection:
                assert [each.token for each in await list_jobs(connection)] == [job.token]
        assert not await admin.fetchval(
            f"""SELECT count(*) FROM pg_auth_members WHERE member = '"{TENANT}_source"'::regrole"""
        )
    finally:
        for name in (
            *(f"{TENANT}_{part}" for part in ("keys", "records", "signing", "source")),
            f"vaultstream_tenant_{TENANT}",
        ):
            await admin.execute(f'DROP ROLE IF EXISTS "{name}"')
        await admin.close()


async def test_nats_server_with_the_documented_accounts_serves_each_tenant_and_the_operator(
    tmp_path: Path,
) -> None:
    port = choose_port()
    text = (EXAMPLES / "nats-tenants.conf").read_text()
    assert nats_tenants.HASH in text
    users = await asyncio.to_thread(
        (tmp_path / "users.conf").write_text, text.replace(nats_tenants.HASH, "secret")
    )
    assert users
    settings = {"listen": f"127.0.0.1:{port}", "jetstream": {"store_dir": str(tmp_path / "store")}}
    body = re.sub(r"^\{|\}$", "", json.dumps(settings))
    await asyncio.to_thread(
        (tmp_path / "nats.conf").write_text, body.replace('}, "', '}\n"') + "\ninclude users.conf\n"
    )
    program = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    assert program
    process = await asyncio.create_subprocess_exec(
        program, "-c", str(tmp_path / "nats.conf"), stderr=asyncio.subprocess.DEVNULL
    )

    async def listens() -> bool:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return True
        return False

    def address(user: str) -> BusAddress:
        return BusAddress(f"nats://127.0.0.1:{port}", user, "secret")

    try:
        await eventually(listens)
        for tenant in nats_tenants.TENANTS:
            async with connect_bus(address(f"records-{tenant}"), role="records") as bus:
                await RecordsStream(bus).ensure()
                await RecordsStream(bus).ensure_consumer("job", ack_wait_seconds=30, max_ack_pending=10)
                await RecordsStream(bus).publish("job", range(len(tenant) + ord(tenant[-1]) - ord("a")))
        async with connect_bus(address("operator"), role="operator") as bus:
            lags = [await RecordsStream(bus.of_tenant(tenant)).lag("job") for tenant in nats_tenants.TENANTS]
        assert lags == [ConsumerLag(6, 0), ConsumerLag(7, 0)]
    finally:
        process.terminate()
        await process.wait()
