"""Requests to others' web servers: bounded in time and size, and never anything but the answer of the server that was named."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kube.certificates import Authority
from vaultstream.errors import ServiceError, UsageError
from vaultstream.local.ports import choose_port
from vaultstream.sealing.posting import MAX_REPLY_BYTES, Address, Reply, post

pytestmark = pytest.mark.unit

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[Address]:
    """A server that reads the request and then does something."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        request = head + await reader.readexactly(length)
        requests.append(request)
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    requests.clear()
    server = await asyncio.start_server(conversation, "127.0.0.1", 0)
    async with server:
        yield Address(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/w/add-checkpoint")


requests: list[bytes] = []


def answering(*parts: bytes) -> Serve:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
        await writer.drain()

    return serve


async def test_the_answer_is_returned_with_its_status_and_media_type() -> None:
    answer = b"HTTP/1.1 409 Conflict\r\nContent-Type: Text/X.tlog.size; charset=utf-8\r\nContent-Length: 3\r\n\r\n12\n"
    async with served(answering(answer)) as address:
        assert await post(address, b"old 3\n", "text/plain") == Reply(409, "text/x.tlog.size", b"12\n")
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /w/add-checkpoint HTTP/1.1\r\n")
    assert f"host: 127.0.0.1:{address.port}\r\n".encode() in head.lower()
    assert body == b"old 3\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nye\r\n1\r\ns\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nyes",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes",
    ],
)
async def test_an_answer_is_read_however_its_end_is_marked(answer: bytes) -> None:
    async with served(answering(answer)) as address:
        assert (await post(address, b"?", "text/plain")).body == b"yes"


async def test_a_redirection_is_an_answer_and_is_not_followed() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with served(answering(answer)) as address:
        assert (await post(address, b"?", "text/plain")).status == 302


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nyes",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * (2 * MAX_REPLY_BYTES),
    ],
    ids=["of another protocol", "empty", "cut short", "with an endless header", "too long"],
)
async def test_an_answer_that_is_none_is_an_error(answer: bytes) -> None:
    async with served(answering(answer)) as address:
        with pytest.raises(ServiceError, match="does not answer in HTTP"):
            await post(address, b"?", "text/plain")


async def test_a_server_that_never_answers_is_waited_for_so_long_and_no_longer() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with served(silent) as address:
        with pytest.raises(ServiceError, match=r"not answered within 0.2 s"):
            await post(address, b"?", "text/plain", seconds=0.2)


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(ServiceError, match="unreachable"):
        await post(Address(f"http://127.0.0.1:{choose_port()}"), b"?", "text/plain")


async def test_the_certificate_of_a_server_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server", "server", hosts=["127.0.0.1"])
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pair.certificate, pair.key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"?")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nyes")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ServiceError, match="unknown authority"):
            await post(Address(f"https://127.0.0.1:{port}"), b"?", "text/plain")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.pair.certificate))
        assert (await post(Address(f"https://127.0.0.1:{port}"), b"?", "text/plain")).body == b"yes"
        with pytest.raises(ServiceError, match="another host"):
            await post(Address(f"https://localhost:{port}"), b"?", "text/plain")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "example.com",
        "https://",
        "https://user:secret@example.com/",
        "https://example.com/#a",
        "https://example.com:99999/",
        "https://[::1/",
        "https://example.com/a b",
        "https://example.com/\r\nX: y",
        "https://exämple.com/",
    ],
)
def test_what_is_no_address_of_a_web_server_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as error:
        Address(url)
    assert error.value.hint
    assert "secret" not in f"{error.value} {error.value.hint}"


def test_the_parts_of_an_address_are_those_of_its_url() -> None:
    address = Address("https://example.com:8443/tsa?policy=1")
    assert (address.host, address.port, address.target) == ("example.com", 8443, "/tsa?policy=1")
    assert Address("http://[::1]:8080").local
    assert Address("https://example.com").port == 443
    assert Address("http://example.com").target == "/"
