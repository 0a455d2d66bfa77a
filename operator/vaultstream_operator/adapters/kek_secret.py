"""The Secret with a namespace's key-encryption keys: created once in the cluster, and never replaced."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from vaultstream.crypto.keyring import KeyRing, new_keyring, parse_keyring
from vaultstream.errors import CustodyError, ServiceError, UsageError, VaultStreamError
from vaultstream_operator.adapters.kube_api import KubeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultstream_operator.adapters.kube_api import KubeApi, KubeJson

KEY = "kek"
"""Entry of the Secret that holds the file of key-encryption keys."""

_FIELD_MANAGER = "vaultstream"


@dataclass(frozen=True)
class KekSecret:
    """Name, labels and annotations of a Secret."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Ensured:
    """The keys of an existing Secret; `made` is whether it was just created."""

    ring: KeyRing
    made: bool


async def ensure_kek_secret(api: KubeApi, secret: KekSecret) -> Ensured:
    """Creates the Secret with a new key-encryption key, unless a Secret of that name exists; that one is not changed.

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
        content = new_keyring()
        try:
            await api.create(path, _manifest(secret, content), fieldManager=_FIELD_MANAGER)
        except KubeError as error:
            if error.reason != "AlreadyExists":
                raise
            return _there(secret, await api.get(f"{path}/{secret.name}"))
    except KubeError as error:
        raise _explained(error, secret) from None
    return Ensured(parse_keyring(content, f"Secret {secret}"), made=True)


def _manifest(secret: KekSecret, content: bytes) -> KubeJson:
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
        "data": {KEY: b64encode(content).decode("ascii")},
    }


def _there(secret: KekSecret, found: KubeJson) -> Ensured:
    encoded = (found.get("data") or {}).get(KEY)
    if encoded is None:
        raise CustodyError(
            f"The Secret {secret} exists, but has no entry {KEY!r}, the file of key-encryption keys.",
            hint="Restore it from your copy. If it never wrapped a key, delete the Secret and try again.",
        )
    return Ensured(parse_keyring(b64decode(encoded), f"Secret {secret}"), made=False)


def _explained(error: KubeError, secret: KekSecret) -> VaultStreamError:
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
