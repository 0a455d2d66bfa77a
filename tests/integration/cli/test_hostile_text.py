"""Ids, names and messages that try to control a terminal are escaped by every command, in a pipe and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from integration.audit.signed_job import make_job
from integration.cli.conftest import clean_environment, command_line
from support.as_user import connect
from support.engine import new_name
from support.forking import run_command_raw
from vaultstream.visible import visible

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from vaultstream.local.services import Services

pytestmark = pytest.mark.integration

EVIL = "\x1b]0;owned\x07\x9b31m\x7f\u202e\u2066\u200b\u2028[bold]:smile:\r\x08"
NAME = f"job{EVIL}"
FORGED = "gone\nerror: all keys are revoked"


class Site:
    """A job each of whose texts is hostile, and the environment of commands that find it."""

    def __init__(
        self, folder: Path, services: Services, connection: asyncpg.Connection, url: str, token: str
    ) -> None:
        self.folder, self.connection, self.token = folder, connection, token
        self.environment = clean_environment(services.data_dir) | {
            "DATABASE_URL": url,
            "VAULTSTREAM_NATS_URL": services.nats_url,
            "VAULTSTREAM_NATS_USER": services.nats_user,
            "VAULTSTREAM_NATS_PASSWORD": services.nats_password,
            "VAULTSTREAM_KEK_FILE": str(services.kek_file),
            "VAULTSTREAM_DATA_DIR": str(folder),
            "TERM": "dumb",  # no styles: each control character would come from the data
        }

    def pipe(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        done = run_command_raw(arguments, cwd=self.folder, env=self.environment | dict(env or {}))
        assert b"Traceback" not in done.stderr, done.stderr
        return (done.stdout + done.stderr).decode()

    def terminal(self, *arguments: str) -> str:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            command_line(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        read = bytearray()
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # the last process that had the terminal open has ended
                break
            if not chunk:
                break
            read += chunk
        os.close(ours)
        process.wait(timeout=60)
        return read.decode().replace("\r\n", "\n")


@pytest.fixture
async def site(cli_services: Services, migrated_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with connect(migrated_url) as connection:
        signed = await make_job(
            connection,
            migrated_url,
            name="hostile",
            id_column="text",
            ids=[f"{n}{EVIL}" for n in range(1, 9)],
            dead=frozenset({f"1{EVIL}"}),
            waiting=frozenset({f"8{EVIL}"}),
        )
        # A superuser, whom no trigger holds back, writes what a hostile owner of the schema could leave behind.
        await connection.execute("SET session_replication_role = replica")
        for statement in (
            "UPDATE vaultstream.jobs SET message = $1",
            "UPDATE vaultstream.dead_letters SET message = $1",
            "UPDATE vaultstream.batches SET error = $1, attempts = 1 WHERE state = 'pending'",
            "UPDATE vaultstream.keys SET holder = $1, leased_at = now(), lease_until = now() + interval '1 hour' WHERE ordinal = 1",
        ):
            await connection.execute(statement, f"{EVIL}{FORGED}")
        await connection.execute(
            "INSERT INTO vaultstream.audit_events (job_no, action, login, at, arguments) VALUES ($1, 'export', $2, now(), $3)",
            signed.job.job_no,
            f"{EVIL}{FORGED}",
            {EVIL: FORGED},
        )
        await connection.execute("UPDATE vaultstream.keys SET key_id = key_id || $1", EVIL)
        await connection.execute("UPDATE vaultstream.jobs SET name = $1", NAME)
        await connection.execute(f'CREATE TABLE "table{EVIL}" ("id{EVIL}" int, payload text)')
        logs = tmp_path / "logs" / signed.job.token
        logs.mkdir(parents=True)
        (logs / "signing-1.log").write_text(f"{EVIL}\n", "utf-8")
        yield Site(tmp_path, cli_services, connection, migrated_url, signed.job.token)


def assert_harmless(text: str, case: object) -> None:
    assert visible(text, keep="\n") == text, case
    assert not re.search("^error: all keys", text, re.MULTILINE), case


def manifest(site: Site, table: str, column: str = "id") -> str:
    path = site.folder / f"{new_name('job')}.yaml"
    spec = {"records": {"table": table, "idColumn": column}}
    path.write_text(
        json.dumps(
            {
                "apiVersion": "vaultstream.dev/v1alpha1",
                "kind": "SigningJob",
                "metadata": {"name": "other"},
                "spec": spec,
            }
        )
    )
    return str(path)


Walk = list[tuple[tuple[str, ...], bool]]
"""Commands, and whether the escaped text must appear in what they print."""


def reading(site: Site) -> Walk:
    record, to = f"2{EVIL}", str(site.folder / "out")
    return [
        (("jobs",), True),
        (("status", site.token), True),
        (("status", site.token, "--json"), False),
        (("dead", site.token), True),
        (("audit-log", site.token), True),
        (("audit-log", site.token, "--json"), False),
        (("verify", site.token, "--processes", "1"), True),
        (("export", site.token), False),
        (("export", site.token, "--records", f"8{EVIL}"), True),
        (("extract", site.token, record, "--to", to), False),
        (("extract", site.token, f"1{EVIL}", "--to", to), True),
        (("extract", site.token, record, "--to", to, "--json"), False),
    ]


def changing(site: Site) -> Walk:
    return [
        (("keys", "list", site.token), True),
        (("keys", "export", site.token), False),
        (("keys", "export", site.token, "--format", "pem"), True),
        (("keys", "retire", site.token, EVIL), True),
        (("keys", "retire", site.token, "--all"), True),
        (("retry", site.token, "--dead", "--no-run"), True),
        (("delete", site.token, "--yes"), True),
    ]


def loading(site: Site) -> Walk:
    name = EVIL.replace("/", "")
    csv = site.folder / f"file{name}.csv"
    csv.write_text(f'"id{name}",payload\n1,a\n1,b\n', "utf-8", newline="")
    return [
        (("run", "-f", manifest(site, EVIL)), True),
        (("run", "-f", manifest(site, f"table{EVIL}", "nothing")), True),
        (("run", "-f", str(site.folder / name)), True),
        (("import", str(csv), "--table", "imported", "--id-column", f"id{EVIL}"), True),
        (("import", str(csv), "--table", f"table{EVIL}", "--id-column", "id"), True),
        (("debug", "logs", site.token, "--no-follow"), True),
        (("debug", "streams"), False),
        (("doctor",), True),
    ]


@pytest.mark.parametrize("walk", [reading, changing, loading])
async def test_no_command_prints_a_control_character_of_the_data(
    site: Site, walk: Callable[[Site], Walk]
) -> None:
    for arguments, shown in walk(site):
        text = site.pipe(*arguments)
        assert_harmless(text, arguments)
        if shown:
            assert r"\x1b]0" in text, (arguments, text)  # a narrow column folds the rest


@pytest.mark.parametrize("name", ["status", "dead", "verify", "export", "keys list", "doctor"])
async def test_no_command_controls_the_terminal_on_behalf_of_the_data(site: Site, name: str) -> None:
    job = () if name == "doctor" else (site.token,)
    form = ("--format", "csv") if name == "export" else ()
    text = site.terminal(*name.split(), *job, *form)
    assert_harmless(text, name)
    assert r"\x1b]0" in text


async def test_json_has_the_exact_text(site: Site) -> None:
    def read(*arguments: str) -> Any:
        return json.loads(site.pipe(*arguments, "--json"))

    assert [job["name"] for job in read("jobs")] == [NAME]
    [letter] = read("dead", site.token)["dead_letters"]
    assert letter["record_id"] == f"1{EVIL}"
    assert letter["message"] == f"{EVIL}{FORGED}"
    lines = site.pipe("export", site.token).splitlines()
    assert [json.loads(line)["record_id"] for line in lines] == [f"{n}{EVIL}" for n in (2, 3, 4)]


async def test_a_pipe_gets_the_exact_csv(site: Site) -> None:
    text = site.pipe("export", site.token, "--format", "csv", "--records", f"2{EVIL}")
    assert f'"2{EVIL}"' in text


async def test_an_error_that_the_database_words_is_one_indented_message(site: Site) -> None:
    await site.connection.execute(
        "UPDATE vaultstream.jobs SET state = 'Failed', finished_at = now(), message = $1", FORGED
    )
    text = site.pipe("retry", site.token, "--dead")
    assert "gone\n  error: all keys are revoked" in text
    assert_harmless(text, "retry")
