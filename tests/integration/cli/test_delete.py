"""`vaultstream delete`: what goes, what stays, and what it asks for first."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
from typing import TYPE_CHECKING

import pytest

from integration.cli.conftest import clean_environment, command_line, manifest
from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import connect_bus
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.records import RecordsStream
from vaultstream.local.deletion import delete_everywhere
from vaultstream.store import jobs
from vaultstream.store.database import open_pool
from vaultstream.store.jobs import delete_job, find_job, get_job
from vaultstream.store.keys import list_keys, list_wrapped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import asyncpg

    from integration.cli.conftest import RunCli
    from vaultstream.local.services import Services
    from vaultstream.store.jobs import Job

    MakeJob = Callable[..., Awaitable[Job]]

pytestmark = pytest.mark.integration


async def test_retain_keeps_the_signatures_and_frees_the_name_and_delete_then_takes_them(
    run_cli: RunCli, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    file = manifest(tmp_path, "short", batchSize=500, keys={"count": 2})
    run_cli("run", "-f", str(file), "--max-signers", "1")
    job = await get_job(connection, "short")

    deleted = run_cli("delete", "short")

    assert "Kept: 2,000 signatures" in deleted.stderr
    assert job.token in deleted.stderr
    assert await find_job(connection, "short") is None
    assert await list_wrapped(connection, job) == []
    assert len(await list_keys(connection, job.job_no)) == 2
    assert json.loads(run_cli("verify", job.token, "--json").stdout)["valid"] == 2000

    twice = run_cli("delete", job.token, check=False)
    assert twice.returncode == 2
    assert f"vaultstream delete {job.token} --policy Delete" in twice.stderr

    gone = json.loads(run_cli("delete", job.token, "--policy", "Delete", "--yes", "--json").stdout)
    assert (gone["policy"], gone["signatures"]) == ("Delete", 2000)
    assert await find_job(connection, job.token) is None
    assert await connection.fetchval("SELECT to_regclass($1)", job.signatures_table) is None
    assert await connection.fetchval("SELECT count(*) FROM receipts") == 2000


async def test_signatures_are_not_deleted_without_a_yes_where_nobody_can_be_asked(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection
) -> None:
    await make_job("dear", deletionPolicy="Delete")

    refused = run_cli("delete", "dear", check=False)

    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert await find_job(connection, "dear") is not None

    run_cli("delete", "dear", "--yes")
    assert await find_job(connection, "dear") is None


async def test_jetstream_forgets_a_deleted_job(
    run_cli: RunCli, make_job: MakeJob, cli_services: Services
) -> None:
    job = await make_job("streamed")
    run_cli("keys", "add", "streamed")
    address = BusAddress(cli_services.nats_url, cli_services.nats_user, cli_services.nats_password)
    async with connect_bus(address, role="test") as bus:
        records, keys = RecordsStream(bus), KeysStream(bus)
        await records.ensure()
        await records.ensure_consumer(job.token, ack_wait_seconds=30, max_ack_pending=10)
        await records.publish(job.token, [1, 2])
        assert await keys.count(job.token) == 1

        run_cli("delete", "streamed", "--yes")

        assert await records.lag(job.token) is None
        assert await records.present(job.token) == set()
        assert await keys.count(job.token) == 0


async def test_force_also_removes_what_workers_publish_during_the_deletion(
    make_job: MakeJob, cli_services: Services, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await make_job("still-busy")
    async with (
        connect_bus(cli_services.bus_address, role="test") as bus,
        open_pool(cli_services.database_url, role="test", size=1) as pool,
    ):
        records = RecordsStream(bus)
        await records.ensure()

        async def delete_and_publish(connection: asyncpg.Connection, job_no: int, policy: str) -> None:
            await delete_job(connection, job_no, policy)
            await records.publish(job.token, [1])

        monkeypatch.setattr(jobs, "delete_job", delete_and_publish)

        assert await delete_everywhere(cli_services, pool, job, policy="Delete", force=True)

        assert await find_job(connection, job.token) is None
        assert await records.present(job.token) == set()


async def test_while_nats_is_unreachable_a_job_is_deleted_only_by_force(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection, cli_services: Services
) -> None:
    await make_job("cut-off")
    env = {"DATABASE_URL": cli_services.database_url, "VAULTSTREAM_NATS_URL": "nats://127.0.0.1:9"}

    refused = run_cli("delete", "cut-off", "--yes", env=env, check=False)
    assert refused.returncode == 5
    assert await find_job(connection, "cut-off") is not None

    forced = run_cli("delete", "cut-off", "--yes", "--force", env=env)
    assert "NATS is unreachable" in forced.stderr
    assert await find_job(connection, "cut-off") is None


@pytest.mark.parametrize(
    ("answer", "code"),
    [("n\n", 1), (signal.SIGINT, 1), (signal.SIGTERM, 130), (signal.SIGHUP, 130), ("y\n", 0)],
    ids=["no", "Ctrl-C", "SIGTERM", "SIGHUP", "yes"],
)
async def test_on_a_terminal_it_asks_first(
    make_job: MakeJob,
    connection: asyncpg.Connection,
    cli_services: Services,
    answer: str | signal.Signals,
    code: int,
) -> None:
    job = await make_job("asked-for")
    terminal, its_end = pty.openpty()
    try:
        asking = await asyncio.create_subprocess_exec(
            *command_line("delete", job.token, "--policy", "Delete"),
            cwd=cli_services.data_dir,
            env=clean_environment(cli_services.data_dir),
            stdin=its_end,
            stderr=asyncio.subprocess.PIPE,
        )
        assert asking.stderr is not None
        await asyncio.wait_for(asking.stderr.readuntil(b"[y/N]"), 30)
        if isinstance(answer, signal.Signals):
            asking.send_signal(answer)
        else:
            os.write(terminal, answer.encode())
        said = (await asyncio.wait_for(asking.stderr.read(), 30)).decode()

        assert await asking.wait() == code
        assert ("nothing was deleted." in said.lower()) is (code != 0)
        assert (await find_job(connection, job.token) is not None) is (code != 0)
    finally:
        os.close(its_end)
        os.close(terminal)
        await delete_job(connection, job.job_no, "Delete")
