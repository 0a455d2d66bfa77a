"""`vaultstream kek`: key-encryption keys where there is no file of them, but a Secret of Kubernetes."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultstream.errors import UsageError
from vaultstream.settings import Settings
from vaultstream_cli.app import app, command
from vaultstream_cli.extras import require_operator
from vaultstream_cli.output import note

group = typer.Typer(help="Make the key-encryption keys of a Kubernetes cluster.", no_args_is_help=True)
app.add_typer(group, name="kek")


@command(group, "create-secret")
async def create_secret(
    _: Settings,
    *,
    name: Annotated[str, typer.Argument(help="Name of the Secret.")],
    namespaces: Annotated[
        list[str], typer.Option("--namespace", "-n", help="Where it is to be; each has a key of its own.")
    ],
    labels: Annotated[
        list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="A label of it.")
    ] = None,
    annotations: Annotated[
        list[str] | None, typer.Option("--annotation", metavar="NAME=VALUE", help="An annotation of it.")
    ] = None,
    kubeconfig: Annotated[
        str,
        typer.Option(
            envvar="KUBECONFIG", help="Login to the cluster. Without it: the pod's service account."
        ),
    ] = "",
) -> None:
    """Make a Secret with a new key-encryption key, under `kek`, in the cluster itself: nobody sees the key.

    A Secret of that name that is there stays as it is. Keep a copy of what is made: private keys can't be unwrapped
    without it.
    """
    require_operator()
    from vaultstream_operator.adapters.kek_secret import (  # noqa: PLC0415 - kubernetes is not for everyone
        KekSecret,
        ensure_kek_secret,
    )
    from vaultstream_operator.adapters.kube_api import open_kube_api  # noqa: PLC0415 - likewise

    secrets = [
        KekSecret(namespace, name, _pairs("--label", labels), _pairs("--annotation", annotations))
        for namespace in dict.fromkeys(namespaces)
    ]
    async with open_kube_api(kubeconfig) as api:
        for secret in secrets:
            done = await ensure_kek_secret(api, secret)
            what = "made. Keep a copy of it safe" if done.made else "there already, and stays as it is"
            note(f"Secret {secret}, with {', '.join(done.ring.ids)}: {what}.")


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise UsageError(f"{option} {text} is no NAME=VALUE.")
        pairs[key] = value
    return pairs
