"""`vaultstream kek`: key-encryption keys in a Kubernetes Secret."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultstream.errors import UsageError
from vaultstream.settings import Settings
from vaultstream_cli.app import app, command
from vaultstream_cli.extras import require_operator
from vaultstream_cli.output import note

group = typer.Typer(help="Create key-encryption keys in a Kubernetes cluster.", no_args_is_help=True)
app.add_typer(group, name="kek")


@command(group, "create-secret")
async def create_secret(
    _: Settings,
    *,
    name: Annotated[str, typer.Argument(help="Name of the Secret.")],
    namespaces: Annotated[
        list[str],
        typer.Option(
            "--namespace",
            "-n",
            help="Namespace of the Secret. Can be repeated; each Secret gets its own key.",
        ),
    ],
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME=VALUE", help="Label of the Secret. Can be repeated."),
    ] = None,
    annotations: Annotated[
        list[str] | None,
        typer.Option("--annotation", metavar="NAME=VALUE", help="Annotation of the Secret. Can be repeated."),
    ] = None,
    kubeconfig: Annotated[
        str,
        typer.Option(
            envvar="KUBECONFIG",
            help="Kubeconfig of the cluster. Without it, the pod's service account is used.",
        ),
    ] = "",
) -> None:
    """Create a Secret with a new key-encryption key in its entry `kek`. The key is never printed.

    An existing Secret of that name is not changed. Keep a copy of the new Secret: without it, private keys can't be
    unwrapped.
    """
    require_operator()
    from vaultstream_operator.adapters.kek_secret import (  # noqa: PLC0415 - kubernetes is an extra
        KekSecret,
        ensure_kek_secret,
    )
    from vaultstream_operator.adapters.kube_api import open_kube_api  # noqa: PLC0415 - kubernetes is an extra

    secrets = [
        KekSecret(namespace, name, _pairs("--label", labels), _pairs("--annotation", annotations))
        for namespace in dict.fromkeys(namespaces)
    ]
    async with open_kube_api(kubeconfig) as api:
        for secret in secrets:
            done = await ensure_kek_secret(api, secret)
            what = (
                "created. Keep a copy in a safe place" if done.made else "already exists and was not changed"
            )
            note(f"Secret {secret} with {', '.join(done.ring.ids)}: {what}.")


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise UsageError(f"{option} {text} is not of the form NAME=VALUE.")
        pairs[key] = value
    return pairs
