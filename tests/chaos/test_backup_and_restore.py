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
    from collections.abc import AsyncIterator, Sequence

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
OWNER, DATABASE = "proprietor", "signing"
MERCHANT, SOURCE = "merchant", "shop_source"
"""The owner of the table, and the login that reads it."""
RECORDS = 1_500
RECORDS_OF_THE_MERCHANT = f"""
CREATE TABLE shop.receipts (id bigint PRIMARY KEY, payload text);
INSERT INTO shop.receipts SELECT n, md5(n::text) FROM generate_series(1, {RECORDS}) n;
GRANT SELECT ON shop.receipts TO {SOURCE};
CREATE FUNCTION shop.run(q text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE said text;
BEGIN EXECUTE q INTO said; RETURN said; EXCEPTION WHEN OTHERS THEN RETURN SQLERRM; END $$;
CREATE VIEW shop.keys AS SELECT shop.run('SELECT encode(wrapped, ''hex'') FROM vaultstream.key_material LIMIT 1');
GRANT SELECT ON shop.keys TO {SOURCE};
"""


def documented() -> tuple[str, str, str]:
    """The commands for the backup, and those for the restore before and after the logins are created."""
    text = PAGE.read_text()
    section = text[text.index("## Backup and restore\n") :].split("\n## ", 2)[0]
    backup, first, then = re.findall(r"^```bash\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)
    return backup, first, then


KEK_LINE = '[ -e "$VAULTSTREAM_KEK_FILE" ] || install -m 600 vaultstream.kek "$VAULTSTREAM_KEK_FILE"\n'
DOCTOR_LINE = "vaultstream doctor\n"


@dataclass(frozen=True)
class Site:
    """Its own Postgres and NATS; runs commands against them as the owner of the database."""

    command: Command
    environment: dict[str, str] = field(repr=False)
    admin_url: str
    """The URL of the database under the superuser."""

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

    async def administer(self) -> None:
        """Does what the page has an administrator do, once the database is there."""
        await self.execute(
            self.admin_url,
            f"CREATE SCHEMA shop AUTHORIZATION {MERCHANT}; GRANT USAGE ON SCHEMA shop TO {SOURCE}",
        )

    async def restore(self, folder: Path, *, left_out: Sequence[str] = ()) -> None:
        """Runs the commands of the page, apart from some lines."""
        _, first, then = documented()
        for line in left_out:
            assert line in first + then
            first, then = first.replace(line, ""), then.replace(line, "")
        self.shell(first, folder)
        await self.administer()
        self.shell(then, folder)

    def url_of(self, login: str) -> str:
        return self.environment["DATABASE_URL"].replace(f"//{OWNER}:", f"//{login}:", 1)

    async def execute(self, url: str, sql: str) -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def query(self, sql: str, *, url: str = "") -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(url or self.environment["DATABASE_URL"])
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
        for login in (MERCHANT, SOURCE):
            await admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{password}'")
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
            "RECORDS_USER": MERCHANT,
            "RECORDS_PASSWORD": password,
            "RECORDS_SCHEMA": "shop",
            "DATABASE_URL": f"postgresql://{OWNER}:{password}@/{DATABASE}?host={socket}&port={port}",
            "VAULTSTREAM_SOURCE_DATABASE_URL": f"postgresql://{SOURCE}:{password}@/{DATABASE}?host={socket}&port={port}",
            "VAULTSTREAM_NATS_URL": services.nats_url,
            "VAULTSTREAM_NATS_USER": services.nats_user,
            "VAULTSTREAM_NATS_PASSWORD": services.nats_password,
            "VAULTSTREAM_KEK_FILE": str(folder / "kek"),
            "VAULTSTREAM_SEAL_KEY_FILE": str(folder / "seal-key"),
        }
        yield Site(Command(folder), environment, parts._replace(path=f"/{DATABASE}").geturl())


def manifest(site: Site) -> str:
    return site.command.manifest(
        "receipts",
        records={"table": "shop.receipts"},
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
        await site.administer()
        await site.execute(site.url_of(MERCHANT), RECORDS_OF_THE_MERCHANT)
        process = site.command.start("run", "-f", manifest(site), **site.environment)
        try:
            job = "SELECT count(*)::int FROM vaultstream.jobs"
            await eventually(lambda: site.count(job))
            await eventually(lambda: _signed(site, RECORDS // 4), seconds=120)
            site.shell(documented()[0], folder)
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
    async with open_site(tmp_path / "new") as site:
        await site.restore(backup.folder)
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
    async with open_site(tmp_path / "new") as site:
        await site.restore(backup.folder, left_out=(KEK_LINE, DOCTOR_LINE))
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
    """Nobody has more: functions and views of the owners of records run with the rights that they had."""
    async with open_site(tmp_path / "new") as site:
        await site.restore(backup.folder)
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
        for login in (MERCHANT, SOURCE):
            got = await site.query("SELECT * FROM shop.keys", url=site.url_of(login))
            assert got == [("permission denied for schema vaultstream",)], (
                "code of an owner of records is his still"
            )
