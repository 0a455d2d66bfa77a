"""A complete cluster: the control plane, and this host as its only node, which runs pods.

It runs kubelet, kube-proxy, kube-scheduler, CoreDNS, containerd and the bridge CNI plug-ins, built from pinned Go modules, with
the system's runc. One per host, only as root.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kube import apiserver, binaries, leftovers, network, runtime, storage
from kube.commands import run, until
from kube.daemons import Daemon
from kube.place import API_PORT, NODE, NODE_IP, RUN_DIR, state_dir
from vaultstream.errors import UsageError
from vaultstream.local.files import FileLock, make_private_dir

if TYPE_CHECKING:
    from collections.abc import Mapping

NEEDED = (
    *apiserver.NEEDED,
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    *network.PLUGINS,
    "coredns",
)
_DEBIAN_PACKAGES = {
    "runc": "runc",
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "gcc": "gcc libc6-dev",
}
_START_SECONDS = 120.0
_DELETE_SECONDS = 20
_PROVISIONER = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r}); "
    "from kube.provisioner import main; main()"
)
_PAUSE_SOURCE = Path(__file__).resolve().parent / "pause.c"
_READY = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'


class Cluster:
    """The cluster of this host.

    Args:
        directory: the directory of its data; see `place.state_dir`.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = (directory or state_dir()).absolute()
        plane = self.directory / "control-plane"
        pki = plane / "pki"
        self.api = apiserver.ApiServer(
            plane,
            host=NODE_IP,
            port=API_PORT,
            pinned=True,
            arguments=[
                f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
                f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
                f"--kubelet-certificate-authority={pki}/ca.crt",
                "--kubelet-preferred-address-types=InternalIP",
                "--enable-admission-plugins=NodeRestriction",
                "--enable-aggregator-routing=true",
            ],
        )
        names = ("kube-scheduler", "containerd", "kubelet", "kube-proxy", "coredns", "provisioner")
        self._containerd_config = self.directory / "containerd.toml"
        self._daemons = {name: Daemon(self.directory, name) for name in names}

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.api.kubeconfig

    def pids(self) -> dict[str, int | None]:
        """Returns the process ids by name; None for a process that is not running."""
        return self.api.pids() | {name: daemon.pid for name, daemon in self._daemons.items()}

    async def up(self) -> None:
        """Starts the processes that are not running, and returns when the node is Ready.

        Raises:
            UsageError: the user is not root, or a system package is missing.
            LocalServiceError: a binary can't be built, or does not start.
        """
        _require_host()
        found = await binaries.ensure(NEEDED, pinned=True)
        make_private_dir(self.directory, mode=0o755)  # pods of any user reach their volumes through it
        make_private_dir(RUN_DIR)
        with FileLock(self.directory / "up.lock") as lock:
            await lock.acquire(exclusive=True)
            await network.set_up(self.directory / "cni", found)
            name = "apiserver-kubelet-client"
            self.api.authority.issue(name, f"kube-{name}", ["system:masters"])
            await self.api.start()
            self._start_scheduler(found)
            await self._start_containerd(found)
            self._start_kubelet(found)
            self._start_proxy(found)
            self._start_dns(found)
            await until(
                "a Ready node", self.is_ready, seconds=_START_SECONDS, hint=f"See {self.directory}/log."
            )
            await storage.set_up(self.api)
            self._start_provisioner()

    async def is_ready(self) -> bool:
        """Returns whether the node is Ready."""
        said = await self.api.kubectl("get", "node", NODE, "-o", _READY, check=False)
        return said.stdout == "True"

    async def restart_kubelet(self) -> None:
        """Restarts kubelet; the pods' containers keep running."""
        await self._daemons["kubelet"].stop()
        await self.up()

    async def load(self, archive: Path) -> None:
        """Imports the images of an OCI or Docker archive into the node.

        Raises:
            UsageError: the cluster is not running, or the file does not exist.
        """
        if not self._daemons["containerd"].pid:
            raise UsageError("The cluster is not running.", hint="Start it: hack/cluster up.")
        ctr = (await binaries.ensure(["ctr"], pinned=True))["ctr"]
        await runtime.Containerd(ctr).load(archive)

    async def down(self) -> None:
        """Stops everything including the pods, and removes the network, the directory and all other traces on the host.

        Raises:
            UsageError: it is running, and the user is not root.
        """
        if not self.directory.exists():
            return
        _require_root()
        for name in ("kube-scheduler", "provisioner"):
            await self._daemons[name].stop()
        await self.api.stop_controllers()  # they would replace deleted pods
        if self._daemons["kubelet"].pid:
            await self._delete_pods()
        for name in ("kubelet", "kube-proxy", "coredns"):
            await self._daemons[name].stop()
        await self.api.down()
        await self._end_containers()
        for target in _mounts_under(self.directory, RUN_DIR):
            await run("umount", "-l", target, check=False)
        await network.take_down(self.directory / "cni", binaries.find("kube-proxy", pinned=True))
        await leftovers.sweep(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.rmtree(RUN_DIR, ignore_errors=True)

    async def _end_containers(self) -> None:
        config, program = self._containerd_config, binaries.find("containerd", pinned=True)
        if config.exists() and program:
            # Containers outlive a killed containerd; another one is needed to stop them.
            self._daemons["containerd"].start([str(program), "--config", str(config)])
            await (await self._containerd(program.with_name("ctr"))).end_all()
        await self._daemons["containerd"].stop()

    async def _containerd(self, ctr: Path) -> runtime.Containerd:
        """Returns containerd once it answers."""
        containerd = runtime.Containerd(ctr)
        hint = f"See {self._daemons['containerd'].log_file}."
        await until("containerd", containerd.answers, seconds=_START_SECONDS, hint=hint)
        return containerd

    async def _delete_pods(self) -> None:
        """Lets kubelet delete the pods gracefully, which frees their addresses and rules; the rest is removed by force."""
        options = ("--all", "--all-namespaces", "--grace-period=1", f"--timeout={_DELETE_SECONDS}s")
        await self.api.kubectl("delete", "pods", *options, check=False)

    def _start_scheduler(self, found: Mapping[str, Path]) -> None:
        config = self.api.user_kubeconfig("kube-scheduler", user="system:kube-scheduler")
        options = [f"--kubeconfig={config}", "--leader-elect=false", "--bind-address=127.0.0.1"]
        self._daemons["kube-scheduler"].start([str(found["kube-scheduler"]), *options])

    async def _start_containerd(self, found: Mapping[str, Path]) -> None:
        config = self._containerd_config
        config.write_text(
            runtime.configuration(self.directory, shutil.which("runc") or "runc"), encoding="utf-8"
        )
        self._daemons["containerd"].start([str(found["containerd"]), "--config", str(config)])
        containerd = await self._containerd(found["ctr"])
        pause, archive = self.directory / "pause", self.directory / "pause.tar"
        await run("gcc", "-static", "-Os", "-o", pause, _PAUSE_SOURCE)
        runtime.write_image(archive, runtime.PAUSE_IMAGE, pause)
        await containerd.load(archive)

    def _start_kubelet(self, found: Mapping[str, Path]) -> None:
        config = self._write("kubelet.json", self._kubelet_configuration())
        (self.directory / "resolv.conf").write_text("nameserver 127.0.0.1\n", encoding="ascii")
        user = self.api.user_kubeconfig("kubelet", user=f"system:node:{NODE}", groups=["system:nodes"])
        options = [
            f"--config={config}",
            f"--kubeconfig={user}",
            f"--root-dir={self.directory}/kubelet",
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_IP}",
        ]
        self._daemons["kubelet"].start([str(found["kubelet"]), *options])

    def _kubelet_configuration(self) -> dict[str, Any]:
        authority = self.api.authority
        server = authority.issue("kubelet-server", NODE, hosts=[NODE, NODE_IP])
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(authority.pair.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "clusterDNS": [NODE_IP],
            "clusterDomain": "cluster.local",
            "tlsCertFile": str(server.certificate),
            "tlsPrivateKeyFile": str(server.key),
            "containerRuntimeEndpoint": f"unix://{runtime.SOCKET}",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": False,
            "address": NODE_IP,
            "healthzPort": 0,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
            },
            "resolvConf": str(self.directory / "resolv.conf"),
            "podLogsDir": str(self.directory / "pods"),
            "maxPods": 200,
            "nodeStatusUpdateFrequency": "4s",
            "syncFrequency": "10s",
        }

    def _start_proxy(self, found: Mapping[str, Path]) -> None:
        user = self.api.user_kubeconfig("kube-proxy", user="system:kube-proxy")
        config = self._write("kube-proxy.json", network.proxy_configuration(user))
        self._daemons["kube-proxy"].start([str(found["kube-proxy"]), f"--config={config}"])

    def _start_dns(self, found: Mapping[str, Path]) -> None:
        user = self.api.user_kubeconfig("coredns", groups=["system:masters"])
        config = self.directory / "Corefile"
        config.write_text(network.corefile(user), encoding="utf-8")
        self._daemons["coredns"].start([str(found["coredns"]), "-conf", str(config)])

    def _start_provisioner(self) -> None:
        words = [sys.executable, "-c", _PROVISIONER, self.api.directory, self.directory / "volumes"]
        self._daemons["provisioner"].start([str(word) for word in words])

    def _write(self, name: str, document: dict[str, Any]) -> Path:
        """Writes a configuration if it has changed: kube-proxy exits when its file is written."""
        path, text = self.directory / name, json.dumps(document, indent=1)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        return path


def _require_root() -> None:
    if os.geteuid():
        raise UsageError(
            "A node needs root to create network links, mounts and control groups.",
            hint="Run it as root, or use hack/apiserver, which needs no root and runs no pods.",
        )


def _require_host() -> None:
    _require_root()
    missing = [package for command, package in _DEBIAN_PACKAGES.items() if not shutil.which(command)]
    if missing:
        raise UsageError(
            f"System packages are missing: {', '.join(missing)}.",
            hint=f"Debian and Ubuntu: apt-get install {' '.join(missing)}.",
        )


def _mounts_under(*directories: Path) -> list[str]:
    lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    targets = [line.split()[1] for line in reversed(lines)]
    return [target for target in targets if any(Path(target).is_relative_to(d) for d in directories)]
