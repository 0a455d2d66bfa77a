"""The Secret with a namespace's key-encryption keys: made in the cluster, once, and never replaced."""

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

    from vaultstream_operator.adapters.kube_api import Json, KubeApi

KEY = "kek"
"""Under which the Secret has the file of key-encryption keys."""

_FIELD_MANAGER = "vaultstream"


@dataclass(frozen=True)
class KekSecret:
    """What a Secret is to be called and marked with."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Ensured:
    """A Secret that is there, with the keys that it has; `made` tells whether it was made just now."""

    ring: KeyRing
    made: bool


async def ensure_kek_secret(api: KubeApi, secret: KekSecret) -> Ensured:
    """Makes the Secret with a new key-encryption key, unless there is one of its name: that stays as it is.

    Of two that do this at once, one makes it, and both answer with its keys.

    Raises:
        CustodyError: there is one, and the workers could not read what it holds.
        UsageError: the namespace is missing, or the API server refuses.
        ServiceError: the API server does not answer, or can't do it now.
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


def _manifest(secret: KekSecret, content: bytes) -> Json:
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


def _there(secret: KekSecret, found: Json) -> Ensured:
    encoded = (found.get("data") or {}).get(KEY)
    if encoded is None:
        raise CustodyError(
            f"The Secret {secret} is there, but has no {KEY!r}, which is the file of key-encryption keys.",
            hint="Put it back from your copy; if no key was ever wrapped with it, delete the Secret and try again.",
        )
    return Ensured(parse_keyring(b64decode(encoded), f"Secret {secret}"), made=False)


def _explained(error: KubeError, secret: KekSecret) -> VaultStreamError:
    if error.status == HTTPStatus.FORBIDDEN:
        return UsageError(
            f"The API server refuses the Secret {secret}: {error.message}",
            hint=f"Who runs this needs, in {secret.namespace}, `create` on secrets and `get` on the secret {secret.name}.",
        )
    if error.status == HTTPStatus.NOT_FOUND:
        return UsageError(
            f"There is no namespace {secret.namespace}: {error.message}",
            hint=f"Make it: kubectl create namespace {secret.namespace}",
        )
    if error.status == HTTPStatus.TOO_MANY_REQUESTS or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServiceError(
            f"The API server can't make the Secret {secret} now: {error.message}", hint="Try again."
        )
    return UsageError(f"The API server takes no Secret {secret}: {error.message}")
