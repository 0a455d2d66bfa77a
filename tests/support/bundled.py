"""The bundled Postgres and NATS as local processes, with the same files that the chart makes for their pods."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from support.chart import Rendered
from vaultstream.local.ports import choose_port

_FOLDERS = Path("/usr/lib/postgresql")


def postgres_folder() -> Path | None:
    """The folder of a Postgres that supports TLS; None: this machine has none."""
    for program in sorted(_FOLDERS.glob("*/bin/pg_config"), reverse=True):
        said = subprocess.run([program, "--configure"], capture_output=True, text=True, check=False).stdout
        if "openssl" in said and (program.parent / "initdb").exists():
            return program.parent
    return None


class BundledServices:
    """Both servers, in their own folder.

    Args:
        folder: other users must be able to enter it, because Postgres does not run as root.
        chart: the objects that contain the files.
        release: the release's full name.
    """

    def __init__(self, folder: Path, chart: Rendered, release: str = "vaultstream") -> None:
        self.folder = folder
        self.chart = chart
        self.release = release
        self.postgres_port, self.nats_port, self._health_port = choose_port(), choose_port(), choose_port()
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("etc/postgres", "etc/tls", "etc/secrets", "nats/auth", "run", "data", "store"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._write_postgres()
        self._write_nats()
        self.ca_file = self._write("ca.crt", chart.secret(f"{release}-ca")["ca.crt"])

    def start_postgres(self) -> None:
        self._running["postgres"] = self._spawn("postgres", self._script("start"), self._environment())

    def start_nats(self) -> None:
        program = shutil.which("nats-server") or str(Path(os.sys.executable).parent / "nats-server")  # type: ignore[attr-defined]
        self._running["nats"] = self._spawn(
            "nats", [program, "--config", str(self.folder / "nats/nats-server.conf")], {}
        )

    def stop(self, *names: str) -> None:
        """Stops the named servers, or all."""
        for name in names or tuple(self._running):
            process = self._running.pop(name)
            process.terminate() if name == "nats" else process.send_signal(2)
            process.wait(timeout=60)

    def is_ready(self) -> bool:
        """Whether the pod's own probe of Postgres succeeds."""
        done = subprocess.run(
            self._script("ready"), env=self._environment() | {"PGPORT": str(self.postgres_port)}, check=False
        )
        return done.returncode == 0

    def make_logins(self, *, without: str = "") -> subprocess.CompletedProcess[str]:
        """Runs the init container's step with the chart's logins, except those of the namespace `without`."""
        if not without:
            return self._make_logins()
        settings = self.folder / "etc/postgres"
        listed = {name: (settings / name).read_text() for name in ("logins", "sources")}
        try:
            for name, text in listed.items():
                kept = [line for line in text.splitlines() if without not in line]
                (settings / name).write_text("".join(f"{line}\n" for line in kept))
            return self._make_logins()
        finally:
            for name, text in listed.items():
                (settings / name).write_text(text)

    def _make_logins(self) -> subprocess.CompletedProcess[str]:
        client = {
            "PGHOST": "localhost",
            "PGPORT": str(self.postgres_port),
            "PGUSER": "vaultstream",
            "PGDATABASE": "vaultstream",
            "PGPASSWORD": self.passwords["postgres.owner"],
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(self.ca_file),
        }
        done = subprocess.run(
            self._script("logins"),
            env=self._environment() | client,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    @property
    def passwords(self) -> Mapping[str, str]:
        return self.chart.secret(f"{self.release}-credentials")

    def local(self, url: str) -> str:
        """A URL from the chart, with the server's local address."""
        parts = urlsplit(url)
        port = self.nats_port if parts.scheme == "tls" else self.postgres_port
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}localhost:{port}"))

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def set_owner_password(self, password: str) -> None:
        """Changes the files that the Secret mounts."""
        self._write("etc/secrets/owner", password, mode=0o600)

    def _script(self, does: str) -> list[str]:
        return ["sh", str(self.folder / "etc/postgres/postgres.sh"), does]

    def _environment(self) -> dict[str, str]:
        folder = postgres_folder()
        assert folder
        return {
            "PATH": f"{folder}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "PGDATA": str(self.folder / "data/pgdata"),
            "SOCKETS": str(self.folder / "run"),
            "SETTINGS": str(self.folder / "etc/postgres"),
            "SECRETS": str(self.folder / "etc/secrets"),
        }

    def _spawn(
        self, name: str, command: list[str], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env=dict(environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                user=self._user.pw_uid,
                group=self._user.pw_gid,
                extra_groups=[] if os.geteuid() == 0 else None,
                start_new_session=True,
            )

    def _write_postgres(self) -> None:
        for name, text in self.chart.one("ConfigMap", f"{self.release}-postgres")["data"].items():
            self._write(
                f"etc/postgres/{name}",
                self._here(text).replace("port = 5432", f"port = {self.postgres_port}"),
            )
        for name, text in self.chart.secret(f"{self.release}-postgres-tls").items():
            self._write(f"etc/tls/{name}", text, mode=0o600)
        for name, text in self.passwords.items():
            self._write(f"etc/secrets/{name}", text, mode=0o600)
        self.set_owner_password(self.passwords["postgres.owner"])
        for name in ("run", "data", "store"):
            self._give(self.folder / name)

    def _write_nats(self) -> None:
        settings = self.chart.one("ConfigMap", f"{self.release}-nats")["data"]["nats-server.conf"]
        ports = {"4222": str(self.nats_port), "8222": str(self._health_port)}
        for port, own in ports.items():
            settings = settings.replace(port, own)
        settings = settings.replace("/etc/vaultstream/tls", str(self.folder / "nats/tls"))
        self._write(
            "nats/nats-server.conf", settings.replace("/var/lib/vaultstream", str(self.folder / "store"))
        )
        self._write(
            "nats/auth/users.conf", self.chart.secret(f"{self.release}-nats-users")["users.conf"], mode=0o600
        )
        for name, text in self.chart.secret(f"{self.release}-nats-tls").items():
            self._write(f"nats/tls/{name}", text, mode=0o600)

    def _here(self, text: str) -> str:
        return text.replace("/etc/vaultstream", str(self.folder / "etc")).replace(
            "/run/postgresql", str(self.folder / "run")
        )

    def _write(self, name: str, text: str, *, mode: int = 0o644) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        self._give(path)
        return path

    def _give(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)
