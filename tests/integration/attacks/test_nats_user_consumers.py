"""What the NATS user of a worker tries with the consumer of a job: the records worker makes it again, and doctor names it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.engine import new_name
from support.guarded import ADMIN, GuardedNats
from support.other_nats import anonymous, other_nats
from vaultstream.bus.connection import Bus, connect_bus
from vaultstream.bus.consumers import consumer_config, differing_settings
from vaultstream.bus.inspection import list_streams
from vaultstream.bus.pull import BatchPuller
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import RECORDS_STREAM, parse_batch_no

pytestmark = pytest.mark.integration

ACK_WAIT, MOST = 30.0, 100

OTHERWISE: dict[str, dict[str, Any]] = {
    "priority groups": {"priority_groups": ["a"], "priority_policy": "overflow"},
    "small requests": {"max_batch": 1},
    "small answers": {"max_bytes": 1},
    "short requests": {"max_expires": 1_000_000},
    "few requests": {"max_waiting": 1},
    "the pace of publishing": {"replay_policy": "original"},
    "a long ack wait": {"ack_wait": 2**62},
    "one at a time": {"max_ack_pending": 1},
    "one delivery each": {"max_deliver": 1},
    "another filter": {"filter_subject": "records.other.*"},
    "headers alone": {"headers_only": True},
    "paused": {"pause_until": "2999-01-01T00:00:00Z"},
    "gone soon": {"inactive_threshold": 3_600_000_000_000},
    "another number of replicas": {"num_replicas": 1},
    "in memory": {"mem_storage": True},
    "backoff": {"backoff": [10**9, 2**62], "max_deliver": 3},
}


@pytest.fixture
async def records(nats: GuardedNats) -> AsyncIterator[Bus]:
    async with connect_bus(nats.address("records"), role="records") as bus:
        await RecordsStream(bus).ensure()
        yield bus
    async with connect_bus(nats.address(ADMIN), role="test") as admin:
        await admin.jetstream.delete_stream(RECORDS_STREAM)


async def ensure(stream: RecordsStream, token: str) -> bool:
    return await stream.ensure_consumer(token, ack_wait_seconds=ACK_WAIT, max_ack_pending=MOST)


@pytest.mark.parametrize("name", OTHERWISE)
async def test_a_consumer_that_was_made_otherwise_is_made_again_and_delivers(
    nats: GuardedNats, records: Bus, name: str
) -> None:
    token, stream = new_name("consumer"), RecordsStream(records)
    wanted = consumer_config(token, ack_wait_seconds=ACK_WAIT, max_ack_pending=MOST)
    await records.ask(
        f"CONSUMER.DURABLE.CREATE.{RECORDS_STREAM}.{token}",
        {"stream_name": RECORDS_STREAM, "config": wanted | OTHERWISE[name]},
    )
    async with connect_bus(nats.address("auditor"), role="auditor") as auditor:
        [listed] = [each for state in await list_streams(auditor) for each in state.consumers]
        assert set(listed.foreign) == OTHERWISE[name].keys() - {"ack_wait", "max_ack_pending"}
    assert await ensure(stream, token)
    found = await records.ask(f"CONSUMER.INFO.{RECORDS_STREAM}.{token}")
    assert differing_settings(found["config"], wanted) == ()
    await stream.publish(token, [1, 2])
    async with connect_bus(nats.address("signing"), role="signing") as bus, BatchPuller(bus, token) as puller:
        came = {parse_batch_no(message.subject) for message in await puller.fetch(2, wait_seconds=10)}
        assert came & {1, 2}
    assert not await ensure(stream, token)


async def test_a_consumer_that_is_ours_stays_as_it_is(records: Bus) -> None:
    token, stream = new_name("consumer"), RecordsStream(records)
    assert await ensure(stream, token)
    made = await records.ask(f"CONSUMER.INFO.{RECORDS_STREAM}.{token}")
    assert not await ensure(stream, token)
    assert not await ensure(RecordsStream(records), token)
    again = await records.ask(f"CONSUMER.INFO.{RECORDS_STREAM}.{token}")
    assert made["created"] == again["created"]


@pytest.mark.parametrize("theirs", ["records.{token}.*", "records.>", "records.*.5", None])
async def test_a_consumer_that_has_a_jobs_batches_keeps_it_from_none(
    nats: GuardedNats, records: Bus, theirs: str | None
) -> None:
    token, stream = new_name("consumer"), RecordsStream(records)
    config: dict[str, Any] = {"durable_name": "mine", "ack_policy": "explicit"}
    config |= {"filter_subject": theirs.format(token=token)} if theirs else {}
    request = {"stream_name": RECORDS_STREAM, "config": config}
    await records.ask(f"CONSUMER.DURABLE.CREATE.{RECORDS_STREAM}.mine", request)
    assert await ensure(stream, token)
    await stream.publish(token, [1])
    async with connect_bus(nats.address("signing"), role="signing") as bus, BatchPuller(bus, token) as puller:
        assert [parse_batch_no(message.subject) for message in await puller.fetch(1, wait_seconds=10)] == [1]
    other = new_name("consumer")
    assert await ensure(stream, other)
    listed = await records.ask(f"CONSUMER.LIST.{RECORDS_STREAM}")
    assert {info["name"] for info in listed["consumers"]} == {token, other}


async def test_a_limit_of_the_server_is_no_reason_to_make_a_consumer_again(tmp_path: Path) -> None:
    jetstream = {"store_dir": str(tmp_path / "js"), "limits": {"max_request_batch": 100}}
    async with (
        other_nats(tmp_path, jetstream=jetstream) as port,
        connect_bus(anonymous(port), role="test") as bus,
    ):
        await RecordsStream(bus).ensure()
        assert await ensure(RecordsStream(bus), "job")
        made = await bus.ask(f"CONSUMER.INFO.{RECORDS_STREAM}.job")
        assert made["config"]["max_batch"] == 100
        stream = RecordsStream(bus)  # after a restart of the records worker
        assert [await ensure(stream, "job"), await ensure(stream, "job")] == [False, False]
        assert (await bus.ask(f"CONSUMER.INFO.{RECORDS_STREAM}.job"))["created"] == made["created"]
        config = made["config"] | {"max_batch": 1}
        request = {"stream_name": RECORDS_STREAM, "config": config}
        await bus.ask(f"CONSUMER.DURABLE.CREATE.{RECORDS_STREAM}.job", request)
        assert await ensure(stream, "job")
        assert (await bus.ask(f"CONSUMER.INFO.{RECORDS_STREAM}.job"))["config"]["max_batch"] == 100
