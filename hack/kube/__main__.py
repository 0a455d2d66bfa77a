"""The commands `hack/apiserver`, `hack/cluster` and `hack/trial`."""

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
    help="etcd, kube-apiserver and kube-controller-manager on loopback: starts in seconds, no root, no nodes.",
)
cluster = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="A complete Kubernetes cluster with this host as its only node. Needs root; one per host.",
)
_COMMANDS = {"apiserver": apiserver, "cluster": cluster, "trial": trial}

Directory = Annotated[
    Path | None,
    typer.Option("--dir", help="Directory of the server. Several can run, each in its own directory."),
]


def _server(directory: Path | None) -> ApiServer:
    return ApiServer(directory or cache_dir() / "apiserver")


def _show(pids: dict[str, int | None]) -> None:
    for name, pid in pids.items():
        typer.echo(f"{name:25} {f'running, process {pid}' if pid else 'stopped'}")


@apiserver.command("up")
def apiserver_up(directory: Directory = None) -> None:
    """Start it if it is not running; print the path of its kubeconfig."""
    server = _server(directory)
    asyncio.run(server.start())
    typer.echo(server.kubeconfig)


@apiserver.command("down")
def apiserver_down(directory: Directory = None) -> None:
    """Stop it and remove its directory with all objects."""
    asyncio.run(_server(directory).down())
    typer.echo("The API server is down.")


@apiserver.command("status")
def apiserver_status(directory: Directory = None) -> None:
    """Show which processes run; exit with 1 unless all do."""
    server = _server(directory)
    _show(server.pids())
    if not all(server.pids().values()):
        raise typer.Exit(1)
    typer.echo(f"{server.url}\n{server.kubeconfig}")


@cluster.command("up")
def cluster_up() -> None:
    """Start it if it is not running; print the path of its kubeconfig."""
    node = Cluster()
    asyncio.run(node.up())
    typer.echo(node.kubeconfig)


@cluster.command("load")
def cluster_load(archive: Path) -> None:
    """Import the images of an OCI or Docker archive into the node."""
    asyncio.run(Cluster().load(archive))


@cluster.command("down")
def cluster_down() -> None:
    """Stop it; remove its pods, network and directory."""
    asyncio.run(Cluster().down())
    typer.echo("The cluster is down.")


@cluster.command("status")
def cluster_status() -> None:
    """Show which processes run, and whether the node is Ready; exit with 1 unless all processes run."""
    node = Cluster()
    _show(node.pids())
    if not all(node.pids().values()):
        raise typer.Exit(1)
    typer.echo(asyncio.run(_nodes(node)))


async def _nodes(node: Cluster) -> str:
    return (await node.api.kubectl("get", "nodes", "-o", "wide")).stdout.rstrip()


def main() -> None:
    """Runs the command named by the first argument; prints errors with the next step."""
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
