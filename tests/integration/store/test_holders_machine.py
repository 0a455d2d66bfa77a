"""A state machine of holders with their own clocks, crashes and commits in flight, against the real Postgres.

Time is simulated: for Postgres, all stored times are moved into the past; each holder's clock runs at its own speed. A
holder does what a signer does: it counts from its request, uses 0.9 of the lease duration, and sends nothing after that.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest.mock import patch

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from support.as_user import connect
from support.engine import add_batches, add_job, overlaps_of, signatures_of, signed
from vaultstream.store import keys
from vaultstream.store.leases import (
    COMMITTED,
    SAFETY_FACTOR,
    Lease,
    SignedBatch,
    claim_batches,
    commit_batches,
    release_leases,
    renew_leases,
)

pytestmark = pytest.mark.integration

LEASE = 1000.0
"""Simulated seconds, far more than this test takes, so that real time has no influence."""
STEP = 70
"""Time passes in multiples of it; no sum of them comes near a lease."""
KEYS, BATCHES = 3, 40
SLOWEST, FASTEST = SAFETY_FACTOR + 0.01, 1.5
"""How fast a holder's clock may run: at nine tenths the safety factor is used up."""


@dataclass
class Holder:
    """A signer as it sees itself."""

    name: str
    offset: float
    rate: float

    def clock(self, now: float) -> float:
        return self.offset + self.rate * now


@dataclass(frozen=True)
class Held:
    holder: Holder
    lease: Lease
    batch_no: int


@dataclass(frozen=True)
class Sent:
    """A commit on its way, or that of a process which was stopped while it sent."""

    holder: str
    batch: SignedBatch


class Holders(RuleBasedStateMachine):
    """What each holder believes, and what Postgres should say."""

    runner: ClassVar[asyncio.Runner]
    connection: ClassVar[asyncpg.Connection]

    in_hand = Bundle("in_hand")
    on_the_way = Bundle("on_the_way")

    def __init__(self) -> None:
        super().__init__()
        self.played = 0.0
        self.began = time.monotonic()
        self.job = self.run(add_job(self.connection, keys=KEYS, retries={"maxAttempts": 100}))
        self.run(add_batches(self.connection, self.job, *([n] for n in range(1, BATCHES + 1))))
        self.key_ids = {
            k.key_no: k.key_id for k in self.run(keys.list_keys(self.connection, self.job.job_no))
        }
        self.holders = [Holder("ann", 0.0, 1.0), Holder("bob", 3600.0, FASTEST), Holder("cid", -1e6, SLOWEST)]
        self.generation = 0
        self.believed: list[Held] = []
        self.until: dict[int, tuple[str, int, float]] = {}
        self.revoked: set[int] = set()
        self.signatures: dict[int, bytes] = {}

    def run(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    def now(self) -> float:
        return self.played + time.monotonic() - self.began

    def as_holder(self, holder: Holder, awaitable: Any) -> Any:
        """Awaits what a holder does, by its own clock."""
        with patch("vaultstream.store.leases.lease_clock", lambda: holder.clock(self.now())):
            return self.run(awaitable)

    def remaining(self, held: Held) -> float:
        with patch("vaultstream.store.leases.lease_clock", lambda: held.holder.clock(self.now())):
            return held.lease.remaining

    def in_force(self, holder: str, lease: Lease) -> bool:
        """Whether Postgres considers a lease valid."""
        name, epoch, until = self.until.get(lease.key_no, ("", 0, 0.0))
        return (
            (name, epoch) == (holder, lease.epoch)
            and self.played < until
            and lease.key_no not in self.revoked
        )

    @rule(
        target=in_hand,
        who=st.integers(0, 2),
        batch_nos=st.sets(st.integers(1, BATCHES), min_size=1, max_size=3),
    )
    def claim(self, who: int, batch_nos: set[int]) -> Any:
        holder = self.holders[who]
        claims = self.as_holder(
            holder,
            claim_batches(self.connection, self.job.job_no, holder.name, list(batch_nos), seconds=LEASE),
        )
        assert {c.batch.batch_no for c in claims} == batch_nos - set(self.signatures)
        held = [Held(holder, claim.lease, claim.batch.batch_no) for claim in claims if claim.lease]
        for each in held:
            assert each.lease.key_no not in self.revoked
            self.until[each.lease.key_no] = (holder.name, each.lease.epoch, self.played + LEASE)
        self.believed += held
        return multiple(*held)

    @rule(who=st.integers(0, 2))
    def renew(self, who: int) -> None:
        holder = self.holders[who]
        mine = [each for each in self.believed if each.holder is holder and not each.lease.lost]
        leases = [each.lease for each in mine]
        lost = self.as_holder(holder, renew_leases(self.connection, holder.name, leases, seconds=LEASE))
        gone = [lease for lease in leases if not self.in_force(holder.name, lease)]
        assert list(map(id, lost)) == list(map(id, gone))
        for lease in leases:
            if not lease.lost:
                self.until[lease.key_no] = (holder.name, lease.epoch, self.played + LEASE)

    @rule(steps=st.integers(1, 16))
    def time_passes(self, steps: int) -> None:
        seconds = steps * STEP
        self.played += seconds
        self.run(move_into_the_past(self.connection, self.job.job_no, seconds))

    @rule(target=on_the_way, held=consumes(in_hand))
    def send(self, held: Held) -> Any:
        """What is past its deadline is not sent."""
        if held not in self.believed or self.remaining(held) <= 0:
            return multiple()
        self.forget(held)
        return Sent(held.holder.name, signed(held.batch_no, held.lease, [held.batch_no]))

    @rule(sent=consumes(on_the_way))
    def arrive(self, sent: Sent) -> None:
        batch = sent.batch
        holds, pending = self.in_force(sent.holder, batch.lease), batch.batch_no not in self.signatures
        [outcome] = self.run(
            commit_batches(self.connection, self.job.job_no, sent.holder, [batch], id_type="bigint")
        )
        assert (outcome == COMMITTED) == (holds and pending)
        if outcome == COMMITTED:
            self.signatures[batch.batch_no] = batch.rows.signatures[0]
        if holds:
            del self.until[batch.lease.key_no]

    @rule(sent=on_the_way)
    def arrive_and_be_sent_again(self, sent: Sent) -> None:
        """Its answer got lost on the way."""
        self.arrive(sent)
        [again] = self.run(
            commit_batches(self.connection, self.job.job_no, sent.holder, [sent.batch], id_type="bigint")
        )
        assert again != COMMITTED

    @rule(held=consumes(in_hand))
    def give_back(self, held: Held) -> None:
        self.forget(held)
        self.run(release_leases(self.connection, held.holder.name, [held.lease]))
        if self.in_force(held.holder.name, held.lease):
            del self.until[held.lease.key_no]

    @rule(who=st.integers(0, 2))
    def crash(self, who: int) -> None:
        """A holder forgets its leases and restarts under another name. What it had sent may still arrive."""
        gone = self.holders[who]
        self.generation += 1
        self.holders[who] = Holder(f"{gone.name[:3]} {self.generation}", gone.offset + 17.0, gone.rate)
        self.believed = [each for each in self.believed if each.holder is not gone]

    @precondition(lambda self: len(self.revoked) < KEYS - 1)
    @rule(place=st.integers(0, KEYS - 1))
    def revoke(self, place: int) -> None:
        key_no = sorted(self.key_ids)[place]
        self.run(keys.end_keys(self.connection, self.job.job_no, [self.key_ids[key_no]], state="revoked"))
        self.revoked.add(key_no)

    def forget(self, held: Held) -> None:
        self.believed = [each for each in self.believed if each is not held]

    @invariant()
    def no_two_believe_to_hold_a_key_at_one_time(self) -> None:
        using = [each.lease.key_no for each in self.believed if self.remaining(each) > 0]
        assert len(using) == len(set(using))

    @invariant()
    def who_believes_to_hold_a_key_does_unless_it_was_revoked(self) -> None:
        for each in self.believed:
            if self.remaining(each) > 0 and each.lease.key_no not in self.revoked:
                assert self.in_force(each.holder.name, each.lease)

    @invariant()
    def what_was_accepted_stays_and_nothing_else_is_there(self) -> None:
        assert self.run(signatures_of(self.connection, self.job)) == self.signatures
        assert self.run(overlaps_of(self.connection, self.job)) == 0

    def teardown(self) -> None:
        """Whatever happened, once all leases have expired, every key that was not revoked can be leased again."""
        self.time_passes(20)
        self.run(self.connection.execute("SELECT vaultstream.expire_leases($1)", self.job.job_no))
        rows = self.run(
            self.connection.fetch(
                "SELECT key_no FROM vaultstream.lease_keys($1, 'last', $2, 1)", self.job.job_no, KEYS
            )
        )
        assert {row["key_no"] for row in rows} == set(self.key_ids) - self.revoked


async def move_into_the_past(connection: asyncpg.Connection, job_no: int, seconds: float) -> None:
    """Lets time pass for Postgres: moves all stored times of leases into the past."""
    async with connection.transaction():
        await connection.execute(
            "UPDATE vaultstream.keys SET leased_at = leased_at - make_interval(secs => $2), "
            "lease_until = lease_until - make_interval(secs => $2) WHERE job_no = $1",
            job_no,
            seconds,
        )
        ended = await connection.fetch(
            "DELETE FROM vaultstream.leases l USING vaultstream.keys k WHERE k.key_no = l.key_no AND k.job_no = $1 "
            "RETURNING l.key_no, l.epoch, l.holder, l.batch_no, lower(during) AS first, upper(during) AS last, outcome, isempty(during)",
            job_no,
        )
        await connection.executemany(
            "INSERT INTO vaultstream.leases (key_no, epoch, holder, batch_no, during, outcome) VALUES ($1, $2, $3, $4, "
            "CASE WHEN $8 THEN 'empty' ELSE "
            "tstzrange($5::timestamptz - make_interval(secs => $9), $6::timestamptz - make_interval(secs => $9)) END, $7)",
            [(*row.values(), seconds) for row in ended],
        )


def test_holders_with_different_clocks_never_use_a_key_at_the_same_time(engine_url: str) -> None:
    with asyncio.Runner() as runner:
        connection = connect(engine_url)
        Holders.runner, Holders.connection = runner, runner.run(connection.__aenter__())
        try:
            run_state_machine_as_test(
                Holders,
                settings=settings(
                    max_examples=15,
                    stateful_step_count=30,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(connection.__aexit__(None, None, None))
