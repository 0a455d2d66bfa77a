"""`hack/apiserver` and `hack/cluster`, the commands."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from kube.apiserver import ApiServer
from kube.binaries import cache_dir
from kube.cluster import Cluster
from kube.trial import app as trial
from vaultstream.errors import VaultStreamError

apiserver = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="etcd, kube-apiserver and kube-controller-manager on loopback: up in seconds, no root, no nodes.",
)
cluster = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="A whole Kubernetes cluster with one node, this host. Needs root; one a host.",
)
_COMMANDS = {"apiserver": apiserver, "cluster": cluster, "trial": trial}

Directory = Annotated[
    Path | None, typer.Option("--dir", help="The server's own directory; several can run, each in its own.")
]


def _server(directory: Path | None) -> ApiServer:
    return ApiServer(directory or cache_dir() / "apiserver")


def _show(pids: dict[str, int | None]) -> None:
    for name, pid in pids.items():
        typer.echo(f"{name:25} {f'running, process {pid}' if pid else 'stopped'}")


@apiserver.command("up")
def apiserver_up(directory: Directory = None) -> None:
    """Start it, unless it runs; print the path of its kubeconfig."""
    server = _server(directory)
    asyncio.run(server.start())
    typer.echo(server.kubeconfig)


@apiserver.command("down")
def apiserver_down(directory: Directory = None) -> None:
    """Stop it and remove its directory, objects and all."""
    asyncio.run(_server(directory).down())
    typer.echo("The API server is down.")


@apiserver.command("status")
def apiserver_status(directory: Directory = None) -> None:
    """Say what runs; exit with 1 unless all does."""
    server = _server(directory)
    _show(server.pids())
    if not all(server.pids().values()):
        raise typer.Exit(1)
    typer.echo(f"{server.url}\n{server.kubeconfig}")


@cluster.command("up")
def cluster_up() -> None:
    """Start it, unless it runs; print the path of its kubeconfig."""
    node = Cluster()
    asyncio.run(node.up())
    typer.echo(node.kubeconfig)


@cluster.command("load")
def cluster_load(archive: Path) -> None:
    """Import the images of an OCI or Docker archive into the node."""
    asyncio.run(Cluster().load(archive))


@cluster.command("down")
def cluster_down() -> None:
    """Stop it; remove its Pods, its network and its directory."""
    asyncio.run(Cluster().down())
    typer.echo("The cluster is down.")


@cluster.command("status")
def cluster_status() -> None:
    """Say what runs, and whether the node is Ready; exit with 1 unless all does."""
    node = Cluster()
    _show(node.pids())
    if not all(node.pids().values()):
        raise typer.Exit(1)
    typer.echo(asyncio.run(_nodes(node)))


async def _nodes(node: Cluster) -> str:
    return (await node.api.kubectl("get", "nodes", "-o", "wide")).stdout.rstrip()


def main() -> None:
    """Runs the command that the first argument names; an error is told in a sentence, with the next step."""
    try:
        name = sys.argv[1]
        _COMMANDS[name](sys.argv[2:], prog_name=f"hack/{name}")
    except VaultStreamError as error:
        typer.echo(f"error: {error.message}", err=True)
        if error.hint:
            typer.echo(f"next:  {error.hint}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
