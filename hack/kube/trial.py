"""VaultStream on a cluster on this machine: kind if a container engine is running, else the node of `hack/cluster`."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import typer
from rich.console import Console

from kube import binaries, images
from kube.binaries import Report, to_stderr
from kube.cluster import Cluster
from kube.commands import CommandError, Output, run
from kube.demo import Demo
from kube.images import NATS, POSTGRES, PRODUCT, ROOT
from vaultstream.errors import LocalServiceError, UsageError

CHART = ROOT / "charts/vaultstream"
NAMESPACE = RELEASE = "vaultstream"
_KIND = "vaultstream"
_INSTALL_TIMEOUT = "5m"
_IMAGE_ID = r"operator.podAnnotations.vaultstream\.dev/image-id"


class Place(Protocol):
    """A kind of cluster on this machine."""

    @property
    def kubeconfig(self) -> Path: ...
    async def up(self) -> None: ...
    async def load(self) -> str: ...
    async def down(self) -> None: ...
    def values(self) -> list[str]: ...


@dataclass
class Kind:
    """A cluster in containers, made by kind. It pulls the official images of NATS and Postgres.

    kind writes the cluster into the file of `--kubeconfig`, which is the trial's own. Without it, kind would add a context to
    `$KUBECONFIG` or `~/.kube/config`, and make it the current one.

    Args:
        kubeconfig: where to write the administrator's kubeconfig.
        kind: runs kind with arguments; None runs the pinned version, and shows each command.
    """

    kubeconfig: Path = ROOT / "build/kind/kubeconfig"
    kind: Callable[..., Awaitable[Output]] | None = None

    async def up(self) -> None:
        """Creates the cluster if it does not exist.

        Raises:
            LocalServiceError: it exists, and does not run.
        """
        self._start_afresh()
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        if _KIND in (await self._run("get", "clusters")).stdout.split():
            try:
                await self._run("export", "kubeconfig", *self._named)
            except CommandError as error:
                # Also of a cluster whose creation was broken off, and of one that was stopped with the machine.
                raise LocalServiceError(
                    f"The cluster {_KIND} of kind exists and does not run. {error.message}",
                    hint="Remove it: make kind-down. Then create it again: make kind-up.",
                ) from error
            return
        to_stderr("Creating the cluster with kind (takes a minute or two)")
        # When the wait is over, kind warns and succeeds; helm waits for the rest.
        await self._run("create", "cluster", *self._named, "--wait", "2m")

    async def load(self) -> str:
        """Builds VaultStream's image and loads it; returns its ID."""
        await images.build_with_engine(PRODUCT)
        await self._run("load", "docker-image", PRODUCT.name, "--name", _KIND)
        return (await run("docker", "image", "inspect", "--format", "{{.Id}}", PRODUCT.name)).stdout.strip()

    async def down(self) -> None:
        """Removes the cluster; one that does not exist is no error."""
        self._start_afresh()
        await self._run("delete", "cluster", *self._named)
        self._start_afresh()  # kind makes the folder again

    def _start_afresh(self) -> None:
        """Removes the kubeconfig, and the lock that a kind that was killed leaves beside it: no other kind goes past it."""
        shutil.rmtree(self.kubeconfig.parent, ignore_errors=True)

    @property
    def _named(self) -> tuple[str, ...]:
        return ("--name", _KIND, "--kubeconfig", str(self.kubeconfig))

    def values(self) -> list[str]:
        """Returns the chart's values for this cluster, as options of helm."""
        return _image_values("image", PRODUCT.name)

    async def _run(self, *arguments: str) -> Output:
        if self.kind is not None:
            return await self.kind(*arguments)
        return await shown((await binaries.ensure(["kind"], pinned=True))["kind"], *arguments)


@dataclass
class Node:
    """A cluster with this host as the node, for hosts without a container engine."""

    cluster: Cluster

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.cluster.kubeconfig

    async def up(self) -> None:
        """Starts the cluster if it is not running."""
        await self.cluster.up()

    async def load(self) -> str:
        """Builds all three images and loads them; returns the digest of the product's archive."""
        for image in (PRODUCT, NATS, POSTGRES):
            await self.cluster.load(await images.build_without_engine(image))
        with PRODUCT.archive.open("rb") as archive:
            return f"sha256:{hashlib.file_digest(archive, 'sha256').hexdigest()}"

    async def down(self) -> None:
        """Removes the cluster."""
        await self.cluster.down()

    def values(self) -> list[str]:
        """Returns the chart's values for this cluster, as options of helm."""
        return [
            *_image_values("image", PRODUCT.name),
            *_image_values("bundled.nats.image", NATS.name),
            *_image_values("bundled.postgres.image", POSTGRES.name),
        ]


async def shown(*command: str | Path, report: Report = to_stderr) -> Output:
    """Runs a command like `run`, and reports it before, as one could type it."""
    program, *arguments = map(str, command)
    report(f"$ {shlex.join([Path(program).name, *arguments])}")
    return await run(*command)


def _image_values(key: str, name: str) -> list[str]:
    repository, _, tag = name.rpartition(":")
    return ["--set", f"{key}.repository={repository}", "--set", f"{key}.tag={tag}"]


async def here(report: Report = to_stderr) -> Place:
    """Returns the kind of cluster that this machine supports.

    Raises:
        UsageError: it supports none; the hint names what to install.
    """
    if await images.engine_runs():
        return Kind()
    if sys.platform != "linux" or os.geteuid():
        raise UsageError(
            "No container engine is running: `docker info` fails.",
            hint="Install and start Docker. On Linux, you can instead run this as root, with this host as the node.",
        )
    report("No container engine is running: using this host as the node, with hack/cluster.")
    return Node(Cluster())


async def up() -> None:
    """Creates the cluster, builds the image and installs the chart, or updates them: `make kind-up`."""
    place = await here()
    await place.up()
    image_id = await place.load()
    to_stderr("Installing the chart")
    await shown(*await helm(place.kubeconfig), *_install(place, image_id))
    sys.stdout.write(f"VaultStream is running. `make demo` signs 200,000 records. To explore it yourself:\n"
                     f"  hack/trial kubectl get pods\n"
                     f"  export KUBECONFIG={place.kubeconfig}\n")  # fmt: skip


def _install(place: Place, image_id: str) -> list[str]:
    options = ["--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", _INSTALL_TIMEOUT]
    # Another image under the same tag changes nothing in the Deployment: without its ID, the old operator would go on.
    another = ["--set-string", f"{_IMAGE_ID}={image_id}"]
    return ["upgrade", "--install", RELEASE, str(CHART), *options, *place.values(), *another]


async def helm(kubeconfig: Path) -> list[str]:
    """Returns the command of helm, with the kubeconfig of the cluster."""
    return [str((await binaries.ensure(["helm"], pinned=True))["helm"]), "--kubeconfig", str(kubeconfig)]


async def kubeconfig() -> Path:
    """Returns the kubeconfig of the running cluster.

    Raises:
        UsageError: there is none.
    """
    place = await here(lambda _: None)
    if not place.kubeconfig.exists():
        raise UsageError("There is no cluster.", hint="Create one: make kind-up.")
    return place.kubeconfig


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="VaultStream on a cluster on this machine: kind, or this host as the node.",
)


@app.command("image")
def image_command() -> None:
    """Build VaultStream's image."""
    asyncio.run(_build())


async def _build() -> None:
    if await images.engine_runs():
        await images.build_with_engine(PRODUCT)
        sys.stdout.write(f"{PRODUCT.name}\n")
    else:
        sys.stdout.write(f"{await images.build_without_engine(PRODUCT)}\n")


@app.command("up")
def up_command() -> None:
    """Create the cluster, build and load the image, install the chart."""
    asyncio.run(up())


@app.command("demo")
def demo_command(
    *, records: Annotated[int, typer.Option("--records", min=1, help="How many records to sign.")] = 200_000
) -> None:
    """Sign records, show how the signers scale, and draw a picture of it."""

    async def show() -> None:
        await Demo(await kubeconfig(), NAMESPACE, Console(), records).run()

    asyncio.run(show())


@app.command(
    "kubectl",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def kubectl_command(context: typer.Context) -> None:
    """Run kubectl on that cluster, in VaultStream's namespace."""

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
    os.execv(command[0], command)  # noqa: S606 - replaces this process, with its terminal and exit code


@app.command("down")
def down_command() -> None:
    """Remove the cluster."""

    async def down() -> None:
        await (await here(lambda _: None)).down()

    asyncio.run(down())
