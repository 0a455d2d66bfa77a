"""What a role's user may not do on NATS is refused at once with an explanation; what the product needs is permitted."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from support.engine import handled, new_name
from support.guarded import GuardedNats
from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import connect_bus
from vaultstream.bus.inspection import list_streams
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.permissions import BusRole, permissions
from vaultstream.bus.pull import BatchPuller
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM
from vaultstream.errors import BusError

pytestmark = pytest.mark.integration

ALL = {str(role) for role in BusRole}
API = "$JS.API"


@pytest.fixture
async def token(nats: GuardedNats) -> AsyncIterator[str]:
    """A job of ours on both streams, with its consumer and a batch."""
    async with connect_bus(nats.address("admin"), role="test") as bus:
        name = new_name("job")
        records, keys = RecordsStream(bus), KeysStream(bus)
        await records.ensure()
        await keys.ensure()
        await records.ensure_consumer(name, ack_wait_seconds=30, max_ack_pending=10)
        await records.publish(name, [1])
        yield name
        await records.remove(name)
        await keys.remove(name)


NOBODY: set[str] = set()
READERS = {"auditor", "operator"}

PUBLISHERS: list[tuple[set[str], str]] = [
    ({"records"}, "records.{token}.2"),
    ({"keys"}, "keys.{token}.k"),
    (NOBODY, "records.{token}"),
    (NOBODY, "records.{token}.2.3"),
    (NOBODY, "keys.{token}"),
    (NOBODY, "keys.{token}.k.k"),
    ({"auditor"}, f"{API}.INFO"),
    (NOBODY, f"{API}.STREAM.LIST"),
    (NOBODY, f"{API}.STREAM.NAMES"),
    ({"records", "auditor"}, f"{API}.STREAM.INFO.{RECORDS_STREAM}"),
    ({"keys", "auditor"}, f"{API}.STREAM.INFO.{KEYS_STREAM}"),
    (NOBODY, f"{API}.STREAM.INFO.ANOTHER"),
    (NOBODY, f"{API}.STREAM.DELETE.{RECORDS_STREAM}"),
    (NOBODY, f"{API}.STREAM.DELETE.{KEYS_STREAM}"),
    ({"records"}, f"{API}.STREAM.UPDATE.{RECORDS_STREAM}"),
    ({"keys"}, f"{API}.STREAM.UPDATE.{KEYS_STREAM}"),
    (NOBODY, f"{API}.STREAM.UPDATE.ANOTHER"),
    ({"records"}, f"{API}.STREAM.CREATE.{RECORDS_STREAM}"),
    ({"keys"}, f"{API}.STREAM.CREATE.{KEYS_STREAM}"),
    (NOBODY, f"{API}.STREAM.CREATE.ANOTHER"),
    ({"records", "operator"}, f"{API}.STREAM.PURGE.{RECORDS_STREAM}"),
    ({"keys", "operator"}, f"{API}.STREAM.PURGE.{KEYS_STREAM}"),
    (NOBODY, f"{API}.STREAM.PURGE.ANOTHER"),
    (NOBODY, f"{API}.STREAM.MSG.GET.{RECORDS_STREAM}"),
    ({"keys"}, f"{API}.STREAM.MSG.GET.{KEYS_STREAM}"),
    (NOBODY, f"{API}.STREAM.MSG.GET.ANOTHER"),
    (NOBODY, f"{API}.DIRECT.GET.{KEYS_STREAM}"),
    (NOBODY, f"{API}.STREAM.MSG.DELETE.{RECORDS_STREAM}"),
    (NOBODY, f"{API}.STREAM.MSG.DELETE.{KEYS_STREAM}"),
    (NOBODY, f"{API}.STREAM.SNAPSHOT.{KEYS_STREAM}"),
    (NOBODY, f"{API}.STREAM.LEADER.STEPDOWN.{KEYS_STREAM}"),
    ({"records", "auditor"}, f"{API}.CONSUMER.LIST.{RECORDS_STREAM}"),
    ({"auditor"}, f"{API}.CONSUMER.LIST.{KEYS_STREAM}"),
    (NOBODY, f"{API}.CONSUMER.LIST.ANOTHER"),
    (NOBODY, f"{API}.CONSUMER.NAMES.{KEYS_STREAM}"),
    ({"records", *READERS}, f"{API}.CONSUMER.INFO.{RECORDS_STREAM}.{{token}}"),
    ({"signing", "auditor"}, f"{API}.CONSUMER.INFO.{KEYS_STREAM}.{{token}}"),
    (NOBODY, f"{API}.CONSUMER.INFO.ANOTHER.MINE"),
    ({"records"}, f"{API}.CONSUMER.DURABLE.CREATE.{RECORDS_STREAM}.{{token}}"),
    (NOBODY, f"{API}.CONSUMER.DURABLE.CREATE.{KEYS_STREAM}.mine"),
    (NOBODY, f"{API}.CONSUMER.CREATE.{RECORDS_STREAM}"),
    (NOBODY, f"{API}.CONSUMER.CREATE.{RECORDS_STREAM}.mine.>"),
    ({"signing"}, f"{API}.CONSUMER.CREATE.{KEYS_STREAM}"),
    (NOBODY, f"{API}.CONSUMER.CREATE.{KEYS_STREAM}.mine"),
    ({"records", "operator"}, f"{API}.CONSUMER.DELETE.{RECORDS_STREAM}.{{token}}"),
    (NOBODY, f"{API}.CONSUMER.DELETE.{KEYS_STREAM}.{{token}}"),
    (NOBODY, f"{API}.CONSUMER.PAUSE.{RECORDS_STREAM}.{{token}}"),
    ({"signing"}, f"{API}.CONSUMER.MSG.NEXT.{RECORDS_STREAM}.{{token}}"),
    (NOBODY, f"{API}.CONSUMER.MSG.NEXT.{KEYS_STREAM}.{{token}}"),
    ({"signing"}, f"$JS.ACK.{RECORDS_STREAM}.{{token}}.1.1.1.1.1"),
    (NOBODY, f"$JS.ACK.{KEYS_STREAM}.{{token}}.1.1.1.1.1"),
    ({"signing"}, f"$JS.FC.{KEYS_STREAM}.{{token}}.1"),
    (NOBODY, f"$JS.FC.{RECORDS_STREAM}.{{token}}.1"),
    *((users, f"tenants.shop.JS.API.{request}") for users, request in [
        ({"auditor"}, "INFO"),
        ({"auditor"}, f"STREAM.INFO.{RECORDS_STREAM}"),
        ({"auditor"}, f"STREAM.INFO.{KEYS_STREAM}"),
        ({"auditor"}, f"CONSUMER.LIST.{RECORDS_STREAM}"),
        ({"auditor"}, f"CONSUMER.LIST.{KEYS_STREAM}"),
        (READERS, f"CONSUMER.INFO.{RECORDS_STREAM}.{{token}}"),
        ({"auditor"}, f"CONSUMER.INFO.{KEYS_STREAM}.{{token}}"),
        ({"operator"}, f"CONSUMER.DELETE.{RECORDS_STREAM}.{{token}}"),
        ({"operator"}, f"STREAM.PURGE.{RECORDS_STREAM}"),
        ({"operator"}, f"STREAM.PURGE.{KEYS_STREAM}"),
        (NOBODY, f"STREAM.UPDATE.{RECORDS_STREAM}"),
        (NOBODY, f"STREAM.MSG.GET.{KEYS_STREAM}"),
        (NOBODY, f"STREAM.DELETE.{KEYS_STREAM}"),
    ]),
    (NOBODY, "$SYS.REQ.SERVER.PING"),
    (NOBODY, "anything.else"),
]  # fmt: skip
"""Each subject, with the users that may publish there."""

FORBIDDEN_TO_HEAR = ["records.>", "keys.>", ">", "$JS.>", "_INBOX.>", "$JS.EVENT.ADVISORY.>"]


async def and_wait(step: Awaitable[Any]) -> None:
    """Does what gets no answer, and waits for one."""
    await step
    await asyncio.sleep(10)


@pytest.mark.parametrize(("users", "subject"), PUBLISHERS, ids=[subject for _, subject in PUBLISHERS])
async def test_what_is_not_a_role_s_to_ask_for_is_refused(
    nats: GuardedNats, token: str, users: set[str], subject: str
) -> None:
    for user in sorted(ALL - users):
        async with connect_bus(nats.address(user), role=user) as bus:
            asked = subject.format(token=token)
            with pytest.raises(BusError, match=re.escape(f"user '{user}' may not publish to {asked}.")):
                await bus.answer(and_wait(bus.client.publish(asked)))


@pytest.mark.parametrize(
    ("user", "subject"), [(user, subject) for users, subject in PUBLISHERS for user in sorted(users)]
)
async def test_what_is_a_role_s_to_ask_for_is_permitted(
    nats: GuardedNats, token: str, user: str, subject: str
) -> None:
    async with connect_bus(nats.address(user), role=user) as bus:
        await bus.client.publish(subject.format(token=token), b"{")  # which JetStream does not understand
        await handled(bus)
        bus.refusals.check()


@pytest.mark.parametrize("user", sorted(ALL))
async def test_a_role_hears_its_own_answers_and_nothing_else(
    nats: GuardedNats, token: str, user: str
) -> None:
    others = [f"_INBOX_{other}.>" for other in ALL - {user}]
    async with connect_bus(nats.address(user), role=user) as bus:
        for subject in (*FORBIDDEN_TO_HEAR, *others):
            with pytest.raises(BusError, match=re.escape(f"user '{user}' may not subscribe to {subject}.")):
                await bus.answer(and_wait(bus.client.subscribe(subject)))


async def test_a_work_queue_s_batch_goes_to_a_signer_and_its_ack_is_taken(
    nats: GuardedNats, token: str
) -> None:
    async with connect_bus(nats.address("signing"), role="signing") as bus, BatchPuller(bus, token) as puller:
        [message] = await puller.fetch(1, wait_seconds=5)
        assert message.subject == f"records.{token}.1"
        await message.ack()
        await handled(bus)
        bus.refusals.check()
    async with connect_bus(nats.address("operator"), role="operator") as bus:
        lag = await RecordsStream(bus).lag(token)
        assert lag is not None
        assert lag.total == 0


async def test_the_auditor_sees_the_streams(nats: GuardedNats, token: str) -> None:
    async with connect_bus(nats.address("auditor"), role="auditor") as bus:
        assert {stream.name for stream in await list_streams(bus)} == {RECORDS_STREAM, KEYS_STREAM}


async def test_the_operator_removes_a_job_and_reads_nothing_of_it(nats: GuardedNats, token: str) -> None:
    async with connect_bus(nats.address("operator"), role="operator") as bus:
        await RecordsStream(bus).remove(token)
        await KeysStream(bus).remove(token)
        assert await RecordsStream(bus).lag(token) is None
        with pytest.raises(BusError, match="subscribe to keys"):
            await bus.answer(and_wait(bus.client.subscribe(f"keys.{token}.*")))


REFUSED_CALLS = {
    "ensure": lambda bus, token: RecordsStream(bus).ensure(),
    "consumer": lambda bus, token: RecordsStream(bus).ensure_consumer(
        token, ack_wait_seconds=1, max_ack_pending=1
    ),
    "present": lambda bus, token: RecordsStream(bus).present(token),
    "publish": lambda bus, token: RecordsStream(bus).publish(token, range(2, 2000)),
    "remove": lambda bus, token: RecordsStream(bus).remove(token),
    "count": lambda bus, token: KeysStream(bus).count(token),
    "keys": lambda bus, token: KeysStream(bus).remove(token),
}


@pytest.mark.parametrize("call", sorted(REFUSED_CALLS))
async def test_a_call_that_is_refused_says_so_at_once_instead_of_timing_out(
    nats: GuardedNats, token: str, call: str
) -> None:
    async with connect_bus(nats.address("signing"), role="signing") as bus:
        began = time.monotonic()
        with pytest.raises(BusError, match="'signing'") as caught:
            await REFUSED_CALLS[call](bus, token)
        assert "docs/security.md" in (caught.value.hint or "")
        assert time.monotonic() - began < 3.0  # the time-out is 5 s


async def test_a_refused_pull_fails_at_the_next_check(nats: GuardedNats, token: str) -> None:
    async with connect_bus(nats.address("records"), role="records") as bus, BatchPuller(bus, token) as puller:
        assert await puller.fetch(1, wait_seconds=0.5) == []
        with pytest.raises(BusError, match=f"MSG.NEXT.{RECORDS_STREAM}"):
            await puller.fetch(1, wait_seconds=0.5)


async def test_a_role_with_another_s_user_is_told_that_it_has_the_wrong_one(
    nats: GuardedNats, token: str
) -> None:
    async with connect_bus(nats.address("keys"), role="records") as bus:
        with pytest.raises(BusError, match="user 'keys'"):
            await RecordsStream(bus).ensure()


async def test_a_connection_continues_after_a_refusal(nats: GuardedNats, token: str) -> None:
    async with connect_bus(nats.address("operator"), role="operator") as bus:
        with pytest.raises(BusError):
            await RecordsStream(bus).present(token)
        lag = await RecordsStream(bus).lag(token)
        assert lag is not None
        assert lag.total == 1


async def test_the_permissions_are_the_same_by_name_and_in_the_url(nats: GuardedNats, token: str) -> None:
    url = nats.url.replace("nats://", f"nats://keys:{nats.passwords['keys']}@")
    async with connect_bus(BusAddress(url, "records", "unused"), role="keys") as bus:
        assert await KeysStream(bus).count(token) == 0
        with pytest.raises(BusError, match="user 'keys'"):
            await RecordsStream(bus).ensure()


def test_each_role_has_its_own_inbox_and_no_other() -> None:
    inboxes = [permissions(role).subscribe for role in BusRole]
    assert len(set(inboxes)) == len(BusRole)
    assert all(len(subjects) == 1 and subjects[0].startswith("_INBOX_") for subjects in inboxes)
