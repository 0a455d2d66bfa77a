"""A server that answers what JetStream does not: each caller gets an error of NATS, which is tried again, and the connection stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import BUS_ERRORS, Bus, connect_bus
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.records import RecordsStream
from vaultstream.errors import BusError
from vaultstream.scaling.observation import Lag
from vaultstream_operator.adapters.jetstream import JetStreamLags

pytestmark = pytest.mark.integration

ANSWERS = [
    b"null",
    b"{}",
    b"1",
    b'{"error":{}}',
    b'{"error":1}',
    b'{"error":{"code":"x"}}',
    b'{"error":{"code":400,"x":1}}',
    b'{"config":[]}',
    b'{"config":{"name":1},"state":{}}',
    b'{"stream_name":"a","name":"b","config":{},"num_pending":"x"}',
    b'{"stream_name":"a","name":"b","config":{},"num_pending":-5}',
    b"\xff\xfe",
    b"[" * 100_000,
    b"9" * 5000,
]


class HostileServer:
    """Speaks the protocol of NATS, and gives each request the same answer."""

    def __init__(self) -> None:
        self.answer = b""
        self.answers: dict[bytes, bytes] = {}
        """To requests with such a word in their subject."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b'INFO {"server_id":"x","version":"2.12.0","max_payload":1048576,"headers":true,"proto":1}\r\n'
        )
        inboxes: dict[bytes, bytes] = {}
        while line := await reader.readline():
            words = line.split()
            if words[0] == b"PING":
                writer.write(b"PONG\r\n")
            elif words[0] == b"SUB":
                inboxes[words[1].rstrip(b"*>")] = words[-1]
            elif words[0] in {b"PUB", b"HPUB"}:
                await reader.readexactly(int(words[-1]) + 2)
                answer = next((self.answers[word] for word in self.answers if word in words[1]), self.answer)
                for inbox, number in inboxes.items():
                    if words[2].startswith(inbox):
                        writer.write(b"MSG %b %b %d\r\n%b\r\n" % (words[2], number, len(answer), answer))
            await writer.drain()
        writer.close()


@pytest.fixture
async def hostile() -> AsyncIterator[tuple[HostileServer, BusAddress]]:
    server = HostileServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        yield server, BusAddress(f"nats://127.0.0.1:{listening.sockets[0].getsockname()[1]}", "", "")


async def ask_each(bus: Bus) -> None:
    """Makes each request of the workers; errors of NATS are what their loops retry."""
    records, keys = RecordsStream(bus), KeysStream(bus)
    for call in (
        records.ensure,
        lambda: records.ensure_consumer("job", ack_wait_seconds=1, max_ack_pending=1),
        lambda: records.lag("job"),
        lambda: records.present("job"),
        lambda: records.remove("job"),
        keys.ensure,
        lambda: keys.count("job"),
        lambda: keys.states("job", ["key"]),
        lambda: keys.watch("job", lambda _: None),
    ):
        try:
            await call()  # type: ignore[operator]
        except (BusError, *BUS_ERRORS):
            pass


async def test_no_answer_of_a_server_is_a_fault_of_who_asked(
    hostile: tuple[HostileServer, BusAddress],
) -> None:
    server, address = hostile
    async with connect_bus(address, role="records") as bus, JetStreamLags(address) as lags:
        for answer in ANSWERS:
            server.answer = answer
            await ask_each(bus)
            assert not isinstance(await lags.read("job"), Lag), answer
        assert bus.client.stats["reconnects"] == 0


@pytest.mark.parametrize("listed", [b'{"consumers":5}', b'{"consumers":[{"name":"a","config":{}}]}'])
async def test_no_list_of_consumers_is_a_fault_of_who_asked_or_without_an_end(
    hostile: tuple[HostileServer, BusAddress], listed: bytes
) -> None:
    server, address = hostile
    server.answers = {
        b"CONSUMER.INFO": b'{"error":{"code":404}}',
        b"CREATE": b'{"error":{"code":400,"err_code":10100}}',
        b"CONSUMER.LIST": listed,
        b"DELETE": b'{"success":true}',
    }
    async with connect_bus(address, role="records") as bus, asyncio.timeout(60):
        with pytest.raises((BusError, *BUS_ERRORS)):
            await RecordsStream(bus).ensure_consumer("job", ack_wait_seconds=1, max_ack_pending=1)
