"""Secrets with keys that commands create in a Kubernetes cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vaultstream.errors import UsageError
from vaultstream_cli.extras import require_operator
from vaultstream_cli.output import note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultstream_operator.adapters.key_secret import KeySecretKind

SecretName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the Secret.")]
Namespaces = Annotated[
    list[str],
    typer.Option(
        "--namespace",
        "-n",
        help="Namespace of the Secret. Can be repeated; each Secret gets its own key.",
    ),
]
SecretLabels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="Label of the Secret. Can be repeated."),
]
SecretAnnotations = Annotated[
    list[str] | None,
    typer.Option("--annotation", metavar="NAME=VALUE", help="Annotation of the Secret. Can be repeated."),
]
Kubeconfig = Annotated[
    str,
    typer.Option(
        envvar="KUBECONFIG",
        help="Kubeconfig of the cluster. Without it, the pod's service account is used.",
    ),
]


async def create_secrets(
    kind_in: Callable[[str], KeySecretKind],
    name: str,
    namespaces: Sequence[str],
    *,
    labels: list[str] | None,
    annotations: list[str] | None,
    kubeconfig: str,
) -> None:
    """Creates the Secret of that name in each namespace where it is missing, and tells which keys are there.

    Args:
        kind_in: what the Secret of a namespace holds.
        name: of each Secret.
        namespaces: each is named once or more.
        labels: as NAME=VALUE.
        annotations: as NAME=VALUE.
        kubeconfig: of the cluster; empty: that of the pod's service account.

    Raises:
        UsageError: a label or an annotation is malformed.
    """
    require_operator()
    from vaultstream_operator.adapters.key_secret import (  # noqa: PLC0415 - kubernetes is an extra
        KeySecret,
        ensure_key_secret,
    )
    from vaultstream_operator.adapters.kube_api import open_kube_api  # noqa: PLC0415 - kubernetes is an extra

    given = _pairs("--label", labels), _pairs("--annotation", annotations)
    secrets = [
        KeySecret(kind_in(namespace), namespace, name, *given) for namespace in dict.fromkeys(namespaces)
    ]
    async with open_kube_api(kubeconfig) as api:
        for secret in secrets:
            done = await ensure_key_secret(api, secret)
            what = (
                "created. Keep a copy in a safe place" if done.made else "already exists and was not changed"
            )
            note(f"Secret {secret} with {', '.join(done.names)}: {what}.")


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise UsageError(f"{option} {text} is not of the form NAME=VALUE.")
        pairs[key] = value
    return pairs
