"""Passwords that change in Postgres and NATS while a job runs: workers and the operator go on with those in the files."""

from __future__ import annotations

import asyncio
import secrets
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from support.as_user import connect
from support.engine import new_name
from support.guarded import GuardedDatabase, guarded_database, start_worker
from support.planning import job_of, spec_of
from support.rotating import ChangingNats, changing_nats
from support.waiting import eventually
from vaultstream.bus.address import BusAddress
from vaultstream.bus.permissions import BusRole, permissions
from vaultstream.credentials import CredentialFiles
from vaultstream.crypto.keyring import create_keyring
from vaultstream.local.services import LocalServices
from vaultstream.role import WorkerRole
from vaultstream.store.database import is_transient, open_pool
from vaultstream_operator.adapters.jetstream import JetStreamLags
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import StoredJob, Trouble

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

RECORDS = 30_000


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[GuardedDatabase]:
    """On a server that asks every login but the superuser for its password."""
    async with LocalServices(tmp_path / "postgres", nats=False) as local:
        url = (await local.services()).database_url
        async with connect(url) as admin:
            hba = Path(await admin.fetchval("SHOW hba_file"))
            rules = "local all postgres trust\nlocal all all scram-sha-256\n"
            await asyncio.to_thread(hba.write_text, rules)
            await admin.execute("SELECT pg_reload_conf()")
        async with guarded_database(url, new_name("shop")) as database:
            yield database


async def change_password(database: GuardedDatabase, part: str) -> str:
    """Changes the password of a part's login and ends its sessions; returns its new URL."""
    login, password = database.logins[part], secrets.token_hex(8)
    async with connect(database.admin_url) as admin:
        await admin.execute(f"ALTER ROLE {login} PASSWORD '{password}'")
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", login
        )
    old = urlsplit(database.urls[part]).password or ""
    return database.urls[part].replace(f":{old}@", f":{password}@")


async def test_a_pool_goes_on_with_the_password_that_the_file_has(
    database: GuardedDatabase, tmp_path: Path
) -> None:
    files = CredentialFiles(tmp_path)
    (tmp_path / "database-url").write_text(database.urls["auditor"])
    async with open_pool(lambda: files.text("database-url"), role="test", size=1) as pool:
        assert await pool.fetchval("SELECT 1") == 1
        url = await change_password(database, "auditor")

        async def refused() -> bool:
            """Not at once: the first use finds out that the session was ended."""
            try:
                await pool.fetchval("SELECT 1")
            except (asyncpg.PostgresError, asyncpg.InternalClientError, asyncpg.InterfaceError) as error:
                return isinstance(error, asyncpg.InvalidPasswordError) and is_transient(error)
            return False

        await eventually(refused)
        (tmp_path / "database-url").write_text(f"{url}\n")
        assert await pool.fetchval("SELECT 1") == 1


def users(passwords: dict[str, str]) -> dict[str, object]:
    """The users of NATS in its configuration, each with the permissions of its role."""
    listed = [
        {"user": role, "password": password, "permissions": permissions(BusRole(role)).to_config()}
        for role, password in passwords.items()
    ]
    return {"authorization": {"users": listed}}


def new_passwords() -> dict[str, str]:
    return {role.value: secrets.token_hex(8) for role in BusRole}


def mount(
    folder: Path, part: str, urls: dict[str, str], nats: ChangingNats, passwords: dict[str, str]
) -> Path:
    """Writes the credentials of a part as the kubelet mounts its Secret, and returns their folder."""
    texts = {
        "database-url": urls[part],
        "source-database-url": urls["source"],
        "nats-url": nats.url,
        "nats-user": part,
        "nats-password": passwords[part],
    }
    (folder / part).mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / part / f".{name}").write_text(text)
        (folder / part / f".{name}").replace(folder / part / name)
    return folder / part


async def test_all_passwords_change_under_a_job_and_nothing_is_restarted(
    database: GuardedDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULTSTREAM_CREDENTIALS_SECRET", "signing-operator")
    create_keyring(tmp_path / "kek")
    view, passwords = (
        job_of(spec_of(batchSize=20, keys={"count": 4, "algorithm": "ED25519"})),
        new_passwords(),
    )
    parts = ("operator", *WorkerRole)
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(changing_nats(tmp_path / "nats", **users(passwords)))
        async with connect(database.urls["owner"]) as owner:
            await owner.execute("CREATE TABLE receipts (id bigint PRIMARY KEY, payload text)")
            await owner.execute(
                f"INSERT INTO receipts SELECT n, 'r' || n FROM generate_series(1, {RECORDS}) AS n"
            )
            await owner.execute(f"GRANT SELECT ON receipts TO {database.logins['source']}")
        folders = {part: mount(tmp_path, part, database.urls, nats, passwords) for part in parts}
        files = CredentialFiles(folders["operator"])
        address = BusAddress(nats.url, "operator", "", files=files)
        lags = await stack.enter_async_context(JetStreamLags(address))
        store = await stack.enter_async_context(PostgresStore(lambda: files.text("database-url"), lags))
        assert await store.act(StoreAction.CREATE, view) is None
        made = await store.find(view)
        assert isinstance(made, StoredJob), made
        processes = {}
        for part in WorkerRole:
            environment = {
                "VAULTSTREAM_CREDENTIALS_DIR": str(folders[part]),
                "DATABASE_URL": database.urls[part],
                "VAULTSTREAM_SOURCE_DATABASE_URL": database.urls["source"],
                "VAULTSTREAM_NATS_URL": nats.url,
                "VAULTSTREAM_KEK_FILE": str(tmp_path / "kek"),
            }
            process = await start_worker(part, made.token, environment, tmp_path / f"{part}.log")
            stack.push_async_callback(process.wait)
            stack.callback(end, process)
            processes[part] = process

        async def found() -> StoredJob | None:
            answer = await store.find(view)
            return answer if isinstance(answer, StoredJob) else None

        async def signing() -> bool:
            return (answer := await found()) is not None and answer.signed > 0

        await eventually(signing)
        admin = await stack.enter_async_context(connect(database.admin_url))
        waits = admin.transaction()
        await waits.start()
        await admin.execute("LOCK TABLE receipts IN ACCESS EXCLUSIVE MODE")  # the job can't end meanwhile

        urls = {part: await change_password(database, part) for part in (*parts, "source")}
        passwords = new_passwords()
        await nats.change(**users(passwords))

        async def refused() -> Trouble | None:
            answer = await store.find(view)
            return (
                answer
                if isinstance(answer, Trouble) and answer.reason is JobReason.DATABASE_REFUSES
                else None
            )

        trouble = await eventually(refused)
        assert "Correct database-url in the Secret signing-operator" in trouble.problem
        assert ".env" not in trouble.problem
        for part in WorkerRole:
            log = tmp_path / f"{part}.log"

            async def waits_for_its_password(log: Path = log) -> bool:
                return "password authentication failed" in await asyncio.to_thread(log.read_text)

            await eventually(waits_for_its_password, what=lambda log=log: log.read_text()[-2000:])  # type: ignore[misc]
        for part in parts:
            mount(tmp_path, part, urls, nats, passwords)
        await waits.rollback()

        async def complete() -> bool:
            dead = [part for part, process in processes.items() if process.returncode not in (None, 0)]
            assert dead == [], (tmp_path / f"{dead[0]}.log").read_text()
            return (answer := await found()) is not None and answer.state == "Complete"

        await eventually(complete, seconds=90)


def end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
