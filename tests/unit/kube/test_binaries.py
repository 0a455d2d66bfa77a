"""Binaries are used where they exist, built once if they are missing, and never built concurrently."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kube import binaries
from kube.binaries import MissingBinaryError
from kube.modules import MODULES, GoModule, module_of
from vaultstream.errors import LocalServiceError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.unit

# A `go` that writes what it is asked for, and fails if another one is at work; it records its arguments.
GO = """\
mkdir "$HOME/at-work" || exit 9
echo "$GOFLAGS $GOWORK $CGO_ENABLED $*" >>"$HOME/calls"
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\\n' >"$2"
chmod 755 "$2"
sleep 0.2
rmdir "$HOME/at-work"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a shell and nothing else; what is put into its `bin` is on the PATH."""
    (tmp_path / "bin").mkdir()
    for tool in ("mkdir", "rmdir", "chmod", "sleep"):
        (tmp_path / "bin" / tool).symlink_to(Path("/bin") / tool)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLUSTER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path


@pytest.fixture
def program(home: Path) -> Callable[..., Path]:
    def write(path: str, text: str = "") -> Path:
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
        return file

    return write


def calls(home: Path) -> list[str]:
    return (home / "calls").read_text().splitlines() if (home / "calls").exists() else []


async def test_without_binaries_and_go_the_error_names_the_next_step(home: Path) -> None:
    with pytest.raises(MissingBinaryError, match="etcd, kubectl: neither in KUBEBUILDER_ASSETS") as missing:
        await binaries.ensure(["etcd", "kubectl"])
    assert re.search(r"Install Go 1\.\d+", missing.value.hint or "")
    assert "KUBEBUILDER_ASSETS" in (missing.value.hint or "")


async def test_assets_come_before_the_path_and_the_path_before_the_cache(
    home: Path, program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = program("cache/bin/etcd")
    (home / "cache/bin/.etcd.sum").write_bytes(module_of("etcd").sums)
    assert await binaries.ensure(["etcd"]) == {"etcd": cached}
    on_path = program("bin/etcd")
    assert await binaries.ensure(["etcd"]) == {"etcd": on_path}
    asset = program("assets/etcd")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(home / "assets"))
    assert await binaries.ensure(["etcd"]) == {"etcd": asset}
    assert await binaries.ensure(["etcd"], pinned=True) == {"etcd": cached}


async def test_what_the_assets_lack_is_built(
    home: Path, program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("bin/go", GO)
    asset = program("assets/kube-apiserver")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(home / "assets"))
    found = await binaries.ensure(["kube-apiserver", "kube-controller-manager"], report=lambda _: None)
    built = home / "cache/bin/kube-controller-manager"
    assert found == {"kube-apiserver": asset, "kube-controller-manager": built}
    assert len(calls(home)) == 1


async def test_what_was_built_is_found_again_until_its_pins_change(
    home: Path, program: Callable[..., Path]
) -> None:
    program("bin/go", GO)
    said: list[str] = []
    await binaries.ensure(["etcd"], report=said.append)
    await binaries.ensure(["etcd"], report=said.append)
    assert len(calls(home)) == 1
    assert [line.split()[0] for line in said] == ["Building", "Built"]
    for stamp in (home / "cache/bin").glob(".*"):
        stamp.write_bytes(b"of another version")
    await binaries.ensure(["etcd"], report=said.append)
    assert len(calls(home)) == 2


async def test_a_module_is_stamped_when_all_of_its_binaries_are_there(
    home: Path, program: Callable[..., Path]
) -> None:
    program("bin/go", GO)
    stamp = home / "cache/bin/.containerd.sum"
    await binaries.ensure(["containerd", "ctr"], report=lambda _: None)
    assert not stamp.exists()
    await binaries.ensure(["containerd-shim-runc-v2"], report=lambda _: None)
    assert stamp.read_bytes() == module_of("ctr").sums


async def test_two_concurrent_builds_run_once(home: Path, program: Callable[..., Path]) -> None:
    program("bin/go", GO)
    said: list[str] = []
    await asyncio.gather(*(binaries.ensure(["etcd", "ctr"], report=said.append) for _ in range(3)))
    assert len(calls(home)) == 2
    assert "Waiting for another build to finish" in said


async def test_settings_of_the_user_do_not_reach_into_the_build(
    home: Path, program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("bin/go", GO)
    monkeypatch.setenv("GOFLAGS", "-mod=vendor -race")
    monkeypatch.setenv("GOWORK", "/elsewhere/go.work")
    await binaries.ensure(["kubectl"], report=lambda _: None)
    (call,) = calls(home)
    assert call.startswith("-mod=readonly -buildvcs=false off 0 build -trimpath")
    version = module_of("kubectl").version
    assert f"-X k8s.io/component-base/version.gitVersion={version}" in call


async def test_a_failed_build_says_what_the_compiler_said_and_leaves_nothing(
    home: Path, program: Callable[..., Path]
) -> None:
    program("bin/go", "echo 'no such host' >&2; exit 1")
    with pytest.raises(LocalServiceError, match="etcd could not be built: no such host") as failed:
        await binaries.ensure(["etcd"], report=lambda _: None)
    assert "go env GOPROXY" in (failed.value.hint or "")
    assert not list((home / "cache/bin").iterdir())


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_each_module_pins_a_version_and_its_sums(module: GoModule) -> None:
    assert re.fullmatch(r"v\d+\.\d+\.\d+", module.version)
    assert f"{module.source} {module.version} h1:".encode() in module.sums
    [source] = module.directory.glob("*.go")
    imported = source.read_text()
    assert all(f'"{package}"' in imported for package in module.packages.values() if package != ".")
    assert f'"{module.source}' in imported


async def test_our_own_program_is_built_again_when_its_source_changes(
    home: Path, program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("bin/go", GO)
    folder = home / "kstatus"
    shutil.copytree(module_of("kstatus").directory, folder)
    monkeypatch.setattr(GoModule, "directory", folder)
    for _ in range(2):
        await binaries.ensure(["kstatus"], report=lambda _: None)
    assert len(calls(home)) == 1
    with (folder / "main.go").open("a") as source:
        source.write("// changed\n")
    await binaries.ensure(["kstatus"], report=lambda _: None)
    assert len(calls(home)) == 2
