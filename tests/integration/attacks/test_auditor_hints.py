"""An auditor's login: what it lacks is never answered with the advice to take the rights of a signer."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from typing import TYPE_CHECKING

import asyncpg
import pytest

from support.as_user import connect
from support.command import Command
from support.engine import add_job, add_table, new_name
from support.forking import run_command
from vaultstream.errors import SourceError
from vaultstream.importing.options import ImportOptions, Mode
from vaultstream.importing.target import find_existing

if TYPE_CHECKING:
    from pathlib import Path

    from support.guarded import GuardedDatabase, GuardedNats

pytestmark = pytest.mark.integration


async def run_as(
    database: GuardedDatabase, nats: GuardedNats, part: str, folder: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    environment = Command(folder).environment(
        **database.environment(part), **nats.environment("auditor"), VAULTSTREAM_KEK_FILE=str(folder / "kek")
    )
    return await asyncio.to_thread(
        run_command, arguments, cwd=folder, env={**environment, "VAULTSTREAM_DATA_DIR": os.fspath(folder)}
    )


@pytest.fixture
async def job(owner: asyncpg.Connection) -> str:
    return (await add_job(owner, await add_table(owner, range(3)), keys=0)).token


def roles_named(text: str) -> set[str]:
    return set(re.findall(r"vaultstream_[a-z]+", text))


@pytest.mark.parametrize(
    ("attempt", "role"),
    [
        ("source: jobs", "vaultstream_auditor"),
        ("source: verify JOB", "vaultstream_auditor"),
        ("source: export JOB", "vaultstream_auditor"),
        ("source: doctor", "vaultstream_auditor"),
        ("auditor: keys revoke JOB --all", "vaultstream_keys"),
        ("auditor: delete JOB --policy Retain --force", "vaultstream_operator"),
    ],
)
async def test_a_missing_right_is_asked_for_the_role_of_the_command(
    database: GuardedDatabase, nats: GuardedNats, job: str, tmp_path: Path, *, attempt: str, role: str
) -> None:
    part, _, arguments = attempt.partition(": ")
    done = await run_as(database, nats, part, tmp_path, *arguments.replace("JOB", job).split())
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "permission denied" in said, said
    assert roles_named(said) == {role}, said


async def test_an_auditor_examines_and_lists_keys_without_reading_wrapped_ones(
    database: GuardedDatabase, nats: GuardedNats, job: str, tmp_path: Path
) -> None:
    listed = await run_as(database, nats, "auditor", tmp_path, "keys", "list", job)
    assert listed.returncode == 0, listed.stderr
    examined = await run_as(database, nats, "auditor", tmp_path, "doctor")
    assert "permission denied" not in examined.stdout
    assert "this user may not read them" in examined.stdout
    assert not roles_named(examined.stdout + examined.stderr)


async def test_an_import_names_no_column_of_a_table_that_its_user_may_not_see(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    table = new_name("secrets")
    await owner.execute(f"CREATE TABLE {table} (id bigint PRIMARY KEY, salary_of_the_boss text)")
    options = ImportOptions(table=table, id_column="id", payload_column="payload", mode=Mode.APPEND)
    async with connect(database.urls["source"]) as connection:
        with pytest.raises(SourceError, match="may not add to the table") as refused:
            await find_existing(connection, options, "bytea")
    assert "salary" not in f"{refused.value.message} {refused.value.hint}"
    with pytest.raises(SourceError, match="salary_of_the_boss"):
        await find_existing(owner, options, "bytea")
