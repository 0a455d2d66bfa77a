"""The node's network: the node's address on a bridge, the pods' addresses from CNI plug-ins, Services, and DNS.

Addresses are from 198.18.0.0/15, the range reserved for tests (RFC 2544).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kube.commands import run, succeeds
from kube.place import NODE, NODE_IP, NODE_LINK, POD_CIDR, POD_LINK, POD_NETWORK

if TYPE_CHECKING:
    from collections.abc import Mapping

PLUGINS = ("bridge", "loopback", "host-local", "portmap")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def cni_configuration(directory: Path) -> dict[str, Any]:
    """Returns the chain of plug-ins that gives a pod its address, route and host ports."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": POD_CIDR}]],
        "dataDir": str(directory / "ipam"),
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": POD_LINK, "isGateway": True, "ipMasq": True, "hairpinMode": True}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": POD_NETWORK, "plugins": [bridge | {"ipam": addresses}, ports]}


def proxy_configuration(kubeconfig: Path) -> dict[str, Any]:
    """Returns the configuration of kube-proxy: Services with iptables, and no changes to kernel limits."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": POD_CIDR,
        "hostnameOverride": NODE,
        "bindAddress": NODE_IP,
        "healthzBindAddress": "",
        "iptables": {"localhostNodePorts": False},  # they would open the host's loopback to routed packets
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def corefile(kubeconfig: Path) -> str:
    """Returns the configuration of CoreDNS: it resolves only Services and pods, and has no upstream resolver."""
    return f""".:53 {{
    bind {NODE_IP}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig} local
        pods insecure
        ttl 5
    }}
    cache 5
}}
"""


async def set_up(directory: Path, binaries: Mapping[str, Path]) -> None:
    """Gives the host the node's address, and installs the CNI plug-ins and their configuration in `directory`."""
    if not await succeeds("ip", "link", "show", NODE_LINK):
        await run("ip", "link", "add", NODE_LINK, "type", "bridge")
    await run("ip", "addr", "replace", f"{NODE_IP}/32", "dev", NODE_LINK)
    await run("ip", "link", "set", NODE_LINK, "up")
    _install(directory, binaries)


def _install(directory: Path, binaries: Mapping[str, Path]) -> None:
    for part in ("bin", "net.d"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    for plugin in PLUGINS:
        shutil.copy2(binaries[plugin], directory / "bin" / plugin)
    (directory / "net.d/10-bridge.conflist").write_text(
        json.dumps(cni_configuration(directory)), encoding="utf-8"
    )
    before = directory / "ip_forward"
    if not before.exists():
        before.write_bytes(_FORWARDING.read_bytes())
    _FORWARDING.write_text("1", encoding="ascii")


async def take_down(directory: Path, proxy: Path | None) -> None:
    """Removes the links and the rules of kube-proxy, and restores the setting for IP forwarding.

    Args:
        directory: the directory given to `set_up`.
        proxy: the binary of kube-proxy, which removes its own rules; None if there is none.
    """
    if proxy:
        await run(proxy, "--cleanup", check=False)
    for link in (POD_LINK, NODE_LINK):
        if await succeeds("ip", "link", "show", link):
            await run("ip", "link", "del", link)
    _restore_forwarding(directory / "ip_forward")


def _restore_forwarding(before: Path) -> None:
    if before.exists():
        _FORWARDING.write_bytes(before.read_bytes())
