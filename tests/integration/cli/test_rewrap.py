"""Rotating the key-encryption key: every key can be unwrapped at each moment, whatever is killed."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from integration.cli.conftest import clean_environment, command_line
from vaultstream.crypto.algorithms import private_key_from_bytes, public_key_to_bytes
from vaultstream.crypto.envelope import unwrap
from vaultstream.crypto.keyring import load_keyring
from vaultstream.keys.changes import KEK_LOCK, making_keys
from vaultstream.store.jobs import start_job
from vaultstream.store.keys import list_keys, list_wrapped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from integration.cli.conftest import RunCli
    from vaultstream.local.services import Services
    from vaultstream.store.jobs import Job

    MakeJob = Callable[..., Awaitable[Job]]

pytestmark = pytest.mark.integration


async def keks_that_work(connection: asyncpg.Connection, job: Job, services: Services) -> set[str]:
    """Unwraps every key of a job with the file as it is; returns the key-encryption keys that wrap them."""
    ring = load_keyring(services.kek_file)
    public = {key.key_id: key.public_key for key in await list_keys(connection, job.job_no)}
    wrapped = await list_wrapped(connection, job)
    assert len(wrapped) == len(public)
    for key in wrapped:
        assert public_key_to_bytes(private_key_from_bytes(unwrap(ring, key))) == public[key.key_id]
    return {key.kek_id for key in wrapped}


async def test_the_old_key_encryption_key_stays_until_no_other_job_needs_it(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection, cli_services: Services
) -> None:
    moving, other = await make_job("moving"), await make_job("other")
    old = load_keyring(cli_services.kek_file).primary.kek_id

    done = json.loads(run_cli("keys", "rewrap", "moving", "--json").stdout)

    assert done["keys"] == 3
    assert old in done["kept"]
    assert await keks_that_work(connection, moving, cli_services) == {done["kek_id"]}
    assert await keks_that_work(connection, other, cli_services) == {old}


async def test_a_key_encryption_key_that_nothing_needs_is_dropped(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection, cli_services: Services
) -> None:
    job = await make_job("alone")
    between = json.loads(run_cli("keys", "rewrap", "alone", "--json").stdout)["kek_id"]

    done = json.loads(run_cli("keys", "rewrap", "alone", "--json").stdout)

    assert between in done["dropped"]
    assert between not in load_keyring(cli_services.kek_file).ids
    assert await keks_that_work(connection, job, cli_services) == {done["kek_id"]}


async def test_without_rotation_a_rewrap_has_nothing_left_to_do(
    run_cli: RunCli, make_job: MakeJob, cli_services: Services
) -> None:
    await make_job("settled")
    before = load_keyring(cli_services.kek_file).primary

    done = json.loads(run_cli("keys", "rewrap", "settled", "--no-rotate", "--json").stdout)

    assert (done["keys"], done["kek_id"]) == (0, before.kek_id)


async def test_a_rewrap_that_was_killed_leaves_all_keys_usable_and_is_finished_by_the_next(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection, cli_services: Services
) -> None:
    job = await make_job("many-keys", keys=800)
    old = load_keyring(cli_services.kek_file).primary.kek_id
    rewrap = await asyncio.create_subprocess_exec(
        *command_line("keys", "rewrap", "many-keys"),
        cwd=cli_services.data_dir,
        env=clean_environment(cli_services.data_dir),
        stderr=asyncio.subprocess.DEVNULL,
    )
    moved = (
        "SELECT count(*) FROM vaultstream.key_material m JOIN vaultstream.keys k USING (key_no) "
        "WHERE k.job_no = $1 AND m.version > 1"
    )
    while not await connection.fetchval(moved, job.job_no):
        assert rewrap.returncode is None
    rewrap.kill()
    assert await rewrap.wait() == -9

    assert old in await keks_that_work(connection, job, cli_services), (
        "it was killed too late to show anything"
    )

    await connection.execute("SELECT pg_advisory_lock($1)", KEK_LOCK)  # once Postgres has noticed
    await connection.execute("SELECT pg_advisory_unlock($1)", KEK_LOCK)
    done = json.loads(run_cli("keys", "rewrap", "many-keys", "--no-rotate", "--json").stdout)
    assert 0 < done["keys"] < 800
    assert await keks_that_work(connection, job, cli_services) == {done["kek_id"]}


async def test_nothing_is_dropped_while_a_keys_worker_may_hold_the_old_file(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection, cli_services: Services
) -> None:
    unmade, job = await make_job("unmade"), await make_job("eager")
    between = json.loads(run_cli("keys", "rewrap", "eager", "--json").stdout)["kek_id"]
    await start_job(connection, unmade.job_no, upper_id="1")
    await connection.execute(
        "WITH last AS (DELETE FROM vaultstream.key_material m USING vaultstream.keys k WHERE k.key_no = m.key_no "
        "AND k.job_no = $1 AND k.ordinal = 3 RETURNING k.key_no) DELETE FROM vaultstream.keys WHERE key_no IN (TABLE last)",
        unmade.job_no,
    )

    done = json.loads(run_cli("keys", "rewrap", "eager", "--json").stdout)

    assert done["waiting_for"] == ["unmade"]
    assert between in load_keyring(cli_services.kek_file).ids
    assert await keks_that_work(connection, job, cli_services) == {done["kek_id"]}
    await connection.execute("UPDATE vaultstream.jobs SET state = 'Failed' WHERE job_no = $1", unmade.job_no)


async def test_keys_are_not_rewrapped_while_a_command_creates_keys(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection
) -> None:
    job = await make_job("busy")

    async with making_keys(connection, job):
        refused = await asyncio.to_thread(run_cli, "keys", "rewrap", "busy", check=False)

    assert refused.returncode == 2
    assert "Another command is making or rewrapping keys" in refused.stderr
