"""`make kind-up` gives kind only what the pinned version of kind takes, and leaves the user's own kubeconfig alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from kube import binaries, images, trial
from kube.commands import CommandError, Output
from kube.images import PRODUCT, ROOT
from kube.trial import Kind, Node, Place
from vaultstream.errors import LocalServiceError

pytestmark = pytest.mark.unit

ID = "sha256:" + "0" * 64
WRITING = ("create", "export", "delete")
"""The commands of kind that write a kubeconfig."""


class Recorded:
    """Takes the place of kind, which needs a container engine."""

    def __init__(self, clusters: str) -> None:
        self.clusters = clusters
        self.commands: list[tuple[str, ...]] = []

    async def __call__(self, *arguments: str) -> Output:
        self.commands.append(arguments)
        return Output(0, self.clusters if arguments[0] == "get" else "", "")


async def asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, clusters: str = ""
) -> tuple[list[tuple[str, ...]], str]:
    """The commands of a trial from its start to its end, and the ID of its image."""

    async def built(*_: object, **__: object) -> None:
        return None

    async def inspected(*words: str | Path, **_: object) -> Output:
        assert words[:3] == ("docker", "image", "inspect")
        return Output(0, f"{ID}\n", "")

    monkeypatch.setattr(images, "build_with_engine", built)
    monkeypatch.setattr(trial, "run", inspected)
    kind = Recorded(clusters)
    place = Kind(folder / "kind" / "kubeconfig", kind)
    await place.up()
    image = await place.load()
    await place.down()
    return kind.commands, image


def real_kind(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = binaries.find("kind", pinned=True)
    assert program, "kind is built before the tests start"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("clusters", ["", "other\nvaultstream\n"], ids=["new", "existing"])
async def test_kind_takes_each_command(
    clusters: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands, image = await asked(tmp_path, monkeypatch, clusters)
    begun = ("export", "kubeconfig") if clusters else ("create", "cluster")
    assert [command[:2] for command in commands] == [
        ("get", "clusters"),
        begun,
        ("load", "docker-image"),
        ("delete", "cluster"),
    ]
    assert image == ID
    for command in commands:
        done = real_kind(*command, "--help")  # parses the flags, and does nothing
        assert done.returncode == 0, done.stderr
        assert f"kind {command[0]} {command[1]}" in done.stdout
    assert real_kind(*commands[1], "--nothing", "--help").returncode != 0


@pytest.mark.parametrize("clusters", ["", "vaultstream\n"], ids=["new", "existing"])
async def test_the_users_kubeconfig_is_left_alone(
    clusters: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands, _ = await asked(tmp_path, monkeypatch, clusters)
    writing = [command for command in commands if command[0] in WRITING]
    assert len(writing) == 2
    own = ("--name", "vaultstream", "--kubeconfig", str(tmp_path / "kind" / "kubeconfig"))
    assert all(command[2:6] == own for command in writing)
    assert not (tmp_path / "kind").exists()


async def test_a_cluster_that_does_not_run_is_reported_with_the_way_out(tmp_path: Path) -> None:
    """Kind lists nodes that are stopped, and those of a creation that was broken off."""

    async def stopped(*arguments: str) -> Output:
        if arguments[0] == "export":
            raise CommandError("kind export kubeconfig", Output(1, "", "container is not running"))
        return Output(0, "vaultstream\n", "")

    with pytest.raises(LocalServiceError, match="container is not running") as raised:
        await Kind(tmp_path / "kind" / "kubeconfig", stopped).up()
    assert "make kind-down" in str(raised.value.hint)


@pytest.mark.parametrize("clusters", ["", "vaultstream\n"], ids=["new", "existing"])
async def test_a_lock_that_a_killed_kind_has_left_stops_no_other(clusters: str, tmp_path: Path) -> None:
    place = Kind(tmp_path / "kind" / "kubeconfig")
    locked: list[bool] = []

    async def locks(*arguments: str) -> Output:
        if arguments[0] in WRITING:
            place.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
            lock = place.kubeconfig.with_name("kubeconfig.lock")
            locked.append(lock.exists())
            lock.touch()  # killed here
        return Output(0, clusters if arguments[0] == "get" else "", "")

    place.kind = locks
    await place.up()
    await place.down()
    await place.up()
    assert locked == [False] * 3


@pytest.mark.parametrize("place", [Kind(), Node.__new__(Node)], ids=["kind", "node"])
def test_another_image_under_the_same_tag_replaces_the_operator(place: Place) -> None:
    one, other = (trial._install(place, f"sha256:{digit * 64}") for digit in "01")
    assert len(set(one) ^ set(other)) == 2
    assert f"image.tag={PRODUCT.name.rpartition(':')[2]}" in one


async def test_each_command_is_shown_as_one_could_type_it() -> None:
    lines: list[str] = []
    done = await trial.shown("/usr/bin/printf", "%s", "two words", report=lines.append)
    assert done.stdout == "two words"
    assert lines == ["$ printf %s 'two words'"]


def test_the_demo_makes_its_records_again_though_a_job_has_signed_them() -> None:
    """Its signatures outlive the SigningJob that the demo deletes first."""
    manifest = yaml.safe_load((ROOT / "hack/kube/demo-records.yaml").read_text())
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert '"--replace-signed"' in container["args"][0]
