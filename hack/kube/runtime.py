"""containerd: its configuration, its images, and the removal of its containers."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kube.commands import run, succeeds
from kube.place import RUN_DIR
from vaultstream.errors import UsageError

SOCKET = RUN_DIR / "containerd.sock"
PAUSE_IMAGE = "localhost/pause:local"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_NETWORK_NAMESPACES = ("/run/netns/", "/var/run/netns/")


def configuration(state: Path, runc: str) -> str:
    """Returns the configuration of containerd.

    Args:
        state: the directory of the cluster.
        runc: the path of runc.
    """
    return f"""\
version = 3
imports = []
root = "{state}/containerd"
state = "{RUN_DIR}/containerd"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/opt"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  enable_unprivileged_ports = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{state}/cni/bin"]
    conf_dir = "{state}/cni/net.d"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = "{RUN_DIR}/runc"
      BinaryName = "{runc}"
"""


def write_image(path: Path, name: str, program: Path) -> None:
    """Writes a Docker archive with the image `name`, which contains and starts one static program."""
    layer = _tar({program.name: program.read_bytes()}, mode=0o755)
    image = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    path.write_bytes(
        _tar(
            {
                "config.json": json.dumps(image).encode(),
                "layer.tar": layer,
                "manifest.json": json.dumps(manifest).encode(),
            }
        )
    )


def _tar(files: dict[str, bytes], *, mode: int = 0o644) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _require_file(archive: Path) -> None:
    if not archive.is_file():
        raise UsageError(f"The file {archive} does not exist.", hint="Give the path of an image archive.")


@dataclass(frozen=True)
class Containerd:
    """A running containerd, controlled with its command `ctr`."""

    ctr: Path

    @property
    def _command(self) -> tuple[str | Path, ...]:
        return (self.ctr, "-a", SOCKET, "-n", "k8s.io")

    async def answers(self) -> bool:
        """Returns whether it serves its socket."""
        return await succeeds(*self._command, "version")

    async def load(self, archive: Path) -> None:
        """Imports the images of an OCI or Docker archive.

        Raises:
            UsageError: the file does not exist.
            CommandError: it contains no images that containerd can read.
        """
        _require_file(archive)
        await run(*self._command, "images", "import", "--local", archive)

    async def end_all(self) -> None:
        """Kills every container, and removes the network namespaces of their pods."""
        containers = await self._list("containers", "ls", "-q")
        namespaces = [path for name in containers for path in await self._namespaces(name)]
        for task in await self._list("tasks", "ls", "-q"):
            await run(*self._command, "tasks", "rm", "-f", task, check=False)
        for name in containers:
            await run(*self._command, "containers", "rm", name, check=False)
        for path in dict.fromkeys(namespaces):
            while await succeeds("umount", "-l", path):  # more than once where /run is a shared mount
                pass
            await run("rm", "-f", path)

    async def _list(self, *arguments: str) -> list[str]:
        return (await run(*self._command, *arguments, check=False)).stdout.split()

    async def _namespaces(self, container: str) -> list[str]:
        output = await run(*self._command, "containers", "info", container, check=False)
        info: dict[str, Any] = json.loads(output.stdout or "{}")
        namespaces = ((info.get("Spec") or {}).get("linux") or {}).get("namespaces") or []
        paths = [space.get("path", "") for space in namespaces if space["type"] == "network"]
        return [path for path in paths if path.startswith(_NETWORK_NAMESPACES)]
