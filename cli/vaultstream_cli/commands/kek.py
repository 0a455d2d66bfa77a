"""`vaultstream kek`: key-encryption keys in a Kubernetes Secret."""

from __future__ import annotations

import typer

from vaultstream.settings import Settings
from vaultstream_cli.app import command
from vaultstream_cli.extras import require_operator
from vaultstream_cli.key_secrets import (
    Kubeconfig,
    Namespaces,
    SecretAnnotations,
    SecretLabels,
    SecretName,
    create_secrets,
)
from vaultstream_cli.root import app

group = typer.Typer(help="Create key-encryption keys in a Kubernetes cluster.", no_args_is_help=True)
app.add_typer(group, name="kek")


@command(group, "create-secret")
async def create_kek_secret(
    _: Settings,
    *,
    name: SecretName,
    namespaces: Namespaces,
    labels: SecretLabels = None,
    annotations: SecretAnnotations = None,
    kubeconfig: Kubeconfig = "",
) -> None:
    """Create a Secret with a new key-encryption key in its entry `kek`. The key is never printed.

    An existing Secret of that name is not changed. Keep a copy of the new Secret: without it, private keys can't be
    unwrapped.
    """
    require_operator()
    from vaultstream_operator.adapters.key_secret import KEK  # noqa: PLC0415 - kubernetes is an extra

    await create_secrets(
        lambda _: KEK, name, namespaces, labels=labels, annotations=annotations, kubeconfig=kubeconfig
    )
