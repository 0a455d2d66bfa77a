"""The Secrets with a namespace's key-encryption keys and its seal key: created once in the cluster, and never replaced."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from vaultstream.crypto.keyring import new_keyring, parse_keyring
from vaultstream.crypto.seal_keys import new_seal_keys, parse_seal_keys
from vaultstream.errors import CustodyError, ServiceError, UsageError, VaultStreamError
from vaultstream_operator.adapters.kube_api import KubeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultstream_operator.adapters.kube_api import KubeApi, KubeJson

_FIELD_MANAGER = "vaultstream"


@dataclass(frozen=True)
class KeySecretKind:
    """What a Secret holds."""

    entry: str
    """Of the Secret, with the file of keys."""
    keys: str
    """What they are called in messages, in the plural."""
    use: str
    """What must never have happened with keys that may be given up."""
    make: Callable[[], bytes]
    """Returns the content of a new file."""
    names: Callable[[bytes, str], Sequence[str]]
    """Returns what identifies the keys of a file, none of it secret. Raises CustodyError if workers could not use the file."""


KEK = KeySecretKind(
    "kek",
    "key-encryption keys",
    "wrapped a key",
    new_keyring,
    lambda content, where: parse_keyring(content, where).ids,
)


def seal_key(name: str | None = None) -> KeySecretKind:
    """Returns the kind of a seal key whose log has that name; None: a random one."""
    return KeySecretKind(
        "seal-key",
        "seal keys",
        "sealed a job",
        lambda: new_seal_keys(name),
        lambda content, where: [parse_seal_keys(content, where).signing.public_key.vkey],
    )


@dataclass(frozen=True)
class KeySecret:
    """What a Secret holds; its name, labels and annotations."""

    kind: KeySecretKind
    namespace: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Ensured:
    """What identifies the keys of an existing Secret; `made` is whether it was just created."""

    names: Sequence[str]
    made: bool


async def ensure_key_secret(api: KubeApi, secret: KeySecret) -> Ensured:
    """Creates the Secret with a new key, unless a Secret of that name exists; that one is not changed.

    Of two concurrent calls, one creates it, and both return its keys.

    Raises:
        CustodyError: the Secret exists, but the workers could not read its content.
        UsageError: the namespace does not exist, or the API server refuses.
        ServiceError: the API server is unreachable or temporarily unable to create it.
    """
    path = f"/api/v1/namespaces/{secret.namespace}/secrets"
    try:
        try:
            return _there(secret, await api.get(f"{path}/{secret.name}"))
        except KubeError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
        content = secret.kind.make()
        try:
            await api.create(path, _manifest(secret, content), fieldManager=_FIELD_MANAGER)
        except KubeError as error:
            if error.reason != "AlreadyExists":
                raise
            return _there(secret, await api.get(f"{path}/{secret.name}"))
    except KubeError as error:
        raise _explained(error, secret) from None
    return Ensured(secret.kind.names(content, f"Secret {secret}"), made=True)


def _manifest(secret: KeySecret, content: bytes) -> KubeJson:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret.name,
            "namespace": secret.namespace,
            "labels": dict(secret.labels),
            "annotations": dict(secret.annotations),
        },
        "type": "Opaque",
        "data": {secret.kind.entry: b64encode(content).decode("ascii")},
    }


def _there(secret: KeySecret, found: KubeJson) -> Ensured:
    kind = secret.kind
    encoded = (found.get("data") or {}).get(kind.entry)
    if encoded is None:
        raise CustodyError(
            f"The Secret {secret} exists, but has no entry {kind.entry!r}, the file of {kind.keys}.",
            hint=f"Restore it from your copy. If it never {kind.use}, delete the Secret and try again.",
        )
    return Ensured(kind.names(b64decode(encoded), f"Secret {secret}"), made=False)


def _explained(error: KubeError, secret: KeySecret) -> VaultStreamError:
    if error.status == HTTPStatus.FORBIDDEN:
        return UsageError(
            f"The API server refuses the Secret {secret}: {error.message}",
            hint=f"In {secret.namespace}, you need the permissions to create Secrets and to get the Secret {secret.name}.",
        )
    if error.status == HTTPStatus.NOT_FOUND:
        return UsageError(
            f"There is no namespace {secret.namespace}: {error.message}",
            hint=f"Create it: kubectl create namespace {secret.namespace}",
        )
    if error.status == HTTPStatus.TOO_MANY_REQUESTS or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServiceError(
            f"The API server can't create the Secret {secret} now: {error.message}", hint="Try again later."
        )
    return UsageError(f"The API server rejects the Secret {secret}: {error.message}")
