"""What the NATS user of a worker tries with the stream whose configuration it may change."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from support.guarded import ADMIN, GuardedNats
from vaultstream.bus.connection import Bus, connect_bus
from vaultstream.bus.inspection import list_streams
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM
from vaultstream.doctor.findings import Finding, Level
from vaultstream.doctor.streams import judge_stream

pytestmark = pytest.mark.integration

STREAMS = {"records": RECORDS_STREAM, "keys": KEYS_STREAM}
"""The stream that each of these users may configure."""


@pytest.fixture(autouse=True)
async def streams(nats: GuardedNats) -> AsyncIterator[None]:
    async with connect_bus(nats.address(ADMIN), role="test") as admin:
        await KeysStream(admin).ensure()
        await RecordsStream(admin).ensure()
        yield
        for stream in STREAMS.values():
            await admin.jetstream.delete_stream(stream)


async def reconfigure(bus: Bus, stream: str, changes: dict[str, object]) -> None:
    info = await bus.answer(bus.client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=5))
    config = json.loads(info.data)["config"] | changes
    request = bus.client.request(f"$JS.API.STREAM.UPDATE.{stream}", json.dumps(config).encode(), timeout=5)
    said = await bus.answer(request)
    assert "error" not in json.loads(said.data), said.data


async def finding_of(nats: GuardedNats, stream: str) -> Finding:
    """Returns what `doctor` finds, as the auditor."""
    async with connect_bus(nats.address("auditor"), role="auditor") as auditor:
        [state] = [each for each in await list_streams(auditor) if each.name == stream]
    return judge_stream(stream, state, wanted_now=True)


async def finding_after(nats: GuardedNats, user: str, changes: dict[str, object]) -> Finding:
    """Returns what `doctor` finds once a user has changed the configuration of its stream."""
    async with connect_bus(nats.address(user), role=user) as bus:
        await reconfigure(bus, STREAMS[user], changes)
    return await finding_of(nats, STREAMS[user])


@pytest.mark.parametrize("user", STREAMS)
async def test_a_configuration_of_ours_is_in_order(nats: GuardedNats, user: str) -> None:
    """Also one with settings that change nothing of what is stored and delivered."""
    assert (await finding_after(nats, user, {"description": "ours", "compression": "s2"})).level is Level.OK


FOREIGN: list[tuple[str, dict[str, object], str]] = [
    ("records", {"republish": {"src": "records.*.mine", "dest": "keys.{{wildcard(1)}}.mine"}}, "republish"),
    ("keys", {"republish": {"src": "keys.*.*", "dest": "records.{{wildcard(1)}}.1"}}, "republish"),
    ("records", {"sources": [{"name": KEYS_STREAM}], "max_msg_size": -1}, "sources"),
    ("keys", {"sources": [{"name": RECORDS_STREAM}]}, "sources"),
    ("keys", {"subject_transform": {"src": "keys.*.*", "dest": "keys.{{wildcard(2)}}.mine"}}, "subject_transform"),
    ("keys", {"subjects": ["keys.mine.>"]}, "subjects is"),
    ("records", {"subjects": ["records.mine.>"]}, "subjects is"),
    ("keys", {"retention": "interest"}, "retention is"),
    ("keys", {"subject_delete_marker_ttl": 10**9, "allow_rollup_hdrs": True}, "subject_delete_marker_ttl"),
    ("keys", {"max_msgs_per_subject": 2}, "max_msgs_per_subject is"),
    *((user, changes, named) for user in STREAMS for changes, named in [
        ({"sealed": True}, "sealed"),
        ({"max_msg_size": 1}, "max_msg_size is 1"),
        ({"max_consumers": 1}, "max_consumers"),
        ({"no_ack": True}, "no_ack"),
        ({"deny_delete": True}, "deny_delete"),
        ({"deny_purge": True}, "deny_purge"),
        ({"allow_rollup_hdrs": True}, "allow_rollup_hdrs"),
        ({"allow_msg_ttl": True, "subject_delete_marker_ttl": 10**9}, "allow_msg_ttl"),
        ({"allow_msg_schedules": True}, "allow_msg_schedules"),
        ({"discard": "new", "discard_new_per_subject": True, "max_msgs_per_subject": 1}, "discard_new_per_subject"),
        ({"consumer_limits": {"max_ack_pending": 1}}, "consumer_limits"),
        ({"consumer_limits": {"inactive_threshold": 10**9}}, "consumer_limits"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("user", "changes", "named"), FOREIGN)
async def test_a_configuration_that_is_not_ours_is_reported(
    nats: GuardedNats, user: str, changes: dict[str, object], named: str
) -> None:
    """NATS does not look into requests: it lets a worker's user have keys copied, forged or withheld by its stream."""
    finding = await finding_after(nats, user, changes)
    assert finding.level is Level.FAILED
    assert named in finding.message


@pytest.mark.parametrize("user", STREAMS)
@pytest.mark.parametrize(
    "limit", [{"max_msgs": 1}, {"max_bytes": 1}, {"max_age": 10**9, "duplicate_window": 10**9}]
)
async def test_a_limit_that_drops_messages_is_reported(
    nats: GuardedNats, user: str, limit: dict[str, object]
) -> None:
    finding = await finding_after(nats, user, limit)
    assert finding.level is Level.WARNING
    assert next(iter(limit)) in finding.message


CREATED: list[tuple[str, dict[str, object], str]] = [
    ("records", {"retention": "limits"}, "retention is limits"),
    ("records", {"storage": "memory", "retention": "workqueue"}, "storage is memory"),
    ("records", {"mirror": {"name": KEYS_STREAM}}, "mirror"),
    ("keys", {"storage": "memory"}, "storage is memory"),
    ("keys", {"mirror": {"name": RECORDS_STREAM}}, "mirror"),
    ("keys", {"subjects": ["keys.>"], "allow_msg_counter": True}, "allow_msg_counter"),
    ("keys", {"subjects": ["keys.>"], "persist_mode": "async"}, "persist_mode"),
]


@pytest.mark.parametrize(("user", "config", "named"), CREATED)
async def test_a_stream_that_is_created_not_as_ours_is_reported(
    nats: GuardedNats, user: str, config: dict[str, object], named: str
) -> None:
    """What an update can't change; the stream was lost before."""
    stream = STREAMS[user]
    async with connect_bus(nats.address(ADMIN), role="test") as admin:
        await admin.jetstream.delete_stream(stream)
    async with connect_bus(nats.address(user), role=user) as bus:
        body = json.dumps({"name": stream, **config}).encode()
        said = await bus.answer(bus.client.request(f"$JS.API.STREAM.CREATE.{stream}", body, timeout=5))
        assert "error" not in json.loads(said.data), said.data
    finding = await finding_of(nats, stream)
    assert finding.level is Level.FAILED
    assert named in finding.message
