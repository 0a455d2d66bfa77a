"""Removes what a node leaves on its host in places that can't be configured: rules, control groups, empty directories.

Only the node's own things are removed: files by name, directories and control groups if they are empty.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from kube.commands import run
from kube.place import POD_NETWORK

_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_CONTAINER_LOGS = Path("/var/log/containers")
_CNI_RESULTS = Path("/var/lib/cni/results")
_KUBELET_SOCKET = Path("/var/lib/kubelet/device-plugins/kubelet.sock")
_SHIM_SOCKETS = Path("/run/containerd/s")
_EMPTIED = (
    _CONTAINER_LOGS,
    _CNI_RESULTS,
    _CNI_RESULTS.parent,
    _KUBELET_SOCKET.parent,
    _KUBELET_SOCKET.parent.parent,
    _SHIM_SOCKETS,
    _SHIM_SOCKETS.parent,
)


def undo_rules(saved: str) -> str:
    """Returns the input for `iptables-restore --noflush` that removes the rules and chains of kubelet and the pods' network.

    Args:
        saved: the output of `iptables-save`. All other rules are kept.
    """
    undone: list[str] = []
    for table in saved.split("\n*"):
        lines = table.lstrip("*").splitlines()
        appended = [line.split(" ", 2)[1:] for line in lines if line.startswith("-A ")]
        chains = [line[1:].split()[0] for line in lines if line.startswith(":")]
        ours = [name for name in chains if name.startswith("KUBE-") or _is_of_pods(name, appended)]
        if ours:
            name = next(line for line in lines if line and not line.startswith("#"))
            into = [(chain, rule) for chain, rule in appended if chain not in ours and _target(rule) in ours]
            undone += [f"*{name}"]
            undone += [f"-D {chain} {rule}" for chain, rule in into]
            undone += [f"-F {chain}" for chain in ours]
            undone += [f"-X {chain}" for chain in ours]
            undone += ["COMMIT"]
    return "".join(f"{line}\n" for line in undone)


def _is_of_pods(chain: str, appended: list[list[str]]) -> bool:
    mark = f'name: \\"{POD_NETWORK}\\"'
    return chain.startswith("CNI-") and any(
        mark in rule and chain in (within, _target(rule)) for within, rule in appended
    )


def _target(rule: str) -> str:
    words = rule.split()
    return words[words.index("-j") + 1] if "-j" in words else ""


async def sweep(state: Path) -> None:
    """Removes what the node with the directory `state` has left, after all its processes have ended."""
    for family in ("iptables", "ip6tables"):
        saved = await run(f"{family}-save", check=False)
        if undo := undo_rules(saved.stdout):
            await run(f"{family}-restore", "--noflush", stdin=undo, check=False)
    _remove_files(state)
    _remove_control_groups()


def _remove_files(state: Path) -> None:
    for link in _CONTAINER_LOGS.glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(state):
            link.unlink()
    for result in _CNI_RESULTS.glob(f"{POD_NETWORK}-*-eth0"):
        container = result.name.removeprefix(f"{POD_NETWORK}-").removesuffix("-eth0")
        result.unlink()
        (_CNI_RESULTS / f"cni-loopback-{container}-lo").unlink(missing_ok=True)
    _KUBELET_SOCKET.unlink(missing_ok=True)
    for path in _SHIM_SOCKETS.glob("*"):
        if not _is_served(path):
            path.unlink()
    for directory in _EMPTIED:
        _remove_if_empty(directory)


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
    return True


def _remove_control_groups() -> None:
    for top in [*_CONTROL_GROUPS.glob("kubepods"), *_CONTROL_GROUPS.glob("*/kubepods")]:
        for directory, _, _ in os.walk(top, topdown=False):
            _remove_if_empty(Path(directory))


def _remove_if_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):  # missing or not empty
        directory.rmdir()
