"""Kubeconfig files, written as JSON, which is also YAML."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from vaultstream.local.files import write_private

if TYPE_CHECKING:
    from pathlib import Path

    from kube.certificates import KeyPair


def client_certificate(pair: KeyPair) -> dict[str, str]:
    """Returns the credentials of a user with a client certificate."""
    return {"client-certificate-data": _base64(pair.certificate), "client-key-data": _base64(pair.key)}


def bearer_token(token: str) -> dict[str, str]:
    """Returns the credentials of a service account."""
    return {"token": token}


def write(
    path: Path, *, server: str, ca: Path, user: str, credentials: dict[str, str], namespace: str = "default"
) -> Path:
    """Writes a kubeconfig for one cluster and one user (mode 0600, atomically); returns its path.

    Args:
        path: the path of the file.
        server: URL of the API server.
        ca: PEM file of its certificate authority.
        user: the name of the user in the file.
        credentials: see `client_certificate` and `bearer_token`.
        namespace: the default namespace.
    """
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "local",
        "clusters": [
            {"name": "local", "cluster": {"server": server, "certificate-authority-data": _base64(ca)}}
        ],
        "users": [{"name": user, "user": credentials}],
        "contexts": [
            {"name": "local", "context": {"cluster": "local", "user": user, "namespace": namespace}}
        ],
    }
    write_private(path, json.dumps(document, indent=1))
    return path


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
