"""Services as in production: one NATS user and one Postgres login per role, both over TLS if a test wants that."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import asyncpg

from kube.certificates import KeyPair
from support.as_user import connect
from support.waiting import eventually
from vaultstream.bus import tenants as accounts
from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import Bus, connect_bus
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.permissions import BusRole, permissions
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM
from vaultstream.crypto.keyring import create_keyring
from vaultstream.errors import BusError
from vaultstream.local.files import open_the_way
from vaultstream.local.ports import choose_port
from vaultstream.role import WorkerRole
from vaultstream.store import roles, schema
from vaultstream.store.roles import DatabaseRole

ADMIN = "admin"
READERS = {"records", "signing", "auditor"}
"""The parts that read records."""
DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class GuardedNats:
    """A NATS with one user per role, named after it, and `admin`, who may do everything.

    Each tenant has an account with the users `<role>-<tenant>` and `admin-<tenant>`.
    """

    url: str
    passwords: dict[str, str] = field(repr=False)
    ca_file: Path | None = None

    def address(self, user: str) -> BusAddress:
        return BusAddress(self.url, user, self.passwords[user], ca_file=self.ca_file)

    def environment(self, user: str) -> dict[str, str]:
        ca = {"VAULTSTREAM_NATS_CA_FILE": str(self.ca_file)} if self.ca_file else {}
        return {
            "VAULTSTREAM_NATS_URL": self.url,
            "VAULTSTREAM_NATS_USER": user,
            "VAULTSTREAM_NATS_PASSWORD": self.passwords[user],
            **ca,
        }


@asynccontextmanager
async def guarded_nats(
    folder: Path,
    *,
    pair: KeyPair | None = None,
    ca_file: Path | None = None,
    wants_clients: bool = False,
    tenants: tuple[str, ...] = (),
) -> AsyncIterator[GuardedNats]:
    """Starts nats-server; over TLS with `pair`, and with client certificates required if `wants_clients`."""
    await asyncio.to_thread(folder.mkdir, parents=True)
    theirs = [f"{role}-{tenant}" for tenant in tenants for role in (*WorkerRole, ADMIN)]
    passwords = {user: secrets.token_hex(8) for user in (*BusRole, ADMIN, *theirs)}
    port = choose_port()
    config: dict[str, object] = {
        "listen": f"127.0.0.1:{port}",
        "jetstream": {"store_dir": str(folder)},
        **_users(passwords, tenants),
    }
    if pair is not None:
        config["tls"] = {"cert_file": str(pair.certificate), "key_file": str(pair.key)}
        if wants_clients:
            config["tls"] |= {"ca_file": str(ca_file), "verify": True}  # type: ignore[operator]
    (folder / "nats.conf").write_text(json.dumps(config))
    program = Path(sysconfig.get_path("scripts")) / "nats-server"
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(program), "-c", str(folder / "nats.conf"), stdout=log, stderr=log
        )
    nats = GuardedNats(f"nats://localhost:{port}", passwords, ca_file)

    async def listens() -> bool:
        assert process.returncode is None, (folder / "log").read_text()
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return True
        return False

    try:
        await eventually(listens)
        yield nats
    finally:
        process.terminate()
        await process.wait()


def _users(passwords: dict[str, str], tenants: tuple[str, ...]) -> dict[str, object]:
    """The users in nats-server's configuration: in one account, or in those of the operator, of other workers and of each tenant."""

    def user(name: str, role: BusRole | None) -> dict[str, object]:
        allowed = {"permissions": permissions(role).to_config()} if role else {}
        return {"user": name, "password": passwords[name], **allowed}

    above = [user(role, role) for role in (BusRole.OPERATOR, BusRole.AUDITOR)]
    others = [*(user(role.value, BusRole(role.value)) for role in WorkerRole), user(ADMIN, None)]
    if not tenants:
        return {"authorization": {"users": [*above, *others]}}
    imports = [each for tenant in (None, *tenants) for each in accounts.imports_config(tenant)]
    theirs: dict[str, object] = {
        accounts.OPERATORS_ACCOUNT: {"users": above, "imports": imports},
        accounts.WORKERS_ACCOUNT: accounts.account_config() | {"users": others},
    }
    for tenant in tenants:
        users = [user(accounts.user_name(role, tenant), BusRole(role.value)) for role in WorkerRole]
        theirs[accounts.account_name(tenant)] = accounts.account_config() | {
            "users": [*users, user(f"{ADMIN}-{tenant}", None)]
        }
    return {"accounts": theirs}


async def answers(address: BusAddress, role: str) -> str:
    """Returns why NATS can't be used with this address; empty if it can."""
    try:
        async with connect_bus(address, role=role, attempts=1):
            return ""
    except BusError as error:
        return f"{error.message} {error.hint}"


@dataclass(frozen=True)
class GuardedDatabase:
    """A database whose schema belongs to `owner`, who is not a superuser, with one login per role.

    The login `source` is a member of no role: by it, workers and auditors read the records. Each tenant has the logins
    `keys-<tenant>`, `records-<tenant>`, `signing-<tenant>` and `auditor-<tenant>`, which are members of its role as well.
    """

    superuser_url: str
    urls: dict[str, str] = field(repr=False)
    """URLs by role, and for `owner` and `source`."""
    logins: dict[str, str]
    name: str

    @property
    def admin_url(self) -> str:
        """The URL of the database under the superuser."""
        former = self.superuser_url.partition("?")[0].rpartition("/")[2]
        return self.superuser_url.replace(f"/{former}?", f"/{self.name}?", 1)

    def url_of(self, login: str, password: str) -> str:
        """Returns the URL of the database under another login."""
        return _url_for(self.superuser_url, login, password, self.name)

    def environment(self, part: str) -> dict[str, str]:
        """Returns the settings of a worker or command of that role."""
        source = {"VAULTSTREAM_SOURCE_DATABASE_URL": self.urls["source"]}
        return {"DATABASE_URL": self.urls[part], **(source if part.partition("-")[0] in READERS else {})}


def _url_for(url: str, login: str, password: str, database: str) -> str:
    head, _, query = url.partition("?")
    _, _, place = head.rpartition("@")
    host = place.partition("/")[0]
    return f"postgresql://{login}:{quote(password)}@{host}/{database}?{query}"


@asynccontextmanager
async def guarded_database(
    superuser_url: str, name: str, *, tenants: tuple[str, ...] = ()
) -> AsyncIterator[GuardedDatabase]:
    """Creates the database, its owner, one login per role, the source login, and the schema; drops database and logins."""
    theirs = [f"{part}-{tenant}" for tenant in tenants for part in (*WorkerRole, "auditor")]
    parts = ("owner", "source", *(role.part for role in DatabaseRole), *theirs)
    passwords = {part: secrets.token_hex(8) for part in parts}
    logins = {part: f"{name}_{part.replace('-', '_')}" for part in passwords}
    admin = await asyncpg.connect(superuser_url)
    try:
        await roles.create_roles(admin)
        for tenant in tenants:
            await admin.execute(f"CREATE ROLE vaultstream_tenant_{tenant}")
        for part, login in logins.items():
            role, of, tenant = part.partition("-")
            groups = f"vaultstream_{role}" + (f", vaultstream_tenant_{tenant}" if of else "")
            member = "" if part in {"owner", "source"} else f"IN ROLE {groups}"
            await admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{passwords[part]}' {member}")
        await admin.execute(f"CREATE DATABASE {name} OWNER {logins['owner']} TEMPLATE template1")
        urls = {part: _url_for(superuser_url, logins[part], passwords[part], name) for part in logins}
        async with connect(urls["owner"]) as connection:
            await schema.migrate(connection)
        yield GuardedDatabase(superuser_url, urls, logins, name)
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        for login in logins.values():
            await admin.execute(f"DROP ROLE IF EXISTS {login}")
        for tenant in tenants:
            await admin.execute(f"DROP ROLE IF EXISTS vaultstream_tenant_{tenant}")
        await admin.close()


async def start_worker(part: str, token: str, environment: dict[str, str], log: Path) -> Process:
    """Starts a worker like a pod does: with its own user in both services, and nothing else from the environment."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("VAULTSTREAM_", "DATABASE_URL"))
    }
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vaultstream", "worker", part, token),
            stdout=file,
            stderr=file,
            cwd=log.parent,
            env={**kept, "VAULTSTREAM_LOG_FORMAT": "json", **environment},
        )


@asynccontextmanager
async def workers(
    database: GuardedDatabase,
    nats: GuardedNats,
    token: str,
    folder: Path,
    *,
    parts: Iterable[WorkerRole] = WorkerRole,
    tenant: str = "",
) -> AsyncIterator[Path]:
    """Runs a worker of each part under its own logins, those of a tenant if one is given; yields the folder of their logs."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    create_keyring(folder / "kek")
    async with AsyncExitStack() as stack:
        for part in parts:
            user = f"{part}-{tenant}" if tenant else part.value
            environment = {
                **database.environment(user),
                **nats.environment(user),
                **({"VAULTSTREAM_KEK_FILE": str(folder / "kek")} if part is not WorkerRole.RECORDS else {}),
            }
            process = await start_worker(part, token, environment, folder / f"{part}.log")

            async def end(process: Process = process, part: WorkerRole = part) -> None:
                if process.returncode is None:
                    process.terminate()
                await asyncio.wait_for(process.wait(), 30)
                # One that had done its work may meet SIGTERM when it no longer listens to it.
                assert process.returncode in {0, -signal.SIGTERM}, (folder / f"{part}.log").read_text()

            stack.push_async_callback(end)
        yield folder


def postgres_with_tls() -> Path | None:
    """Returns the folder of Debian's newest Postgres, which has OpenSSL; the embedded one does not."""
    found = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


CERTIFIED = "certified"
"""The user of the Postgres with TLS who logs in by a client certificate of this name."""


def _start_postgres(
    folder: Path, pair: KeyPair, ca_file: Path, password: str, port: int
) -> subprocess.Popen[bytes]:
    programs = postgres_with_tls()
    assert programs is not None
    folder.mkdir(parents=True, mode=0o755)
    user = "postgres" if os.geteuid() == 0 else None
    files = ((pair.certificate, "server.crt"), (pair.key, "server.key"), (ca_file, "ca.crt"))
    for source, name in files:
        shutil.copyfile(source, folder / name)
        (folder / name).chmod(0o600)
    (folder / "password").write_text(password)
    if user:
        open_the_way(folder, pwd.getpwnam(user))
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, user, user)
    data = folder / "data"
    run = [str(programs / "initdb"), "-D", str(data), "-U", "root_of_all", "--auth=scram-sha-256"]
    run += [f"--pwfile={folder / 'password'}", "--no-sync", "-E", "UTF8", "--locale=C"]
    subprocess.run(
        run,
        check=True,
        capture_output=True,
        user=user,
        group=user,
        extra_groups=[] if user else None,
        cwd=folder,
    )
    (data / "pg_hba.conf").write_text(
        f"hostssl all {CERTIFIED} 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
    )
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "ssl": "on",
        "ssl_cert_file": folder / "server.crt",
        "ssl_key_file": folder / "server.key",
        "ssl_ca_file": folder / "ca.crt",
    }
    serve = [
        str(programs / "postgres"),
        "-D",
        str(data),
        *(f"--{name}={value}" for name, value in settings.items()),
    ]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            serve,
            stdout=log,
            stderr=log,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            cwd=folder,
        )


@asynccontextmanager
async def tls_postgres(folder: Path, pair: KeyPair, *, ca_file: Path) -> AsyncIterator[str]:
    """Starts a Postgres that accepts only TLS connections with a password; yields the superuser's URL on localhost."""
    password, port = secrets.token_hex(8), choose_port()
    process = await asyncio.to_thread(_start_postgres, folder, pair, ca_file, password, port)
    url = f"postgresql://root_of_all:{password}@localhost:{port}/postgres?sslmode=verify-full&sslrootcert={ca_file}"

    async def ready() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        with suppress(OSError, asyncpg.PostgresError):
            await (await asyncpg.connect(url)).close()
            return True
        return False

    try:
        await eventually(ready)
        yield url
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


@asynccontextmanager
async def another_login(database: GuardedDatabase, part: str) -> AsyncIterator[str]:
    """Creates a second login of a role and yields its URL."""
    password, login = secrets.token_hex(8), f"{database.logins[part]}_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(database.superuser_url)
    try:
        await admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{password}' IN ROLE vaultstream_{part}")
        yield _url_for(database.superuser_url, login, password, urlsplit(database.urls[part]).path[1:])
        await admin.execute(f"DROP ROLE {login}")
    finally:
        await admin.close()


@asynccontextmanager
async def administered(nats: GuardedNats) -> AsyncIterator[Bus]:
    """Connects as the administrator, and makes the streams; removes them at the end."""
    async with connect_bus(nats.address(ADMIN), role="test") as bus:
        await KeysStream(bus).ensure()
        await RecordsStream(bus).ensure()
        yield bus
        for stream in (KEYS_STREAM, RECORDS_STREAM):
            await bus.jetstream.delete_stream(stream)
