"""What the NATS user of a signer has the server deliver to the inboxes of other signers: it ends none of them, and takes nothing from its job."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from support.engine import handled, new_name
from support.guarded import GuardedNats, administered
from support.waiting import eventually
from vaultstream.bus import pull
from vaultstream.bus.connection import Bus, connect_bus
from vaultstream.bus.pull import BatchPuller, acknowledge
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM
from vaultstream.signing.fetch import recognized

pytestmark = pytest.mark.integration

JOB_BATCHES = range(1, 4)


@pytest.fixture
async def admin(nats: GuardedNats) -> AsyncIterator[Bus]:
    async with administered(nats) as bus:
        yield bus


@pytest.fixture
async def thief(nats: GuardedNats) -> AsyncIterator[Bus]:
    async with connect_bus(nats.address("signing"), role="signing") as bus:
        yield bus


@pytest.fixture
async def signer(nats: GuardedNats) -> AsyncIterator[Bus]:
    async with connect_bus(nats.address("signing"), role="signing") as bus:
        yield bus


async def job_of(admin: Bus, numbers: range, *, ack_wait: float = 30.0) -> str:
    token = new_name("inbox")
    await RecordsStream(admin).ensure_consumer(token, ack_wait_seconds=ack_wait, max_ack_pending=100)
    await RecordsStream(admin).publish(token, numbers)
    return token


async def inbox_of(puller: BatchPuller) -> str:
    """Returns where a signer pulls. Everybody with its user hears that when the server ends a request, after seconds."""
    assert await puller.fetch(1, wait_seconds=0.01) == []
    return puller._inboxes[0].subject


async def test_what_another_signers_user_has_delivered_to_an_inbox_ends_no_signer(
    admin: Bus, thief: Bus, signer: Bus
) -> None:
    token = await job_of(admin, range(0))
    for name in ("1", "2", "key"):
        await admin.jetstream.publish(f"keys.{token}.{name}", b"{}")
    async with BatchPuller(signer, token) as puller:
        inbox = await inbox_of(puller)
        config = {"deliver_subject": inbox, "deliver_policy": "all", "ack_policy": "explicit"}
        request = {"stream_name": KEYS_STREAM, "config": config}
        made = await thief.ask(f"CONSUMER.CREATE.{KEYS_STREAM}", request)

        async def delivered() -> bool:
            told = await thief.ask(f"CONSUMER.INFO.{KEYS_STREAM}.{made['name']}")
            return bool(told["delivered"]["consumer_seq"] >= 3)

        await eventually(delivered)
        await handled(signer)
        await RecordsStream(admin).publish(token, JOB_BATCHES)
        found: set[int] = set()
        while not found >= {*JOB_BATCHES}:
            batches = await recognized(await puller.fetch(10, wait_seconds=10))
            await acknowledge([batch.message for batch in batches])
            await handled(signer)  # what is refused, the server has said by now
            found |= {batch.number for batch in batches}
        assert found == {*JOB_BATCHES}
        assert await puller.fetch(1, wait_seconds=0.1) == []


async def ask_for_batches(thief: Bus, token: str, inbox: str) -> None:
    """Has the server deliver ten batches of a job to somebody's inbox."""
    request = json.dumps({"batch": 10, "no_wait": True}).encode()
    await thief.client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{RECORDS_STREAM}.{token}", request, reply=inbox)


async def test_batches_of_another_job_in_an_inbox_are_not_taken_for_those_of_its_own(
    admin: Bus, thief: Bus, signer: Bus
) -> None:
    token, other = await job_of(admin, range(0)), await job_of(admin, range(70, 80))
    async with BatchPuller(signer, token) as puller:
        inbox = await inbox_of(puller)
        await ask_for_batches(thief, other, inbox)

        async def taken() -> bool:
            lag = await RecordsStream(admin).lag(other)
            return lag is not None and lag.ack_pending == 10

        await eventually(taken)
        await handled(signer)
        await RecordsStream(admin).publish(token, [1])
        assert [batch.number for batch in await recognized(await puller.fetch(20, wait_seconds=10))] == [1]


async def test_what_nobody_asked_for_fills_no_memory_of_a_signer_and_is_delivered_again(
    admin: Bus, thief: Bus, signer: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "MOST_ARRIVED", 3)
    token = await job_of(admin, range(0), ack_wait=1.0)
    async with BatchPuller(signer, token) as puller:
        inbox = await inbox_of(puller)
        await RecordsStream(admin).publish(token, range(1, 11))
        await ask_for_batches(thief, token, inbox)

        async def taken() -> bool:
            lag = await RecordsStream(admin).lag(token)
            return lag is not None and lag.pending == 0

        await eventually(taken)
        await handled(signer)
        messages = await puller.fetch(10, wait_seconds=10)
        assert 1 <= len(messages) <= 3
        await acknowledge(messages)
        found = {batch.number for batch in await recognized(messages)}
        while found != {*range(1, 11)}:
            messages = await puller.fetch(3, wait_seconds=10)
            await acknowledge(messages)
            found |= {batch.number for batch in await recognized(messages)}
