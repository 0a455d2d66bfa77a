"""A client of one API server: faster than kubectl, and available before it."""

from __future__ import annotations

import asyncio
import json
import ssl
from http.client import HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vaultstream.errors import LocalServiceError
from vaultstream.foreign_json import read_foreign_json

if TYPE_CHECKING:
    from pathlib import Path

    from kube.certificates import KeyPair

_TIMEOUT_SECONDS = 10.0
_FAILURES = 400


class RefusedError(LocalServiceError):
    """The API server refused a request. `status` is the HTTP status code, `body` the Status object."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(
            f"The API server refused the request ({status}): {body.get('message', 'no reason given')}"
        )
        self.status = status
        self.body = body


class Client:
    """Calls the API server at `url` as the user of a client certificate.

    Args:
        url: such as `https://127.0.0.1:20443`.
        ca: PEM file of the authority that the server's certificate is checked with.
        pair: the user's certificate and key.
    """

    def __init__(self, url: str, ca: Path, pair: KeyPair) -> None:
        self._address = urlsplit(url)
        self._context = ssl.create_default_context(cafile=str(ca))
        self._context.load_cert_chain(pair.certificate, pair.key)

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Sends a request and returns the object in the answer, or `{"text": ...}` if the answer is not JSON.

        PATCH sends a merge patch.

        Raises:
            RefusedError: the status of the answer is 400 or more.
            OSError: the server does not answer.
        """
        status, text = await asyncio.to_thread(self._send, method, path, body)
        try:
            answer = read_foreign_json(text)
        except ValueError:
            answer = {"text": text}
        if not isinstance(answer, dict):
            answer = {"text": text}
        if status >= _FAILURES:
            raise RefusedError(status, answer)
        return answer

    async def is_ready(self) -> bool:
        """Returns whether the server answers and has finished its startup, such as creating the default roles."""
        return await self.exists("/readyz")

    async def exists(self, path: str) -> bool:
        """Returns whether the server answers and has an object at `path`."""
        try:
            await self.call("GET", path)
        except (OSError, RefusedError):
            return False
        return True

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, str]:
        connection = HTTPSConnection(
            self._address.hostname or "", self._address.port, timeout=_TIMEOUT_SECONDS, context=self._context
        )
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        try:
            connection.request(
                method,
                path,
                json.dumps(body) if body is not None else None,
                {"Accept": "application/json", "Content-Type": kind},
            )
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        except HTTPException as error:  # the server disconnected during the answer
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
