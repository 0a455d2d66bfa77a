"""What the NATS user of a worker tries with the stream whose configuration it may change."""

from __future__ import annotations

import json

import pytest

from support.guarded import ADMIN, GuardedNats
from vaultstream.bus.connection import Bus, connect_bus
from vaultstream.bus.inspection import list_streams
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM
from vaultstream.doctor.findings import Level
from vaultstream.doctor.streams import judge_stream

pytestmark = pytest.mark.integration


async def reconfigure(bus: Bus, stream: str, **changes: object) -> None:
    info = await bus.answer(bus.client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=5))
    config = json.loads(info.data)["config"] | changes
    request = bus.client.request(f"$JS.API.STREAM.UPDATE.{stream}", json.dumps(config).encode(), timeout=5)
    said = await bus.answer(request)
    assert "error" not in json.loads(said.data), said.data


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"republish": {"src": "records.*.mine", "dest": "keys.{{wildcard(1)}}.mine"}}, "republish"),
        ({"sources": [{"name": KEYS_STREAM}], "max_msg_size": -1}, "sources"),
        ({"sealed": True}, "sealed"),
        ({"max_msg_size": 1}, "max_msg_size is 1"),
        ({"no_ack": True}, "no_ack"),
        ({"deny_purge": True}, "deny_purge"),
        ({"consumer_limits": {"max_ack_pending": 1}}, "consumer_limits"),
    ],
)
async def test_a_configuration_that_is_not_ours_is_reported(
    nats: GuardedNats, changes: dict[str, object], named: str
) -> None:
    """NATS does not look into requests: it lets the records worker's user have keys copied or forged by its stream."""
    async with connect_bus(nats.address(ADMIN), role="test") as admin:
        await KeysStream(admin).ensure()
        await RecordsStream(admin).ensure()
        try:
            async with connect_bus(nats.address("records"), role="records") as records:
                await reconfigure(records, RECORDS_STREAM, **changes)
            async with connect_bus(nats.address("auditor"), role="auditor") as auditor:
                [stream] = [each for each in await list_streams(auditor) if each.name == RECORDS_STREAM]
            finding = judge_stream(RECORDS_STREAM, stream, wanted_now=True)
            assert finding.level is Level.FAILED
            assert named in finding.message
        finally:
            await admin.jetstream.delete_stream(RECORDS_STREAM)
            await admin.jetstream.delete_stream(KEYS_STREAM)
