"""Finds binaries in `KUBEBUILDER_ASSETS` or on the PATH, or builds them once from the pinned Go modules and caches them.

The cache (`~/.cache/vaultstream-cluster`, or `CLUSTER_CACHE`) contains:

    bin/<binary>
    bin/.<binary>.built   the go.sum that the binary was built from
    bin/.<module>.sum     the go.sum of a module whose binaries are all built
    build.lock            held during a build
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from kube.commands import CommandError, run
from kube.modules import GoModule, module_of
from vaultstream.errors import LocalServiceError
from vaultstream.local.files import FileLock

Report = Callable[[str], None]


class MissingBinaryError(LocalServiceError):
    """A binary is neither installed nor cached, and can't be built because Go is not installed."""


def to_stderr(line: str) -> None:
    """Writes a line of progress to standard error, apart from a command's output."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def cache_dir() -> Path:
    """Returns the directory of built binaries, for this user on this machine."""
    return Path(os.environ.get("CLUSTER_CACHE") or Path.home() / ".cache/vaultstream-cluster")


def find(name: str, *, pinned: bool = False) -> Path | None:
    """Finds a binary without building it.

    Args:
        name: the name of the binary.
        pinned: whether to accept only the version that the project pins, not an installed one.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and not pinned and (found := shutil.which(name, path=assets)):
        return Path(found)
    if not pinned and (found := shutil.which(name)):
        return Path(found)
    return _cached(name)


async def ensure(
    names: Iterable[str], *, pinned: bool = False, report: Report = to_stderr
) -> dict[str, Path]:
    """Finds the binaries, and builds missing ones, which takes minutes the first time.

    Args:
        names: the names of the binaries.
        pinned: see `find`.
        report: is called with lines of progress.

    Returns:
        From each name to the binary's path.

    Raises:
        MissingBinaryError: some must be built, and there is no Go.
        LocalServiceError: the build fails, with what the compiler said.
    """
    found = {name: find(name, pinned=pinned) for name in names}
    if missing := [name for name, path in found.items() if path is None]:
        _require_go(missing)
        folder = cache_dir() / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(cache_dir() / "build.lock") as lock:
            if not lock.try_acquire(exclusive=True):
                report("Waiting for another build to finish")
                await lock.acquire(exclusive=True)
            for name in missing:  # the previous holder of the lock may have built it
                found[name] = _cached(name) or await _build(name, folder, report)
    return {name: path for name, path in found.items() if path is not None}


def _cached(name: str) -> Path | None:
    module = module_of(name)
    folder = cache_dir() / "bin"
    current = any(_holds(stamp, module) for stamp in (_stamp_of(folder, name), _stamp_of_all(folder, module)))
    return folder / name if current and os.access(folder / name, os.X_OK) else None


def _stamp_of(folder: Path, name: str) -> Path:
    return folder / f".{name}.built"


def _stamp_of_all(folder: Path, module: GoModule) -> Path:
    return folder / f".{module.name}.sum"


def _holds(stamp: Path, module: GoModule) -> bool:
    return stamp.is_file() and stamp.read_bytes() == module.sums


def _require_go(missing: list[str]) -> None:
    if shutil.which("go"):
        return
    version = _go_version(module_of(missing[0]))
    raise MissingBinaryError(
        f"{', '.join(missing)}: neither in KUBEBUILDER_ASSETS nor on the PATH, and there is no Go to build from source.",
        hint=f"Install Go {version} or newer, or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, "
        "kube-controller-manager and kubectl (`setup-envtest use -p path` prints one with most of them).",
    )


def _go_version(module: GoModule) -> str:
    lines = (module.directory / "go.mod").read_text(encoding="utf-8").splitlines()
    return next(line.split()[1] for line in lines if line.startswith("go "))


async def _build(name: str, folder: Path, report: Report) -> Path:
    module = module_of(name)
    binary, draft = folder / name, folder / f".{name}.new"
    report(f"Building {name} {module.version} (takes minutes, only the first time)")
    started = time.monotonic()
    # Flags, workspaces and vendor folders of the user's projects must not affect this build.
    environment = os.environ | {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOWORK": "off",
    }
    options = ("-trimpath", "-tags", ",".join(module.tags), "-ldflags", module.linker_flags, "-o", draft)
    try:
        await run("go", "build", *options, module.packages[name], cwd=module.directory, env=environment)
    except CommandError as error:
        raise LocalServiceError(
            f"{name} could not be built: {error.output.stderr.strip()[-2000:]}",
            hint="Check that the Go module proxy is reachable (`go env GOPROXY`), and that Go is "
            f"{_go_version(module)} or newer. Run it again: compiled packages are kept.",
        ) from error
    if not _holds(_stamp_of_all(folder, module), module):
        _stamp_of_all(folder, module).unlink(missing_ok=True)  # it is for the binary that is replaced now
    draft.replace(binary)
    _stamp_of(folder, name).write_bytes(module.sums)
    if all(_cached(other) for other in module.packages):
        _stamp_of_all(folder, module).write_bytes(module.sums)
    report(f"Built {name} in {time.monotonic() - started:.0f} s")
    return binary
