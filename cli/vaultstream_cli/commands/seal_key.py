"""`vaultstream seal-key`: the key that signs the checkpoints of an installation's logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vaultstream.crypto.seal_keys import create_seal_keys, rotate_seal_keys
from vaultstream.settings import Settings, seal_key_file
from vaultstream_cli.app import Json, command
from vaultstream_cli.extras import require_operator
from vaultstream_cli.key_secrets import (
    Kubeconfig,
    Namespaces,
    SecretAnnotations,
    SecretLabels,
    SecretName,
    create_secrets,
)
from vaultstream_cli.output import note, print_line, print_object
from vaultstream_cli.root import app

if TYPE_CHECKING:
    from pathlib import Path

    from vaultstream.crypto.seal_keys import SealKeys

group = typer.Typer(
    help="Create and rotate the seal key, which signs the checkpoints of logs.", no_args_is_help=True
)
app.add_typer(group, name="seal-key")


@command(group, "create")
async def create(
    settings: Settings,
    *,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="Origin of the installation's log, such as example.com/sign. It never changes. [default: a random one]",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Create a file with a new seal key, mode 0600, and print its verifier key. An existing file is never overwritten.

    The path is VAULTSTREAM_SEAL_KEY_FILE, or `seal-key` beside the key-encryption key. Give the verifier key to those who check
    your proofs, and keep a copy of the file in a safe place: without it, nothing more can be added to the log of this database.
    One seal key is for one database.
    """
    path = seal_key_file(settings)
    keys = create_seal_keys(path, name)
    _report(path, keys, f"Created {path} for the log {keys.origin}. Keep a copy in a safe place.", json=json)


@command(group, "rotate")
async def rotate(settings: Settings, *, json: Json = False) -> None:
    """Replace the seal key by a new one of the same name, and print the verifier key of the new one.

    The file keeps the verifier keys of former keys, so what they signed can still be verified; their private halves are removed.
    Safe while jobs run: records workers read the file again at each seal. Give the new verifier key to those who check your proofs.
    """
    path = seal_key_file(settings)
    keys = rotate_seal_keys(path)
    _report(path, keys, f"{path} has a new key for the log {keys.origin}. Replace your copy.", json=json)


@command(group, "create-secret")
async def create_seal_secret(
    _: Settings,
    *,
    secret: SecretName,
    namespaces: Namespaces,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="Origin of the logs is NAME/NAMESPACE, which never changes. [default: random ones]"
        ),
    ] = None,
    labels: SecretLabels = None,
    annotations: SecretAnnotations = None,
    kubeconfig: Kubeconfig = "",
) -> None:
    """Create a Secret with a new seal key in its entry `seal-key` in a Kubernetes cluster. The key is never printed.

    An existing Secret of that name is not changed. Keep a copy of the new Secret: without it, nothing more can be added to the
    log of this namespace.
    """
    require_operator()
    from vaultstream_operator.adapters.key_secret import seal_key  # noqa: PLC0415 - kubernetes is an extra

    await create_secrets(
        lambda namespace: seal_key(f"{name}/{namespace}" if name else None),
        secret,
        namespaces,
        labels=labels,
        annotations=annotations,
        kubeconfig=kubeconfig,
    )


def _report(path: Path, keys: SealKeys, done: str, *, json: bool) -> None:
    if json:
        print_object({"file": str(path), "origin": keys.origin, "keys": [key.vkey for key in keys.known]})
    else:
        print_line(keys.signing.public_key.vkey)
    note(done)
