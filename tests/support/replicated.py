"""Two Postgres servers of which the second follows the first, and a switchover between them."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaultstream.local.files import open_the_way
from vaultstream.local.ports import choose_port
from vaultstream.local.programs import ensure_user, postgres_programs

_USER = "pgserver"
_SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
fsync = off
hot_standby_feedback = on
"""


@dataclass(frozen=True)
class Server:
    """A server on loopback that trusts everybody."""

    folder: Path
    port: int

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def run(self, program: str, *words: str) -> None:
        with tempfile.TemporaryFile("w+") as said:  # a server that it starts would keep a pipe open
            done = subprocess.run(
                [postgres_programs() / program, *words],
                **_as_user(),
                cwd="/",
                env={"PATH": "/usr/bin:/bin"},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                check=False,
            )
            said.seek(0)
            assert done.returncode == 0, f"{program} {words}: {said.read()}{self.log()}"

    def log(self) -> str:
        path = self.folder.with_suffix(".log")
        return path.read_text() if path.exists() else ""

    def start(self) -> None:
        self._control("start", "-w", "-t", "90", "-l", str(self.folder.with_suffix(".log")))

    def stop(self) -> None:
        """Stops it as for maintenance: what it has committed reaches the other one first."""
        self._control("stop", "-w", "-t", "90", "-m", "fast")

    def promote(self) -> None:
        self._control("promote", "-w", "-t", "90")

    def follow(self, primary: Server) -> None:
        """Makes a stopped server the standby of another one, at its next start."""
        with (self.folder / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = 'host=127.0.0.1 port={primary.port} user=postgres'\n")
        (self.folder / "standby.signal").touch()

    def _control(self, action: str, *words: str) -> None:
        self.run("pg_ctl", action, "-D", str(self.folder), *words)


def _as_user() -> dict[str, Any]:
    """Postgres refuses to run as root."""
    return {"user": _USER, "group": _USER, "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def replicated(folder: Path) -> Iterator[tuple[Server, Server]]:
    """Starts a primary and its standby in an empty folder; stops both in the end."""
    folder.mkdir()
    if os.geteuid() == 0:
        ensure_user(_USER)
        user = pwd.getpwnam(_USER)
        os.chown(folder, user.pw_uid, user.pw_gid)
        for path in (folder / "x", postgres_programs() / "postgres"):
            open_the_way(path, user)
    primary, standby = (Server(folder / name, choose_port()) for name in ("first", "second"))
    primary.run("initdb", "-D", str(primary.folder), "-U", "postgres", "--auth=trust", "--no-sync")
    try:
        _set_port(primary)
        primary.start()
        copy = ("-D", str(standby.folder), "-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres")
        standby.run("pg_basebackup", *copy, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        _set_port(standby)
        standby.start()
        yield primary, standby
    finally:
        for server in (primary, standby):
            with suppress(AssertionError):  # one that does not run
                server.stop()


def _set_port(server: Server) -> None:
    with (server.folder / "postgresql.conf").open("a") as settings:
        settings.write(_SETTINGS.format(port=server.port))
