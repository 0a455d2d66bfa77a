"""A batch in flight leaves its signer exactly once, whoever ends it, in whatever order."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.engine import make_lease
from vaultstream.signing.batch import Batch, Settlement
from vaultstream.signing.hold import Hold, Limits
from vaultstream.telemetry.metrics import BATCH_OUTCOMES, Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from nats.aio.msg import Msg

    from vaultstream.store.database import Pool

pytestmark = pytest.mark.unit

SETTLEMENTS = st.builds(
    Settlement,
    st.sampled_from(BATCH_OUTCOMES),
    redeliver_after=st.none() | st.floats(0, 60),
    lease_ended=st.booleans(),
)
NUMBERS = st.integers(1, 6)


class Client:
    """A connection that notes which deliveries are acknowledged."""

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        await asyncio.sleep(0)
        for message in messages:
            message.ended.append(None)


class Message:
    """A delivery that notes how it was ended."""

    _client = Client()

    def __init__(self) -> None:
        self.ended: list[float | None] = []

    async def nak(self, delay: float | None) -> None:
        await asyncio.sleep(0)
        self.ended.append(delay or 0.0)


class Keys:
    """A pool of connections that notes which keys are released, or can't be reached."""

    def __init__(self, *, reachable: bool) -> None:
        self.released: set[int] = set()
        self._reachable = reachable

    @asynccontextmanager
    async def acquire(self, *, timeout: float) -> AsyncIterator[Keys]:  # noqa: ASYNC109 - the driver's own
        await asyncio.sleep(0)
        if not self._reachable:
            raise TimeoutError
        yield self

    async def execute(self, _: str, __: str, key_nos: list[int], ___: list[int]) -> None:
        await asyncio.sleep(0)
        self.released.update(key_nos)


def fetched(number: int) -> Batch:
    return Batch(number, cast("Msg", Message()))


def ends_of(batch: Batch) -> list[float | None]:
    return cast("Message", batch.message).ended


@given(
    leased=st.sets(NUMBERS),
    attempts=st.lists(st.tuples(st.sets(NUMBERS, min_size=1), SETTLEMENTS), max_size=8),
    at_once=st.booleans(),
    reachable=st.booleans(),
)
def test_the_first_settlement_ends_a_batch_and_any_other_does_nothing(
    leased: set[int], attempts: list[tuple[set[int], Settlement]], at_once: bool, reachable: bool
) -> None:
    async def play() -> None:
        keys, metrics = Keys(reachable=reachable), Metrics("signing").signing
        hold = Hold(cast("Pool", keys), "ann", Limits(6, 30.0, 30.0), metrics)
        batches = hold.admit(fetched(number) for number in range(1, 7))
        for batch in batches:
            if batch.number in leased:
                batch.lease = make_lease(0, key_no=batch.number)
        work = [hold.settle([b for b in batches if b.number in numbers], how) for numbers, how in attempts]
        if at_once:
            await asyncio.gather(*work)
        else:
            for each in work:
                await each
        wanted = set().union(*(numbers for numbers, _ in attempts))
        for batch in batches:
            own = [how for numbers, how in attempts if batch.number in numbers]
            if batch.number not in wanted:
                assert (batch.settlement, ends_of(batch)) == (None, [])
                continue
            assert batch.settlement in own
            assert at_once or batch.settlement == own[0]
            assert ends_of(batch) == [batch.settlement.redeliver_after]
            if batch.number in leased and reachable and not batch.settlement.lease_ended:
                assert batch.number in keys.released
        assert keys.released <= leased
        assert hold.in_flight == len(batches) - len(wanted)
        counted = {outcome: metrics.batches.labels(outcome)._value.get() for outcome in BATCH_OUTCOMES}
        settled = [batch.settlement.outcome for batch in batches if batch.settlement]
        assert counted == {outcome: settled.count(outcome) for outcome in BATCH_OUTCOMES}

    asyncio.run(play())


def test_a_second_delivery_is_accepted_only_after_the_first_has_ended() -> None:
    async def play() -> None:
        hold = Hold(
            cast("Pool", Keys(reachable=True)), "ann", Limits(6, 30.0, 30.0), Metrics("signing").signing
        )
        first, second = fetched(1), fetched(1)
        assert hold.admit([first, second]) == [first]
        await hold.settle([first], Settlement("retried", redeliver_after=1.0))
        assert hold.admit([third := fetched(1)]) == [third]
        assert ends_of(second) == [], "the queue delivers it again after its ack wait"

    asyncio.run(play())


def test_a_part_that_no_step_has_added_yet_can_not_be_read() -> None:
    batch: Any = fetched(1)
    for part in ("row", "lease", "records", "signed"):
        with pytest.raises(AttributeError):
            getattr(batch, part)
    assert not batch.leased
