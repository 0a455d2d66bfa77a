"""What the user of one worker publishes, so that others can't read what comes after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

import pytest

from support.engine import new_name
from support.guarded import GuardedNats, administered
from support.waiting import eventually
from vaultstream.api import Algorithm
from vaultstream.bus.connection import Bus, connect_bus
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.pull import BatchPuller
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM
from vaultstream.crypto.envelope import WrappedKey
from vaultstream.signing.fetch import recognized

pytestmark = pytest.mark.integration

BYTES = [byte for byte in range(1, 256) if byte not in b" \t\r\n*.>"]
"""What the server takes as a token of a subject."""
HEADERS = [
    b"NATS/1.0",
    b"NATS/1.0\r\n",
    b"NATS/1.0 \r\n\r\n",
    b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    b"NATS/1.0 100 Idle\xff\r\n\r\n",
    b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: zz\r\n\r\n",
    b"NATS/1.0 100 Idle Heartbeat\r\nNats-Consumer-Stalled: \xff\r\n\r\n",
    b"NATS/1.0 100 FlowControl Request\r\n\r\n",
    b"NATS/1.0 404 No Messages\r\n\r\n",
    b"NATS/1.0\r\n: \r\n\r\n",
    b"NATS/1.0\r\n\xff\xfe: \xff\r\n\r\n",
    b"\xff" * 12,
    b"x",
]


@pytest.fixture
async def admin(nats: GuardedNats) -> AsyncIterator[Bus]:
    async with administered(nats) as bus:
        yield bus


async def publish(nats: GuardedNats, user: str, messages: Sequence[tuple[bytes, bytes | None]]) -> None:
    """Publishes subjects with headers as they are, which no client library would."""
    address = urlsplit(nats.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    await reader.readline()
    login = f'"user":"{user}","pass":"{nats.passwords[user]}"'
    writer.write(f'CONNECT {{"verbose":false,"pedantic":false,"headers":true,{login}}}\r\n'.encode())
    for subject, headers in messages:
        size = len(headers or b"")
        command = b"PUB %b 0\r\n\r\n" % subject
        writer.write(b"HPUB %b %d %d\r\n%b\r\n" % (subject, size, size, headers) if headers else command)
    writer.write(b"PING\r\n")
    async with asyncio.timeout(10):
        assert await reader.readline() == b"PONG\r\n"  # and no error before it
    writer.close()
    await writer.wait_closed()


def awkward(before: bytes) -> list[tuple[bytes, bytes | None]]:
    """Subjects with each byte in their last token, and messages with all forms of headers."""
    subjects = [before + token for byte in BYTES for token in (b"%c" % byte, b"a%ca" % byte)]
    return [(subject, None) for subject in subjects] + [
        (before + b"h%d" % number, headers) for number, headers in enumerate(HEADERS)
    ]


async def stored(admin: Bus, stream: str) -> int:
    return (await admin.jetstream.stream_info(stream)).state.messages


async def test_a_batch_after_awkward_messages_reaches_a_signer_on_the_same_connection(
    nats: GuardedNats, admin: Bus
) -> None:
    token = new_name("awkward")
    messages = awkward(f"records.{token}.".encode())
    await RecordsStream(admin).ensure_consumer(token, ack_wait_seconds=30, max_ack_pending=1000)
    await publish(nats, "records", messages)
    await eventually(lambda: _holds(admin, RECORDS_STREAM, len(messages)), seconds=10, what="all are stored")
    await publish(nats, "records", [(f"records.{token}.1234567".encode(), None)])
    async with connect_bus(nats.address("signing"), role="signing") as bus, BatchPuller(bus, token) as puller:
        found: list[int] = []
        async with asyncio.timeout(20):
            while 1234567 not in found:
                found += [batch.number for batch in await recognized(await puller.fetch(100, wait_seconds=1))]
        assert set(found) <= {
            1234567,
            *range(10),
        }  # a digit alone names a batch, of which Postgres knows nothing
        assert bus.client.stats["reconnects"] == 0


async def test_a_key_after_awkward_messages_reaches_a_signer_on_the_same_connection(
    nats: GuardedNats, admin: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    token = new_name("awkward")
    messages = awkward(f"keys.{token}.".encode())
    await publish(nats, "keys", messages)
    await eventually(lambda: _holds(admin, KEYS_STREAM, len(messages)), seconds=10, what="all are stored")
    key = WrappedKey(token, "key-1", 1, Algorithm.ED25519, "kek-0123456789ab", bytes(64), "active")
    async with connect_bus(nats.address("signing"), role="signing") as bus:
        came: list[WrappedKey] = []
        await KeysStream(bus).watch(token, came.append)
        await KeysStream(admin).publish([key])
        await eventually(lambda: came, seconds=20, what="the key comes")
        assert came == [key]
        assert bus.client.stats["reconnects"] == 0
    said = [record for record in caplog.records if record.name == "vaultstream.bus.ignored"]
    assert 1 <= len(said) <= len(messages).bit_length()  # hundreds of them fill no log
    assert said[0].ignored == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("headers", HEADERS)
async def test_the_state_of_a_key_with_awkward_headers_is_read(
    nats: GuardedNats, admin: Bus, headers: bytes
) -> None:
    token = new_name("awkward")
    await publish(nats, "keys", [(f"keys.{token}.key-1".encode(), headers)])
    await eventually(lambda: _holds(admin, KEYS_STREAM, 1), seconds=10, what="it is stored")
    async with connect_bus(nats.address("keys"), role="keys") as bus:
        assert await KeysStream(bus).states(token, ["key-1"]) == {}


async def _holds(admin: Bus, stream: str, count: int) -> bool:
    return await stored(admin, stream) == count
