"""Reads the raw content of the cluster's etcd, key by key."""

from __future__ import annotations

import base64
import json
import ssl
from http.client import HTTPSConnection
from typing import TYPE_CHECKING, Any

from kube import ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kube.apiserver import ApiServer

_PAGE = 500


def contents(server: ApiServer) -> Iterator[tuple[str, bytes]]:
    """Yields every key of etcd with its value."""
    pki = server.directory / "pki"
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "etcd.crt", pki / "etcd.key")
    port = ports.read(server.directory / "ports.json")["etcd"]
    connection = HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
    start, more = b"\0", True
    try:
        while more:
            page = _range(connection, start)
            for entry in page.get("kvs", []):
                start = base64.b64decode(entry["key"]) + b"\0"
                yield base64.b64decode(entry["key"]).decode(), base64.b64decode(entry.get("value", ""))
            more = bool(page.get("more"))
    finally:
        connection.close()


def _range(connection: HTTPSConnection, start: bytes) -> dict[str, Any]:
    asked = {"key": _text(start), "range_end": _text(b"\0"), "limit": _PAGE}
    connection.request("POST", "/v3/kv/range", json.dumps(asked))
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body
    return dict(json.loads(body))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
