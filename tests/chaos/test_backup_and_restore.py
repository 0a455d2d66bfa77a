"""Runs the commands of docs/operations.md for backup and restore: a half-done job is finished on other servers."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shutil
import subprocess
import sysconfig
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from support.command import Command
from support.waiting import eventually
from vaultstream.audit.report import AuditFinding
from vaultstream.errors import ExitCode
from vaultstream.local.programs import postgres_programs
from vaultstream.local.services import LocalServices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
OWNER, DATABASE = "proprietor", "signing"
RECORDS = 1_500


def documented() -> tuple[str, str]:
    """The commands for the backup, and those for the restore."""
    text = PAGE.read_text()
    section = text[text.index("## Backup and restore\n") :].split("\n## ", 2)[0]
    backup, restore = re.findall(r"^```bash\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)
    return backup, restore


@dataclass(frozen=True)
class Site:
    """Its own Postgres and NATS; runs commands against them as the owner of the database."""

    command: Command
    environment: dict[str, str] = field(repr=False)

    @property
    def kek(self) -> Path:
        return Path(self.environment["VAULTSTREAM_KEK_FILE"])

    def run(self, *arguments: str, expect: int = 0) -> str:
        done = self.command.run(*arguments, expect=expect, **self.environment)
        return done.stdout + done.stderr

    def verified(self, token: str) -> tuple[int, int]:
        """Returns the numbers of valid signatures and of pending records; there must be no other findings."""
        process = self.command.start("verify", token, "--json", **self.environment)
        report = json.loads(process.communicate(timeout=110)[0])
        pending = report["pending"]
        assert process.returncode == (ExitCode.AUDIT if pending else ExitCode.OK), report
        odd = [finding for finding in AuditFinding if finding is not AuditFinding.PENDING]
        assert {name: report[name] for name in odd} == dict.fromkeys(odd, 0)
        return report["valid"], pending

    def shell(self, commands: str, folder: Path) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=folder,
            env=self.command.environment(**self.environment),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout

    async def query(self, sql: str) -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(self.environment["DATABASE_URL"])
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    async def count(self, sql: str) -> int:
        [(number,)] = await self.query(sql)
        assert isinstance(number, int)
        return number

    async def signatures(self) -> int:
        return await self.count("SELECT count(*)::int FROM vaultstream.signatures_1")


@asynccontextmanager
async def open_site(folder: Path) -> AsyncIterator[Site]:
    """Starts empty servers; the owner of the database exists, the database does not."""
    await asyncio.to_thread(folder.mkdir)
    async with LocalServices(folder / "servers") as local:
        services = await local.services()
        password = secrets.token_hex(8)
        admin = await asyncpg.connect(services.database_url)
        await admin.execute(f"CREATE ROLE {OWNER} LOGIN CREATEDB CREATEROLE PASSWORD '{password}'")
        await admin.close()
        parts = urlsplit(services.database_url)
        [socket] = parse_qs(parts.query)["host"]
        [port] = parse_qs(parts.query).get("port", ["5432"])
        programs = (str(postgres_programs()), sysconfig.get_path("scripts"), "/usr/bin", "/bin")
        environment = {
            "PATH": ":".join(programs),
            "PGHOST": socket,
            "PGPORT": port,
            "PGDATABASE": DATABASE,
            "PGUSER": OWNER,
            "PGPASSWORD": password,
            "DATABASE_URL": f"postgresql://{OWNER}:{password}@/{DATABASE}?host={socket}&port={port}",
            "VAULTSTREAM_NATS_URL": services.nats_url,
            "VAULTSTREAM_NATS_USER": services.nats_user,
            "VAULTSTREAM_NATS_PASSWORD": services.nats_password,
            "VAULTSTREAM_KEK_FILE": str(folder / "kek"),
            "VAULTSTREAM_SEAL_KEY_FILE": str(folder / "seal-key"),
        }
        yield Site(Command(folder), environment)


def manifest(site: Site) -> str:
    return site.command.manifest(
        "receipts",
        records={"table": "receipts"},
        batchSize=50,
        keys={"count": 2, "algorithm": "RSA_PSS_3072_SHA256"},
    )


@dataclass(frozen=True)
class Backup:
    folder: Path
    token: str


async def back_up_half_a_job(folder: Path) -> Backup:
    """Takes the backup while signers sign, then kills everything."""
    async with open_site(folder / "lost") as site:
        site.shell("createdb --template=template0", folder)
        site.run("migrate", "--create-roles")
        site.run("keys", "init")
        site.run("seal-key", "create")
        await site.query("CREATE TABLE receipts (id bigint PRIMARY KEY, payload text)")
        await site.query(f"INSERT INTO receipts SELECT n, md5(n::text) FROM generate_series(1, {RECORDS}) n")
        process = site.command.start("run", "-f", manifest(site), **site.environment)
        try:
            job = "SELECT count(*)::int FROM vaultstream.jobs"
            await eventually(lambda: site.count(job))
            await eventually(lambda: _signed(site, RECORDS // 4), seconds=120)
            backup, _ = documented()
            site.shell(backup, folder)
        finally:
            process.kill()
            process.communicate()
            await eventually(lambda: not site.command.workers())
        [(token,)] = await site.query("SELECT token FROM vaultstream.jobs")
    shutil.rmtree(folder / "lost")
    return Backup(folder, str(token))


async def _signed(site: Site, least: int) -> bool:
    return await site.signatures() >= least


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Backup:
    return asyncio.run(back_up_half_a_job(tmp_path_factory.mktemp("backup")))


async def test_a_half_done_job_is_restored_verified_and_finished_on_other_servers(
    backup: Backup, tmp_path: Path
) -> None:
    _, restore = documented()
    async with open_site(tmp_path / "new") as site:
        site.shell(restore, backup.folder)
        before = await site.query("SELECT record_id, signature FROM vaultstream.signatures_1")
        assert 0 < len(before) < RECORDS
        assert site.verified(backup.token) == (len(before), RECORDS - len(before))
        site.run("run", "-f", manifest(site))
        assert await site.query("SELECT state::text FROM vaultstream.jobs") == [("Complete",)]
        after = dict(await site.query("SELECT record_id, signature FROM vaultstream.signatures_1"))
        assert after.keys() == set(range(1, RECORDS + 1))
        assert set(before) <= set(after.items()), "signatures from before the restore have not changed"
        assert site.verified(backup.token) == (RECORDS, 0)


async def test_a_restore_without_the_key_encryption_key_says_so_and_signs_nothing(
    backup: Backup, tmp_path: Path
) -> None:
    _, restore = documented()
    line = 'install -m 600 vaultstream.kek "$VAULTSTREAM_KEK_FILE"\n'
    assert line in restore
    async with open_site(tmp_path / "new") as site:
        site.shell(restore.replace(line, "").replace("vaultstream doctor\n", ""), backup.folder)
        before = await site.signatures()

        said = site.run("run", "-f", manifest(site), expect=ExitCode.CUSTODY)
        assert str(site.kek) in said
        said = site.run("keys", "init", expect=ExitCode.CUSTODY)
        assert f"Put the old file back at {site.kek}" in said

        site.run("keys", "init", "--force")
        said = site.run("run", "-f", manifest(site), expect=ExitCode.CUSTODY)
        assert "error:" in said
        assert "RSA" not in said
        assert await site.signatures() == before
        assert site.verified(backup.token) == (before, RECORDS - before)

        site.run("keys", "retire", backup.token, "--all")
        site.run("keys", "add", backup.token, "--count", "2")
        site.run("run", "-f", manifest(site))
        assert await site.signatures() == RECORDS
        assert site.verified(backup.token) == (RECORDS, 0)


async def test_the_roles_and_their_permissions_exist_after_a_restore(backup: Backup, tmp_path: Path) -> None:
    _, restore = documented()
    async with open_site(tmp_path / "new") as site:
        site.shell(restore, backup.folder)
        for role, may in {"signing": False, "auditor": True}.items():
            granted = (
                f"SELECT has_table_privilege('vaultstream_{role}', 'vaultstream.signatures_1', 'SELECT')"
            )
            [(there,)] = await site.query(granted)
            assert there or not may, role
            [(writes,)] = await site.query(granted.replace("'SELECT'", "'INSERT'"))
            assert writes is False, role
        functions = "SELECT DISTINCT has_function_privilege('vaultstream_{}', oid, 'EXECUTE') FROM pg_proc WHERE proname = 'commit_batches'"
        assert await site.query(functions.format("signing")) == [(True,)]
        assert await site.query(functions.format("auditor")) == [(False,)]
