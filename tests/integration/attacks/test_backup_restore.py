"""Someone restores a backup from before a revocation, by mistake or to use the key again: the key stays revoked."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg
import pytest

from support.as_user import connect
from support.command import Command
from support.engine import open_bus, open_context
from support.local_services import local_services
from vaultstream.api import SigningJobSpec
from vaultstream.bus.keys import KeysStream
from vaultstream.crypto.keyring import load_keyring
from vaultstream.crypto.revocations import load_revocations
from vaultstream.keys.worker import KeyPublisher, make_missing_keys
from vaultstream.local.programs import postgres_programs
from vaultstream.local.psql import psql_command
from vaultstream.local.runner import open_job
from vaultstream.local.services import Services
from vaultstream.store import schema
from vaultstream.store.database import open_pool
from vaultstream.store.jobs import Job
from vaultstream.store.keys import list_states

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

RECORDS = 60


@dataclass
class Site:
    """A job that has its keys and has signed nothing; what a backup holds of it."""

    command: Command
    services: Services
    job: Job
    backup: bytes = field(repr=False, default=b"")

    async def _program(self, name: str, *arguments: str, given: bytes = b"") -> bytes:
        words, environment = psql_command(self.services.database_url, arguments)
        done = await asyncio.to_thread(
            subprocess.run,
            [str(postgres_programs() / name), *words],
            env=environment,
            input=given,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    async def back_up(self) -> None:
        self.backup = await self._program("pg_dump", "--clean", "--if-exists", "--schema", "vaultstream")

    async def restore(self) -> None:
        await self._program("psql", "--quiet", "--set", "ON_ERROR_STOP=1", given=self.backup)

    async def states(self) -> dict[str, str]:
        async with connect(self.services.database_url) as connection:
            found = await list_states(connection, self.job.job_no)
            return {key_id: state for key_id, (state, _) in found.items()}

    async def query(self, sql: str) -> list[asyncpg.Record]:
        async with connect(self.services.database_url) as connection:
            return await connection.fetch(sql)

    def failures(self) -> list[str]:
        """The messages of what `doctor` finds wrong with revocations."""
        process = self.command.start("doctor", "--json")
        out, _ = process.communicate(timeout=100)
        findings = json.loads(out)["findings"]
        return [
            each["message"]
            for each in findings
            if each["level"] == "failed" and "revocations" in each["check"]
        ]


@pytest.fixture
async def site(command: Command) -> AsyncIterator[Site]:
    async with local_services(command.data_dir) as services:
        async with connect(services.database_url) as connection:
            await schema.migrate(connection)
            await connection.execute("CREATE TABLE receipts (id bigint PRIMARY KEY, payload text)")
            await connection.execute(
                f"INSERT INTO receipts SELECT n, 'r' || n FROM generate_series(1, {RECORDS}) AS n"
            )
            spec = SigningJobSpec.model_validate(
                {
                    "records": {"table": "receipts"},
                    "batchSize": 5,
                    "keys": {"count": 3, "algorithm": "ED25519"},
                }
            )
            job = await open_job(connection, "receipts", spec)
        async with open_pool(services.database_url, role="test", size=2) as pool:
            await make_missing_keys(pool, job, load_keyring(services.kek_file))
        yield Site(command, services, job)


def run(site: Site) -> None:
    manifest = site.command.manifest(
        "receipts",
        records={"table": "receipts"},
        batchSize=5,
        keys={"count": 3, "algorithm": "ED25519"},
    )
    site.command.run("run", "-f", manifest, "--max-signers", "1")


async def test_a_key_revived_by_a_restore_signs_nothing_and_is_revoked_again(site: Site) -> None:
    [stolen, *others] = await site.states()
    await site.back_up()
    site.command.run("keys", "revoke", "receipts", stolen, "--reason", "its backup was stolen")
    assert (await site.states())[stolen] == "revoked"
    assert site.failures() == []

    await site.restore()
    assert (await site.states())[stolen] == "active", "the database knows nothing of the revocation"
    [found] = site.failures()
    assert stolen in found

    run(site)
    assert await site.states() == {stolen: "revoked", **dict.fromkeys(others, "active")}
    used = await site.query(
        f"SELECT k.key_id, count(*)::int FROM {site.job.signatures_table} JOIN vaultstream.keys k USING (key_no) GROUP BY 1"
    )
    assert {row["key_id"] for row in used} <= set(others)
    assert sum(row["count"] for row in used) == RECORDS
    assert site.failures() == []
    assert (
        "keys revoked again" in (site.command.data_dir / "logs" / site.job.token / "keys-1.log").read_text()
    )


async def test_a_signature_made_after_the_revocation_that_a_restore_undid_is_found(site: Site) -> None:
    """The file of revocations was missing where the job ran, and is there where the job is verified."""
    [stolen, *_] = await site.states()
    await site.back_up()
    site.command.run("keys", "revoke", "receipts", stolen)
    await site.restore()
    file = site.command.data_dir / "revocations"
    elsewhere = site.command.folder / "kept-elsewhere"
    file.rename(elsewhere)
    run(site)
    assert site.command.json("verify", "receipts")["ok"], "nothing here knows of the revocation"

    report = site.command.json("verify", "receipts", expect=4, VAULTSTREAM_REVOCATIONS_FILE=str(elsewhere))
    assert report["after_revocation"] > 0
    [key] = report["revoked_keys"]
    assert (key["key_id"], key["signatures"]) == (stolen, report["after_revocation"])


async def test_the_file_is_written_before_the_database(site: Site) -> None:
    [key_id, *_] = await site.states()
    file = site.command.data_dir / "revocations"
    await asyncio.to_thread(file.mkdir)
    failed = site.command.run("keys", "revoke", "receipts", key_id, expect=6)
    assert "Nothing was revoked" in failed.stderr
    assert (await site.states())[key_id] == "active"

    await asyncio.to_thread(file.rmdir)
    site.command.run("keys", "revoke", "receipts", key_id, "--reason", "lost")
    [entry] = load_revocations(file).entries
    assert (entry.key_id, entry.reason) == (key_id, "lost")
    ended = await site.query(f"SELECT ended_at FROM vaultstream.keys WHERE key_id = '{key_id}'")
    assert entry.revoked_at <= ended[0]["ended_at"]


async def test_what_the_stream_tells_of_a_revocation_is_not_overwritten_after_a_restore(site: Site) -> None:
    """The file of revocations is lost too: the stream of keys is the last to know."""
    [stolen, *others] = await site.states()
    url = site.services.database_url
    async with open_context(site.services, url, site.job) as context:
        await KeyPublisher(context).publish_changes()
    await site.back_up()
    site.command.run("keys", "revoke", "receipts", stolen)
    await site.restore()
    await asyncio.to_thread((site.command.data_dir / "revocations").unlink)

    async with open_bus(site.services) as bus, open_context(site.services, url, site.job) as context:
        stream = KeysStream(bus)
        publisher = KeyPublisher(context)
        await publisher.publish_changes()
        await publisher.publish_changes()
        told = await stream.states(site.job.token, [stolen, *others])
        assert told == {stolen: "revoked", **dict.fromkeys(others, "active")}
        await site.query("UPDATE vaultstream.jobs SET state = 'Running'")
        [found] = site.failures()
        assert stolen in found

        site.command.run("keys", "revoke", "receipts", stolen)
        await publisher.publish_changes()
        assert site.failures() == []


async def test_a_damaged_file_of_revocations_stops_the_keys_worker(site: Site) -> None:
    [key_id, *_] = await site.states()
    site.command.run("keys", "revoke", "receipts", key_id)
    file = site.command.data_dir / "revocations"
    file.write_text(file.read_text().replace("key_id", "key"))
    services = site.services
    stopped = site.command.start(
        *("worker", "keys", "receipts"),
        DATABASE_URL=services.database_url,
        VAULTSTREAM_NATS_URL=services.nats_url,
        VAULTSTREAM_NATS_PASSWORD=services.nats_password,
    )
    out, err = await asyncio.to_thread(stopped.communicate, timeout=60)
    assert (stopped.returncode, "Line 1" in out + err) == (6, True), out + err
