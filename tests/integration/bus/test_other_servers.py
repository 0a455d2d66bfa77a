"""A NATS that others have set up: what a job can't be dispatched with is reported at once, and by its name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nats.errors
import pytest
from nats.aio import transport

from support.other_nats import anonymous, other_nats
from support.rotating import USER_KEY, Nkey
from support.waiting import eventually
from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import connect_bus
from vaultstream.bus.dispatch import require_streams
from vaultstream.bus.inspection import list_streams
from vaultstream.bus.nkeys import NatsKey
from vaultstream.bus.subjects import RECORDS_STREAM
from vaultstream.doctor.findings import Level
from vaultstream.doctor.streams import examine_bus, judge_stream
from vaultstream.errors import BusError, UsageError
from vaultstream.local.ports import choose_port

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


async def test_a_stream_of_our_name_with_other_subjects_is_named(tmp_path: Path) -> None:
    jetstream = {"store_dir": str(tmp_path / "store")}
    async with (
        other_nats(tmp_path, jetstream=jetstream) as port,
        connect_bus(anonymous(port), role="command") as bus,
    ):
        await bus.jetstream.add_stream(name=RECORDS_STREAM, subjects=["other.>"])
        with pytest.raises(BusError, match=r"with other subjects: other\.> instead of records\.>") as caught:
            await require_streams(bus)
        [stream] = await list_streams(bus)
        told = judge_stream(RECORDS_STREAM, stream, wanted_now=False)
        assert told.level is Level.FAILED
        assert told.hint == caught.value.hint  # not to remove what another program has


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


async def test_a_server_is_reached_over_websockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "aiohttp", None)  # as in a command, which does not load it
    web = choose_port()
    async with other_nats(
        tmp_path,
        jetstream={"store_dir": str(tmp_path / "store")},
        websocket={"host": "127.0.0.1", "port": web, "no_tls": True},
    ):
        address = BusAddress(f"ws://127.0.0.1:{web}", "vaultstream", "")
        async with connect_bus(address, role="command") as bus:
            await require_streams(bus)


async def test_credentials_come_from_the_file_of_a_setting(tmp_path: Path) -> None:
    seed = tmp_path / "user.nk"
    made = Nkey(USER_KEY)
    seed.write_text(made.seed)
    public = NatsKey.from_seed(made.seed).public
    user = {"nkey": public}
    async with other_nats(tmp_path / "nats", authorization={"users": [user]}) as port:
        refused = anonymous(port)
        with pytest.raises(BusError):
            async with connect_bus(refused, role="command", attempts=1):
                pass
        async with connect_bus(replace(refused, nkey_file=seed), role="command") as bus:
            assert bus.client.is_connected
    with pytest.raises(UsageError, match="VAULTSTREAM_NATS_CREDS_FILE"):
        replace(refused, creds_file=tmp_path / "none").current()
