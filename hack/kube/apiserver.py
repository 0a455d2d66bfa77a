"""A control plane without nodes: etcd, kube-apiserver and kube-controller-manager on loopback, without root.

RBAC and the default admission plug-ins are on, service accounts get tokens, and controllers create ReplicaSets and pods.
Without a scheduler and a node, pods stay Pending.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Self

from kube import binaries, kubeconfig, ports
from kube.certificates import Authority
from kube.client import Client
from kube.commands import Output, run, until
from kube.daemons import Daemon, recorded
from kube.flags import ControlPlane
from vaultstream.errors import LocalServiceError
from vaultstream.local.files import FileLock, make_private_dir

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from kube.certificates import KeyPair

NEEDED = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")

_LOOPBACK = "127.0.0.1"
_ADMIN = ("admin", "kubernetes-admin", ("system:masters",))
_PORT_TAKEN = "address already in use"
_START_SECONDS = 90.0
_PORT_SECONDS = 10.0
_TRIES = 5


class _PortTakenError(LocalServiceError):
    """Another program took a port first."""


class ApiServer:
    """An API server with its data and ports in one directory; `async with` starts it, and removes it at the end.

    A server that already runs in the directory is adopted. Ports and data survive `stop`, `kill` and `start`.

    Args:
        directory: the server's own directory; created if missing.
        host: the address it listens on.
        port: the port it listens on; None chooses a free one at the first start.
        arguments: additional arguments of kube-apiserver.
        pinned: whether to use only the project's pinned versions, not those installed on the machine.
    """

    def __init__(
        self,
        directory: Path,
        *,
        host: str = _LOOPBACK,
        port: int | None = None,
        arguments: Sequence[str] = (),
        pinned: bool = False,
    ) -> None:
        self.directory = directory.absolute()
        self.kubeconfig = self.directory / "admin.kubeconfig"
        self._host = host
        self._port = port
        self._arguments = arguments
        self._pinned = pinned
        self._ports_file = self.directory / "ports.json"
        self._etcd = Daemon(self.directory, "etcd")
        self._api = Daemon(self.directory, "kube-apiserver")
        self._controllers = Daemon(self.directory, "kube-controller-manager")

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.down()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    @property
    def url(self) -> str:
        """The URL of the API. Stays the same as long as the directory exists."""
        return f"https://{self._host}:{ports.read(self._ports_file)['api']}"

    @property
    def authority(self) -> Authority:
        """Its certificate authority, for servers and users."""
        return Authority(self.directory / "pki")

    @property
    def client(self) -> Client:
        """A client with the permissions of an administrator."""
        authority = self.authority
        return Client(self.url, authority.pair.certificate, authority.issue(*_ADMIN))

    def pids(self) -> dict[str, int | None]:
        """Returns the process ids by name; None for a process that is not running."""
        return {daemon.name: daemon.pid for daemon in (self._etcd, self._api, self._controllers)}

    async def start(self) -> None:
        """Starts those of the three that are not running, and returns when the API answers and the controllers work.

        Raises:
            MissingBinaryError: a binary is missing, and Go is not installed to build it.
            LocalServiceError: a server does not start; the message has its last lines.
        """
        found = await binaries.ensure(NEEDED, pinned=self._pinned)
        make_private_dir(self.directory)
        with FileLock(self.directory / "start.lock") as lock:
            await lock.acquire(exclusive=True)
            for left in reversed(range(_TRIES)):
                first_start = not self.kubeconfig.exists()
                try:
                    await self._bring_up(found)
                except _PortTakenError:
                    if not left:
                        raise
                    await self.stop()
                    # After the first start the ports must stay; one is most likely held by its own killed server.
                    if first_start and not self._port:
                        self._ports_file.unlink()
                else:
                    return

    async def restart(self) -> None:
        """Stops kube-apiserver gracefully and starts it again: every watch breaks, port and objects stay."""
        await self._api.stop()
        await self.start()

    async def kill(self) -> None:
        """Kills kube-apiserver like a crash (kill -9); `start` starts it again."""
        await self._api.kill()

    async def stop_controllers(self) -> None:
        """Stops only kube-controller-manager; `start` starts it again."""
        await self._controllers.stop()

    async def stop(self) -> None:
        """Stops all three gracefully; the data stays for `start`."""
        for daemon in (self._controllers, self._api, self._etcd):
            await daemon.stop()

    async def down(self) -> None:
        """Stops everything that runs in the directory, and removes it."""
        await self.stop()
        for daemon in recorded(self.directory):
            await daemon.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def user_kubeconfig(
        self, name: str, *, user: str | None = None, groups: Sequence[str] = (), namespace: str = "default"
    ) -> Path:
        """Writes the kubeconfig of a user with a client certificate, with only the permissions that RBAC grants.

        Args:
            name: the name of the file, and of the user unless `user` is given.
            user: the user's name for RBAC.
            groups: the user's groups for RBAC.
            namespace: the default namespace.
        """
        pair = self.authority.issue(f"user-{name}", user or name, groups, renew=True)
        return self._write_kubeconfig(name, kubeconfig.client_certificate(pair), namespace)

    async def service_account_kubeconfig(self, namespace: str, name: str, *, seconds: int = 3600) -> Path:
        """Writes the kubeconfig of an existing service account, with a token that is valid for `seconds` (600 or more).

        Raises:
            RefusedError: the service account does not exist.
        """
        answer = await self.client.call(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"expirationSeconds": seconds},
            },
        )
        credentials = kubeconfig.bearer_token(answer["status"]["token"])
        return self._write_kubeconfig(f"{namespace}.{name}", credentials, namespace)

    async def kubectl(
        self, *arguments: str, stdin: str = "", check: bool = True, config: Path | None = None
    ) -> Output:
        """Runs kubectl, as the administrator unless `config` is another kubeconfig.

        Raises:
            CommandError: it failed, and `check` is set.
        """
        program = (await binaries.ensure(["kubectl"], pinned=self._pinned))["kubectl"]
        # kubectl caches the API's resources by host and port, which another server may have used before.
        cache = self.directory / "kubectl"
        return await run(
            program,
            f"--kubeconfig={config or self.kubeconfig}",
            f"--cache-dir={cache}",
            *arguments,
            stdin=stdin,
            check=check,
        )

    async def _bring_up(self, found: dict[str, Path]) -> None:
        authority = self.authority
        plane = ControlPlane(self.directory / "etcd", self._host, self._claim_ports(), authority)
        await self._wait_for_ports(plane.ports)
        self._etcd.start([str(found["etcd"]), *plane.etcd()])
        self._api.start([str(found["kube-apiserver"]), *plane.apiserver(), *self._arguments])
        await self._wait(self._api, self.client.is_ready)
        name = "kube-controller-manager"
        own = self._system_kubeconfig(name, authority.issue(name, f"system:{name}"))
        self._controllers.start([str(found[name]), *plane.controllers(own)])
        await self._wait(self._controllers, self._controllers_work)
        self._system_kubeconfig(
            "admin", authority.issue(*_ADMIN)
        )  # last: the file shows that everything has worked once

    def _claim_ports(self) -> dict[str, int]:
        kept = ports.read(self._ports_file)
        if kept:
            return kept
        api = {"api": self._port} if self._port else ports.choose(self._host, ["api"])
        others = ports.choose(_LOOPBACK, ["etcd", "peer"], taken=api.values())
        return ports.keep(self._ports_file, api | others)

    async def _wait_for_ports(self, held: dict[str, int]) -> None:
        """Waits for the ports of killed servers: a process can end shortly before its ports are free."""

        async def free() -> bool:
            return (bool(self._api.pid) or ports.is_free(self._host, held["api"])) and (
                bool(self._etcd.pid) or all(ports.is_free(_LOOPBACK, held[name]) for name in ("etcd", "peer"))
            )

        hint = f"Another program uses one of the ports {sorted(held.values())}. Stop it, or take the server down."
        await until("free ports for the API server", free, seconds=_PORT_SECONDS, hint=hint)

    def _system_kubeconfig(self, name: str, pair: KeyPair) -> Path:
        return self._write_kubeconfig(name, kubeconfig.client_certificate(pair))

    def _write_kubeconfig(self, name: str, credentials: dict[str, str], namespace: str = "default") -> Path:
        return kubeconfig.write(
            self.directory / f"{name}.kubeconfig",
            server=self.url,
            ca=self.authority.pair.certificate,
            user=name,
            credentials=credentials,
            namespace=namespace,
        )

    async def _controllers_work(self) -> bool:
        return await self.client.exists("/api/v1/namespaces/default/serviceaccounts/default")

    async def _wait(self, daemon: Daemon, ready: Callable[[], Awaitable[bool]]) -> None:
        """Waits for `daemon` while it and etcd are alive."""

        async def ready_or_dead() -> bool:
            return await ready() or not (daemon.pid and self._etcd.pid)

        await until(daemon.name, ready_or_dead, seconds=_START_SECONDS, hint=f"See {daemon.log_file}.")
        for server in (self._etcd, daemon):
            if not server.pid:
                said = server.last_words()
                kind = _PortTakenError if _PORT_TAKEN in said else LocalServiceError
                raise kind(
                    f"{server.name} does not start. Its last log lines: {said}",
                    hint=f"See {server.log_file}.",
                )
