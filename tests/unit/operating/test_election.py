"""The election, in virtual time: a leader that can't renew its Lease has stopped before another begins."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.aio import client
from kubernetes.aio.config import ConfigException

from support.virtual_time import run_in_virtual_time
from vaultstream.telemetry.health import Health
from vaultstream_operator.adapters.election import (
    GIVE_UP_SECONDS,
    LEASE_SECONDS,
    RENEW_SECONDS,
    STANDBY_SECONDS,
    Election,
)
from vaultstream_operator.adapters.kube_api import KubeApi, KubeError, KubeJson, UnreachableError
from vaultstream_operator.leading import leading
from vaultstream_operator.metrics import OperatorMetrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

pytestmark = pytest.mark.unit

PATH = "/apis/coordination.k8s.io/v1/namespaces/vaultstream/leases"
SOON = 0.01


class Leases:
    """An API server with one Lease or none."""

    def __init__(self) -> None:
        self.lease: KubeJson = {}
        self.version = 0

    def write(self, lease: KubeJson) -> KubeJson:
        self.version += 1
        self.lease = {**lease, "metadata": {**lease["metadata"], "resourceVersion": str(self.version)}}
        return deepcopy(self.lease)

    def hand_over(self) -> Leases:
        """What a leader leaves behind."""
        self.write(
            {"metadata": {"name": "operator"}, "spec": {"holderIdentity": "", "leaseDurationSeconds": 1}}
        )
        return self

    def label(self) -> None:
        """A change of somebody who is no operator."""
        if self.lease:
            self.write(self.lease)

    def delete(self) -> None:
        self.lease = {}


@dataclass
class Link:
    """The API server as one operator reaches it.

    Attributes:
        leases: the API server.
        asks: seconds that a request takes.
        answers: seconds that its answer takes.
        fails: raised by each request instead, at once.
        before: called before each write.
    """

    leases: Leases
    asks: float = SOON
    answers: float = SOON
    fails: Exception | None = None
    before: Callable[[], None] | None = None
    writes: list[float] = field(default_factory=list)

    async def get(self, path: str) -> KubeJson:
        assert path == f"{PATH}/operator"
        return await self._answer("GET", {})

    async def create(self, path: str, body: KubeJson) -> KubeJson:
        assert path == PATH
        return await self._answer("POST", body)

    async def request(self, method: str, path: str, *, body: KubeJson) -> KubeJson:
        assert path == f"{PATH}/operator"
        return await self._answer(method, body)

    async def _answer(self, method: str, body: KubeJson) -> KubeJson:
        if self.fails is not None:
            raise self.fails
        await asyncio.sleep(self.asks)
        if method != "GET" and self.before is not None:
            self.before()
        try:
            answer: KubeJson | KubeError = self._handle(method, body)
        except KubeError as error:
            answer = error
        await asyncio.sleep(self.answers)
        if isinstance(answer, KubeError):
            raise answer
        return answer

    def _handle(self, method: str, body: KubeJson) -> KubeJson:
        leases = self.leases
        if method == "POST":
            if leases.lease:
                raise KubeError(409, "AlreadyExists", "it exists")
        elif not leases.lease:
            raise KubeError(404, "NotFound", "there is none")
        elif method == "GET":
            return deepcopy(leases.lease)
        elif body["metadata"]["resourceVersion"] != leases.lease["metadata"]["resourceVersion"]:
            raise KubeError(409, "Conflict", "it has changed")
        self.writes.append(now())
        return leases.write(body)


class Candidate:
    """An operator in the election; notes when it leads."""

    def __init__(self, leases: Leases, name: str) -> None:
        self.link = Link(leases)
        self.name = name
        self.terms: list[list[float]] = []

    def election(self) -> Election:
        return Election(cast("KubeApi", self.link), "vaultstream/operator", self.name, clock=now)

    async def stand(self, *, times: int = 1) -> None:
        for _ in range(times):
            election = self.election()
            await election.acquire(lambda problem: None)
            self.terms.append([now(), float("inf")])
            await election.keep()
            self.terms[-1][1] = now()

    @property
    def leads(self) -> bool:
        return bool(self.terms) and self.terms[-1][1] > now()


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(time: float) -> None:
    await asyncio.sleep(time - now())


@asynccontextmanager
async def a_leader_and_another(leases: Leases) -> AsyncIterator[tuple[Candidate, Candidate]]:
    """Yields a leader and one that stands by. Neither may fail."""
    leases.hand_over()
    first, second = Candidate(leases, "first"), Candidate(leases, "second")
    tasks = [asyncio.create_task(first.stand())]
    await asyncio.sleep(0.5)
    tasks.append(asyncio.create_task(second.stand()))
    await asyncio.sleep(0.3)
    assert (first.leads, second.leads) == (True, False)
    yield first, second
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("well", "refused", "slow to ask", "slow to answer", "labels")),
            st.integers(0, 1),
            st.floats(0.1, 12),
        ),
        min_size=4,
        max_size=20,
    )
)
@settings(max_examples=60)
def test_a_leader_has_stopped_before_another_begins(events: Sequence[tuple[str, int, float]]) -> None:
    """Whatever becomes of requests and answers, and whoever else writes the Lease."""

    async def main() -> None:
        leases = Leases()
        async with a_leader_and_another(leases) as candidates:
            for kind, which, seconds in events:
                link = candidates[which].link
                link.fails = UnreachableError("It is unreachable.") if kind == "refused" else None
                link.asks = 60.0 if kind == "slow to ask" else SOON
                link.answers = 4.5 if kind == "slow to answer" else SOON
                link.before = leases.label if kind == "labels" else None
                await asyncio.sleep(seconds)
            terms = sorted(term for candidate in candidates for term in candidate.terms)
            assert all(before[1] < after[0] for before, after in pairwise(terms)), terms

    run_in_virtual_time(main())


def test_a_leader_that_is_cut_off_stops_in_time_and_the_other_takes_over() -> None:
    async def main() -> None:
        async with a_leader_and_another(Leases()) as (first, second):
            await until(10)
            first.link.asks = 60.0
            renewed = first.link.writes[-1]
            await until(30)
            assert first.terms[0][1] <= renewed + GIVE_UP_SECONDS
            assert second.leads
            assert second.terms[0][0] <= renewed + LEASE_SECONDS + 2 * STANDBY_SECONDS

    run_in_virtual_time(main())


def test_a_take_over_counts_from_when_it_was_asked_for() -> None:
    async def main() -> None:
        leases = Leases().hand_over()
        first, second = Candidate(leases, "first"), Candidate(leases, "second")
        first.link.answers = 2.0
        tasks = [asyncio.create_task(first.stand())]
        await until(3)
        assert first.link.writes
        assert not first.terms
        first.link.asks = 60.0
        tasks.append(asyncio.create_task(second.stand()))
        await until(20)
        assert first.terms[0][1] <= first.link.writes[0] + GIVE_UP_SECONDS
        assert second.leads
        for task in tasks:
            task.cancel()

    run_in_virtual_time(main())


def test_a_conflict_renews_nothing_until_the_lease_is_written() -> None:
    async def main() -> None:
        leases = Leases()
        async with a_leader_and_another(leases) as (first, second):
            first.link.before = once = Labels(leases, times=1)
            await until(60)
            assert first.leads, "a label costs no term"
            assert once.left == 0
            first.link.before = Labels(leases, times=1000)
            renewed = first.link.writes[-1]
            await until(90)
            assert first.terms[0][1] <= renewed + GIVE_UP_SECONDS
            assert second.terms[0][0] >= renewed + LEASE_SECONDS

    run_in_virtual_time(main())


class Labels:
    """Somebody who writes the Lease just before the leader does."""

    def __init__(self, leases: Leases, *, times: int) -> None:
        self.leases = leases
        self.left = times

    def __call__(self) -> None:
        if self.left:
            self.left -= 1
            self.leases.label()


def test_quick_failures_end_no_term_within_the_time() -> None:
    async def main() -> None:
        async with a_leader_and_another(Leases()) as (first, second):
            await until(10)
            for _ in range(5):
                wrote = len(first.link.writes)
                first.link.fails = UnreachableError("It is unreachable.")
                await until(first.link.writes[-1] + GIVE_UP_SECONDS - 0.8)
                first.link.fails = None
                await asyncio.sleep(1)
                assert len(first.link.writes) > wrote
            assert first.leads
            assert not second.terms
            first.link.fails = UnreachableError("It is unreachable.")
            failed_at = first.link.writes[-1]
            await until(failed_at + GIVE_UP_SECONDS)
            assert not first.leads

    run_in_virtual_time(main())


def test_a_lease_that_is_deleted_is_made_again_by_its_holder() -> None:
    async def main() -> None:
        leases = Leases()
        async with a_leader_and_another(leases) as (first, second):
            for _ in range(3):
                second.link.fails = UnreachableError("What it has seen of the Lease gets old.")
                await asyncio.sleep(2 * LEASE_SECONDS)
                leases.delete()
                second.link.fails = None
                await asyncio.sleep(RENEW_SECONDS + 1)
                assert leases.lease["spec"]["holderIdentity"] == "first"
            await asyncio.sleep(2 * LEASE_SECONDS)
            assert first.leads
            assert not second.terms

    run_in_virtual_time(main())


@pytest.mark.parametrize("cut_off", [False, True])
def test_an_operator_that_begins_when_the_lease_was_just_deleted_waits_for_its_leader(
    *, cut_off: bool
) -> None:
    async def main() -> None:
        leases = Leases()
        async with a_leader_and_another(leases) as (first, _):
            await until(10)
            first.link.fails = UnreachableError("It is unreachable.") if cut_off else None
            leases.delete()
            third = Candidate(leases, "third")
            task = asyncio.create_task(third.stand())
            await asyncio.sleep(GIVE_UP_SECONDS + STANDBY_SECONDS)
            assert first.leads is not cut_off
            assert third.leads is cut_off
            if cut_off:
                assert first.terms[0][1] < third.terms[0][0]
            task.cancel()

    run_in_virtual_time(main())


def test_a_lease_whose_spec_is_gone_ends_the_term() -> None:
    async def main() -> None:
        leases = Leases()
        async with a_leader_and_another(leases) as (first, second):
            leases.write({**leases.lease, "spec": {}})
            await asyncio.sleep(RENEW_SECONDS + 2 * SOON)
            assert (first.leads, second.leads) == (False, False)
            await asyncio.sleep(GIVE_UP_SECONDS)
            assert (first.leads, second.leads) == (False, True)
            assert first.terms[0][1] < second.terms[0][0]

    run_in_virtual_time(main())


def test_of_several_that_begin_at_once_one_leads() -> None:
    async def main() -> None:
        leases = Leases()
        candidates = [Candidate(leases, f"operator-{number}") for number in range(5)]
        tasks = [asyncio.create_task(each.stand()) for each in candidates]
        await until(60)
        assert sum(len(each.terms) for each in candidates) == 1
        for task in tasks:
            task.cancel()

    run_in_virtual_time(main())


def test_a_container_that_restarts_leads_again_at_once() -> None:
    async def main() -> None:
        leases = Leases().hand_over()
        for term in range(2):
            again = Candidate(leases, "first")
            task = asyncio.create_task(again.stand())
            await asyncio.sleep(2 * STANDBY_SECONDS)
            assert again.terms[0][0] < 10 * SOON + term * 2 * STANDBY_SECONDS
            assert leases.lease["spec"]["leaseTransitions"] == 1
            task.cancel()

    run_in_virtual_time(main())


def test_an_unexpected_error_ends_the_work_too(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        candidate, stopped = Candidate(Leases(), "first"), asyncio.Event()

        async def stop() -> None:
            stopped.set()

        async with leading(
            candidate.election(), Health("operator"), OperatorMetrics(), asyncio.Event()
        ) as term:
            assert term is not None
            term.stop_work = stop
            await until(20)
            assert not term.over.is_set()
            candidate.link.fails = KeyError("spec")
            await asyncio.sleep(GIVE_UP_SECONDS)
            assert term.over.is_set()
            assert stopped.is_set()

    run_in_virtual_time(main())
    assert "can't keep the Lease" in caplog.text


def test_a_leader_that_leaves_gives_the_lease_back_and_stops_nothing_twice() -> None:
    async def main() -> None:
        leases = Leases()

        async def stop() -> None:
            raise AssertionError("the work has ended")

        election = Candidate(leases, "first").election()
        async with leading(election, Health("operator"), OperatorMetrics(), asyncio.Event()) as term:
            assert term is not None
            term.stop_work = stop
            await until(20)
            assert leases.lease["spec"]["holderIdentity"] == "first"
        assert leases.lease["spec"]["holderIdentity"] == ""

    run_in_virtual_time(main())


@pytest.mark.parametrize("moment", [number * SOON / 2 for number in range(1, 10)])
def test_an_operator_that_leaves_while_it_is_elected_keeps_no_lease(moment: float) -> None:
    async def main() -> None:
        leases, asked = Leases().hand_over(), asyncio.Event()
        asyncio.get_running_loop().call_later(moment, asked.set)
        election = Candidate(leases, "first").election()
        async with leading(election, Health("operator"), OperatorMetrics(), asked):
            await asked.wait()
        assert leases.lease["spec"]["holderIdentity"] == ""

    run_in_virtual_time(main())


@pytest.mark.parametrize(
    "error", [FileNotFoundError("token"), ConfigException("Token file exists but empty.")]
)
async def test_credentials_that_cannot_be_read_make_the_api_server_unreachable(error: Exception) -> None:
    def refresh(_: object) -> None:
        raise error

    configuration = client.Configuration()
    configuration.api_key["BearerToken"] = "bearer old"
    configuration.refresh_api_key_hook = refresh
    api = client.ApiClient(configuration)
    try:
        with pytest.raises(UnreachableError, match=f"can't be read: {error}"):
            await KubeApi(api).get("/version")
    finally:
        await api.close()  # type: ignore[no-untyped-call]
