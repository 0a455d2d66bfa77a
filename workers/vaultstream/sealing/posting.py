"""Requests to others' web servers, each in a connection of its own and within bounds: witnesses, and authorities of timestamps."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import h11

from vaultstream.errors import ServiceError, UsageError, explain_tls, shown
from vaultstream.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_REPLY_BYTES = 64 * 1024
"""More than 100 signatures, or a timestamp with the certificates of its authority."""
REPLY_SECONDS = 10.0
_MAX_HEAD_BYTES = 16 * 1024
_URL = re.compile("[!-~]+")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests are sent.

    Raises:
        UsageError: it is not that of a web server, or has parts that it may not have.
    """

    url: str

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            known = False
        if not known or "@" in parts.netloc or parts.fragment or not _URL.fullmatch(self.url):
            raise UsageError(
                f"{self.url!r} is not the URL of a web server.",
                hint="Write https://HOST/PATH, without a user, a password and a fragment.",
            )

    @property
    def encrypted(self) -> bool:
        return urlsplit(self.url).scheme == "https"

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        return self.host in _LOOPBACK

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (443 if self.encrypted else 80)

    @property
    def target(self) -> str:
        parts = urlsplit(self.url)
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    @property
    def host_header(self) -> str:
        return urlsplit(self.url).netloc


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered."""

    status: int
    kind: str
    """The media type, without its parameters."""
    body: bytes


async def post(address: Address, body: bytes, kind: str, *, seconds: float = REPLY_SECONDS) -> Reply:
    """Sends one request and returns the answer. Redirections are not followed.

    Args:
        address: where to.
        body: what is sent.
        kind: its media type.
        seconds: how long all of it may take.

    Raises:
        ServiceError: the server is unreachable, is too slow, is not who it must be, or does not speak HTTP.
    """
    what = f"The server {address.host!r}"
    try:
        async with asyncio.timeout(seconds):
            return await _exchange(address, body, kind)
    except TimeoutError:
        raise ServiceError(f"{what} has not answered within {round(seconds, 1):g} s.") from None
    except h11.ProtocolError as error:
        raise ServiceError(f"{what} does not answer in HTTP: {shown(error)}.") from None
    except OSError as error:
        why = explain_tls(error) or f"it is unreachable ({shown(error)})"
        raise ServiceError(f"{what} can't be used: {why}.") from None


async def _exchange(address: Address, body: bytes, kind: str) -> Reply:
    tls = ssl.create_default_context() if address.encrypted else None
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=tls, limit=_MAX_HEAD_BYTES)
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        for event in _request(address, body, kind):
            writer.write(connection.send(event) or b"")
        await writer.drain()
        return await _reply(connection, reader)
    finally:
        writer.transport.abort()  # a server that closes slowly holds nobody up


def _request(address: Address, body: bytes, kind: str) -> Iterator[h11.Event]:
    headers = {
        "Host": address.host_header,
        "Content-Type": kind,
        "Content-Length": str(len(body)),
        "User-Agent": f"vaultstream/{__version__}",
        "Connection": "close",
    }
    yield h11.Request(method="POST", target=address.target, headers=list(headers.items()))
    yield h11.Data(data=body)
    yield h11.EndOfMessage()


async def _reply(connection: h11.Connection, reader: asyncio.StreamReader) -> Reply:
    status, kind, parts, size = 0, "", [], 0
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                connection.receive_data(await reader.read(_MAX_HEAD_BYTES))
            case h11.Response():
                status = event.status_code
                kind = (
                    dict(event.headers)
                    .get(b"content-type", b"")
                    .decode("latin-1")
                    .partition(";")[0]
                    .strip()
                    .lower()
                )
            case h11.Data():
                parts.append(bytes(event.data))
                size += len(event.data)
                if size > MAX_REPLY_BYTES:
                    raise h11.RemoteProtocolError(f"the answer has more than {MAX_REPLY_BYTES} bytes")
            case h11.EndOfMessage():
                return Reply(status, kind, b"".join(parts))
            case h11.ConnectionClosed():
                raise h11.RemoteProtocolError("the connection was closed before the answer")
