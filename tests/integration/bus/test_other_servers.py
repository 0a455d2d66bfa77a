"""A NATS that others have set up: what a job can't be dispatched with is reported at once, and by its name."""

from __future__ import annotations

import json
from pathlib import Path

import nats.errors
import pytest

from support.other_nats import anonymous, other_nats
from support.waiting import eventually
from vaultstream.bus.connection import connect_bus
from vaultstream.bus.dispatch import require_streams
from vaultstream.doctor.findings import Level
from vaultstream.doctor.streams import examine_bus
from vaultstream.errors import BusError

pytestmark = pytest.mark.integration


async def test_a_server_without_jetstream_is_named_by_run_and_by_doctor(tmp_path: Path) -> None:
    async with other_nats(tmp_path) as port, connect_bus(anonymous(port), role="command") as bus:
        with pytest.raises(BusError, match="without JetStream"):
            await require_streams(bus, patience=0)
        findings, streams = await examine_bus(bus, "nats://x")
        assert streams is None
        assert [finding.level for finding in findings] == [Level.FAILED]


@pytest.mark.parametrize("subjects", [["records.>", "events.>"], ["keys.*.*"], [">"]])
async def test_a_stream_that_has_our_subjects_is_named(tmp_path: Path, subjects: list[str]) -> None:
    jetstream = {"store_dir": str(tmp_path / "store")}
    async with (
        other_nats(tmp_path, jetstream=jetstream) as port,
        connect_bus(anonymous(port), role="command") as bus,
    ):
        await bus.jetstream.add_stream(name="AUDIT", subjects=subjects, no_ack=subjects == [">"])
        with pytest.raises(BusError, match=r"AUDIT .* overlap"):
            await require_streams(bus)


async def test_a_connection_that_the_server_ends_with_an_error_is_opened_again(tmp_path: Path) -> None:
    """The library would close it for good, and every call would fail as if NATS were unreachable."""
    async with other_nats(tmp_path) as port, connect_bus(anonymous(port), role="command") as bus:
        client = bus.client
        await client._process_err("'maximum subscriptions exceeded'")

        async def again() -> bool:
            return client.is_connected

        await eventually(again)
        subscription = await client.subscribe("there")
        await client.publish("there", json.dumps("hello").encode())
        assert (await subscription.next_msg(timeout=5)).data == b'"hello"'
        with pytest.raises(nats.errors.NoRespondersError):
            await client.request("nobody", b"", timeout=2)
