"""Three nats-servers in one cluster on loopback, set up as the chart of nats-io sets them up with our documented values.

That chart is not ours and is not installed here: `chart_configuration` returns what its release 1 renders from the values
used in examples/production/nats-values.yaml, and supports no others. The servers and their settings are real.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sysconfig
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from nats.js.errors import APIError

from kube.certificates import Authority
from support.waiting import eventually
from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import BUS_ERRORS, Bus, connect_bus
from vaultstream.bus.permissions import BusRole, permissions
from vaultstream.errors import BusError
from vaultstream.local.ports import choose_port

VALUES = Path(__file__).parents[2] / "examples" / "production" / "nats-values.yaml"
ADMIN = "admin"
_CLIENTS, _ROUTES = 4222, 6222


def documented_values() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(VALUES.read_text())
    return values


def chart_configuration(values: Mapping[str, Any], server: int) -> dict[str, Any]:
    """Returns what the chart writes to /etc/nats-config/nats.conf of a release named `nats`, for one of its servers."""
    config = values["config"]
    assert config.keys() == {"cluster", "jetstream", "nats", "merge"}
    assert all(config[part].get("enabled", True) for part in ("cluster", "jetstream"))
    assert config["jetstream"].keys() == {"enabled", "fileStore", "merge"}
    assert values["tlsCA"]["enabled"]
    cluster = config["cluster"]
    return {
        "server_name": f"nats-{server}",
        "lame_duck_grace_period": "10s",
        "lame_duck_duration": "30s",
        "port": _CLIENTS,
        "tls": _tls("nats", config["nats"]["tls"]),
        "cluster": {
            "name": "nats",
            "port": _ROUTES,
            "no_advertise": True,
            "routes": [f"tls://nats-{n}.nats-headless:{_ROUTES}" for n in range(cluster["replicas"])],
            "tls": _tls("cluster", cluster["tls"]),
        },
        "jetstream": {
            "max_memory_store": 0,
            "store_dir": "/data",
            "max_file_store": config["jetstream"]["fileStore"]["pvc"]["size"],
            **config["jetstream"]["merge"],
        },
        **config["merge"],
    }


def _tls(part: str, given: Mapping[str, Any]) -> dict[str, Any]:
    assert given["enabled"]
    return {
        "cert_file": f"/etc/nats-certs/{part}/tls.crt",
        "key_file": f"/etc/nats-certs/{part}/tls.key",
        "ca_file": "/etc/nats-ca-cert/ca.crt",
        **given.get("merge", {}),
    }


def written(configuration: Mapping[str, Any]) -> str:
    """Returns the text of a nats.conf as the chart writes it: JSON, except for sizes and includes."""
    text = json.dumps(configuration, indent=2)
    text = re.sub(r'"max_file_store": "(\w+)"', r'"max_file_store": \1', text)
    return re.sub(r'"\$include": "(.*)",?', r"include \1;", text)


def users(passwords: Mapping[str, str]) -> str:
    """Returns a users.conf as in docs/production.md: one user per role, and `admin`, who may do everything."""
    listed = [
        {"user": role, "password": passwords[role], "permissions": permissions(role).to_config()}
        for role in BusRole
    ]
    return "authorization " + json.dumps({"users": [*listed, {"user": ADMIN, "password": passwords[ADMIN]}]})


@dataclass
class _Server:
    folder: Path
    port: int
    route_port: int
    process: subprocess.Popen[bytes] | None = None


@dataclass
class NatsCluster:
    """Its servers by name: `nats-0` and so on."""

    folder: Path
    ca_file: Path
    servers: dict[str, _Server]
    passwords: dict[str, str] = field(repr=False)

    @property
    def url(self) -> str:
        return ",".join(f"nats://localhost:{server.port}" for server in self.servers.values())

    def address(self, user: str = ADMIN, *, replicas: int = 3) -> BusAddress:
        return BusAddress(self.url, user, self.passwords[user], ca_file=self.ca_file, replicas=replicas)

    def environment(self, user: str = ADMIN) -> dict[str, str]:
        return {
            "VAULTSTREAM_NATS_URL": self.url,
            "VAULTSTREAM_NATS_USER": user,
            "VAULTSTREAM_NATS_PASSWORD": self.passwords[user],
            "VAULTSTREAM_NATS_CA_FILE": str(self.ca_file),
            "VAULTSTREAM_NATS_REPLICAS": "3",
        }

    @asynccontextmanager
    async def bus(self, user: str = ADMIN, *, replicas: int = 3) -> AsyncIterator[Bus]:
        async with connect_bus(self.address(user, replicas=replicas), role=user) as bus:
            yield bus

    def start(self, name: str) -> None:
        server = self.servers[name]
        assert server.process is None
        with (server.folder / "log").open("ab") as log:
            server.process = subprocess.Popen(
                [_program(), "-c", str(server.folder / "etc/nats-config/nats.conf")], stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        """Kills a server with SIGKILL and keeps its store."""
        server = self.servers[name]
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        server.process = None

    def close(self) -> None:
        for name, server in self.servers.items():
            if server.process is not None:
                self.kill(name)

    async def ready(self) -> None:
        """Returns when JetStream answers, which requires that the cluster has a leader."""
        await eventually(self._answers, seconds=100, what="the cluster has a leader")

    async def _answers(self) -> bool:
        try:
            async with self.bus() as bus:
                await bus.answer(bus.jetstream.account_info())
        except (APIError, BusError, *BUS_ERRORS):
            return False
        return True


def check(server_folder: Path) -> str:
    """Returns why nats-server rejects the configuration in a folder; empty if it accepts it."""
    asked = [_program(), "-t", "-c", str(server_folder / "etc/nats-config/nats.conf")]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def _program() -> str:
    return str(Path(sysconfig.get_path("scripts")) / "nats-server")


def mounts(authority: Authority, passwords: Mapping[str, str]) -> dict[str, str | Path]:
    """Returns what the pods mount under /etc: the content of each file, or a file to copy it from."""
    pair = authority.issue("nats", "nats", hosts=("localhost", "127.0.0.1"))
    files: dict[str, str | Path] = {
        "nats-ca-cert/ca.crt": authority.pair.certificate,
        "nats-users/users.conf": users(passwords),
    }
    for part in ("nats", "cluster"):
        files |= {f"nats-certs/{part}/tls.crt": pair.certificate, f"nats-certs/{part}/tls.key": pair.key}
    return files


def install(folder: Path, configuration: Mapping[str, Any], files: Mapping[str, str | Path]) -> None:
    """Lays out what a pod mounts under /etc, in `folder`, with the configuration's paths moved there."""
    for name, content in files.items():
        path = folder / "etc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(content, path) if isinstance(content, Path) else path.write_text(content)
        path.chmod(0o600)
    conf = folder / "etc/nats-config/nats.conf"
    conf.parent.mkdir(parents=True, exist_ok=True)
    text = written(configuration)
    conf.write_text(text.replace('"/etc/', f'"{folder}/etc/').replace('"/data"', f'"{folder}/data"'))


@contextmanager
def nats_cluster(folder: Path, values: Mapping[str, Any] | None = None) -> Iterator[NatsCluster]:
    """Starts the servers, and kills them at the end; `ready` waits until they have formed a cluster."""
    values = values or documented_values()
    authority = Authority(folder / "authority")
    passwords = {user: secrets.token_hex(8) for user in (*BusRole, ADMIN)}
    ports = [(choose_port(), choose_port()) for _ in range(values["config"]["cluster"]["replicas"])]
    files = mounts(authority, passwords)
    cluster = NatsCluster(folder, authority.pair.certificate, {}, passwords)
    for number, (port, route_port) in enumerate(ports):
        configuration = chart_configuration(values, number)
        configuration |= {"host": "127.0.0.1", "port": port}
        routes = [f"tls://localhost:{other}" for _, other in ports]
        configuration["cluster"] |= {"host": "127.0.0.1", "port": route_port, "routes": routes}
        home = folder / configuration["server_name"]
        install(home, configuration, files)
        cluster.servers[home.name] = _Server(home, port, route_port)
    try:
        for name in cluster.servers:
            cluster.start(name)
        yield cluster
    finally:
        cluster.close()
