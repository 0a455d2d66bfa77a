"""The product on a cluster of this machine: kind where a container engine runs, and else the node of `hack/cluster`."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import typer
from rich.console import Console

from kube import binaries, images
from kube.binaries import Report, to_stderr
from kube.cluster import Cluster
from kube.commands import Output, run
from kube.demo import Demo
from kube.images import NATS, POSTGRES, PRODUCT, ROOT
from vaultstream.errors import UsageError

CHART = ROOT / "charts/vaultstream"
NAMESPACE = RELEASE = "vaultstream"
_KIND = "vaultstream"
_INSTALL_TIMEOUT = "5m"


class Place(Protocol):
    """Where a cluster of this machine runs."""

    @property
    def kubeconfig(self) -> Path: ...
    async def up(self) -> None: ...
    async def load(self) -> None: ...
    async def down(self) -> None: ...
    def values(self) -> list[str]: ...


@dataclass
class Kind:
    """A cluster in containers of the machine's engine; NATS and Postgres are the official images, which it pulls."""

    kubeconfig: Path = ROOT / "build/kind/kubeconfig"

    async def up(self) -> None:
        """Makes the cluster, unless it is there."""
        if _KIND not in (await self._kind("get", "clusters")).stdout.split():
            to_stderr("Making the cluster with kind (a minute or two)")
            await self._kind("create", "cluster", "--name", _KIND, "--wait", "2m")
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        self.kubeconfig.write_text((await self._kind("get", "kubeconfig", "--name", _KIND)).stdout, "utf-8")
        self.kubeconfig.chmod(0o600)

    async def load(self) -> None:
        """Builds the product's image and loads it."""
        await images.build_with_engine(PRODUCT)
        await self._kind("load", "docker-image", "--name", _KIND, PRODUCT.name)

    async def down(self) -> None:
        """Removes the cluster."""
        await self._kind("delete", "cluster", "--name", _KIND)
        shutil.rmtree(self.kubeconfig.parent, ignore_errors=True)

    def values(self) -> list[str]:
        """The chart's values that are this place's own, as options of helm."""
        return _image_values("image", PRODUCT.name)

    async def _kind(self, *arguments: str) -> Output:
        return await run((await binaries.ensure(["kind"], pinned=True))["kind"], *arguments)


@dataclass
class Node:
    """This host as the node, for where there is no container engine."""

    cluster: Cluster

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.cluster.kubeconfig

    async def up(self) -> None:
        """Starts the cluster, unless it runs."""
        await self.cluster.up()

    async def load(self) -> None:
        """Builds all three images and loads them."""
        for image in (PRODUCT, NATS, POSTGRES):
            await self.cluster.load(await images.build_without_engine(image))

    async def down(self) -> None:
        """Removes the cluster."""
        await self.cluster.down()

    def values(self) -> list[str]:
        """The chart's values that are this place's own, as options of helm."""
        return [
            *_image_values("image", PRODUCT.name),
            *_image_values("bundled.nats.image", NATS.name),
            *_image_values("bundled.postgres.image", POSTGRES.name),
        ]


def _image_values(key: str, name: str) -> list[str]:
    repository, _, tag = name.rpartition(":")
    return ["--set", f"{key}.repository={repository}", "--set", f"{key}.tag={tag}"]


async def here(report: Report = to_stderr) -> Place:
    """Returns the place that this machine has.

    Raises:
        UsageError: it has none; says what to install.
    """
    if await images.engine_runs():
        return Kind()
    if sys.platform != "linux" or os.geteuid():
        raise UsageError(
            "No container engine runs here: `docker info` gets no answer.",
            hint="Install and start Docker. On Linux it goes without, as root: this host is the node then.",
        )
    report("There is no container engine here: this host becomes the node, by hack/cluster.")
    return Node(Cluster())


async def up() -> None:
    """Cluster, image and chart: all that `make kind-up` does. What is there already is brought up to date."""
    place = await here()
    await place.up()
    await place.load()
    to_stderr("Installing the chart")
    await run(*await helm(place.kubeconfig), *_install(place))
    sys.stdout.write(f"VaultStream runs. `make demo` signs 200,000 records; to look around yourself:\n"
                     f"  hack/trial kubectl get pods\n"
                     f"  export KUBECONFIG={place.kubeconfig}\n")  # fmt: skip


def _install(place: Place) -> list[str]:
    options = ["--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", _INSTALL_TIMEOUT]
    return ["upgrade", "--install", RELEASE, str(CHART), *options, *place.values()]


async def helm(kubeconfig: Path) -> list[str]:
    """Returns helm, with the cluster that it is to talk to."""
    return [str((await binaries.ensure(["helm"], pinned=True))["helm"]), "--kubeconfig", str(kubeconfig)]


async def kubeconfig() -> Path:
    """Returns the kubeconfig of the cluster that is up.

    Raises:
        UsageError: none is up.
    """
    place = await here(lambda _: None)
    if not place.kubeconfig.exists():
        raise UsageError("There is no cluster.", hint="Make one: make kind-up.")
    return place.kubeconfig


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="The product on a cluster of this machine: kind, or this host as the node.",
)


@app.command("image")
def image_command() -> None:
    """Build the product's image."""
    asyncio.run(_build())


async def _build() -> None:
    if await images.engine_runs():
        await images.build_with_engine(PRODUCT)
        sys.stdout.write(f"{PRODUCT.name}\n")
    else:
        sys.stdout.write(f"{await images.build_without_engine(PRODUCT)}\n")


@app.command("up")
def up_command() -> None:
    """Make the cluster, build and load the image, install the chart."""
    asyncio.run(up())


@app.command("demo")
def demo_command() -> None:
    """Sign 200,000 records, and show how the signers come and go."""

    async def show() -> None:
        await Demo(await kubeconfig(), NAMESPACE, Console()).run()

    asyncio.run(show())


@app.command(
    "kubectl",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def kubectl_command(context: typer.Context) -> None:
    """Run kubectl on that cluster, in the product's namespace."""

    async def words() -> list[str]:
        program = (await binaries.ensure(["kubectl"], pinned=True))["kubectl"]
        return [
            str(program),
            "--kubeconfig",
            str(await kubeconfig()),
            "--namespace",
            NAMESPACE,
            *context.args,
        ]

    command = asyncio.run(words())
    os.execv(command[0], command)  # noqa: S606 - in its place, with its terminal and its exit code


@app.command("down")
def down_command() -> None:
    """Remove the cluster."""

    async def down() -> None:
        await (await here(lambda _: None)).down()

    asyncio.run(down())
