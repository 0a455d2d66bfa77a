"""The state machine of holders, while the clock of Postgres jumps by up to an hour, ahead and back, under leases that are held.

A jump ahead ends leases whose holders still believe in them, so two may compute with one key; only the one that Postgres has leased it
to is accepted. A jump back dates statements later than the clock shows: they are fenced, and their batches are signed again.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import consumes, rule, run_state_machine_as_test

from integration.store.test_holders_machine import LEASE, STEP, Holders, Sent, move_into_the_past
from support.as_user import connect
from support.engine import signed
from vaultstream.store.leases import COMMITTED, FENCED, claim_batches, commit_batches

pytestmark = pytest.mark.integration

MOST_STEPS = 3600 // STEP


class Jumps(Holders):
    """`until` and `played` are by the clock of Postgres; `behind` is how far the clocks of the holders are behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.behind = 0.0
        self.claims: list[Any] = []

    def now(self) -> float:
        return super().now() - self.behind

    @rule(
        target=Holders.in_hand,
        who=st.integers(0, 2),
        batch_nos=st.sets(st.integers(1, 40), min_size=1, max_size=3),
    )
    def claim(self, who: int, batch_nos: set[int]) -> Any:
        known = {id(each) for each in self.believed}
        held = super().claim(who, batch_nos)
        self.claims += [each.lease for each in self.believed if id(each) not in known]
        return held

    def shift(self, seconds: float) -> None:
        """Moves the clock of Postgres ahead, back if negative: what it showed before is that much further in the past."""
        self.played += seconds
        self.run(move_into_the_past(self.connection, self.job.job_no, seconds))
        for lease in self.claims:
            lease.clock = replace(lease.clock, shown=lease.clock.shown - timedelta(seconds=seconds))

    @rule(who=st.integers(0, 2))
    def renew(self, who: int) -> None:
        """What is signed after a renewal is dated after it."""
        super().renew(who)
        for each in self.believed:
            if each.holder is self.holders[who] and not each.lease.lost:
                each.lease.clock = replace(each.lease.clock, shown=datetime.now(UTC))

    @rule(steps=st.integers(1, 16))
    def time_passes(self, steps: int) -> None:
        self.shift(steps * STEP)

    @rule(steps=st.integers(-MOST_STEPS, MOST_STEPS))
    def the_clock_jumps(self, steps: int) -> None:
        self.shift(steps * STEP)
        self.behind += steps * STEP

    @rule(sent=consumes(Holders.on_the_way))
    def arrive(self, sent: Sent) -> None:
        lease, number = sent.batch.lease, sent.batch.batch_no
        batch = signed(
            number, lease, [number]
        )  # its statement has what Postgres's clock showed when it was leased
        holds, pending = self.in_force(sent.holder, lease), number not in self.signatures
        future = lease.clock.shown > datetime.now(UTC)
        [outcome] = self.run(
            commit_batches(self.connection, self.job.job_no, sent.holder, [batch], id_type="bigint")
        )
        assert outcome != COMMITTED or (holds and pending and not future)
        if holds and pending and outcome != COMMITTED:
            assert outcome == FENCED
        if outcome == COMMITTED:
            self.signatures[number] = batch.rows.signatures[0]
        if holds:
            del self.until[lease.key_no]

    def no_two_believe_to_hold_a_key_at_one_time(self) -> None:
        """Not so after a jump ahead."""

    def who_believes_to_hold_a_key_does_unless_it_was_revoked(self) -> None:
        """Not so after a jump ahead."""

    def teardown(self) -> None:
        """After the jumps, when all leases have expired, batches that are left are signed."""
        longest = max((until for *_, until in self.until.values()), default=self.played)
        self.shift(longest - self.played + STEP)
        for _ in range(3):
            left = sorted(set(range(1, 41)) - set(self.signatures))[:3]
            claims = self.run(claim_batches(self.connection, self.job.job_no, "last", left, seconds=LEASE))
            for claim in claims:
                if claim.lease is not None:
                    number = claim.batch.batch_no
                    batch = signed(number, claim.lease, [number])
                    [outcome] = self.run(
                        commit_batches(self.connection, self.job.job_no, "last", [batch], id_type="bigint")
                    )
                    assert outcome in {COMMITTED, FENCED}
                    if outcome == COMMITTED:
                        self.signatures[number] = batch.rows.signatures[0]
            if left and set(left) <= set(self.signatures):
                break
        assert set(left) & set(self.signatures) or not left
        super().what_was_accepted_stays_and_nothing_else_is_there()


def test_no_jump_of_the_clock_makes_a_use_of_a_key_overlap_or_keeps_a_batch_from_being_signed(
    engine_url: str,
) -> None:
    with asyncio.Runner() as runner:
        connection = connect(engine_url)
        Jumps.runner, Jumps.connection = runner, runner.run(connection.__aenter__())
        try:
            run_state_machine_as_test(
                Jumps,
                settings=settings(
                    max_examples=15,
                    stateful_step_count=30,
                    deadline=None,
                    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(connection.__aexit__(None, None, None))
