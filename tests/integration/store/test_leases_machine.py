"""Leases against a model of them, on the real Postgres. No holder here checks a clock: the fence alone must suffice."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from support.as_user import connect
from support.engine import (
    add_batches,
    add_job,
    counts_are_right,
    expire,
    history_of,
    lease_of,
    overlaps_of,
    signatures_of,
    signed,
)
from vaultstream.store import keys
from vaultstream.store.leases import (
    COMMITTED,
    FENCED,
    SUPERSEDED,
    Lease,
    commit_batches,
    release_leases,
    renew_leases,
)

pytestmark = pytest.mark.integration

HOLDERS = st.sampled_from(["ann", "bob"])
KEYS, BATCHES = 4, 30


class Leases(RuleBasedStateMachine):
    """The expected state of Postgres, compared with the real one."""

    runner: ClassVar[asyncio.Runner]
    connection: ClassVar[asyncpg.Connection]

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.job = self.run(add_job(self.connection, keys=KEYS))
        self.run(add_batches(self.connection, self.job, *([n] for n in range(1, BATCHES + 1))))
        self.order: list[int] = [k.key_no for k in self.run(keys.list_keys(self.connection, self.job.job_no))]
        self.names = {k.key_no: k.key_id for k in self.run(keys.list_keys(self.connection, self.job.job_no))}
        self.state = dict.fromkeys(self.order, "active")
        self.epochs = dict.fromkeys(self.order, 0)
        self.held: dict[int, tuple[str, int]] = {}
        self.run_out: dict[int, int] = {}
        self.history: set[tuple[int, int, str]] = set()
        self.signatures: dict[int, bytes] = {}

    def run(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    def to_tail(self, key_no: int) -> None:
        self.order.remove(key_no)
        self.order.append(key_no)

    @rule(target=leases, holder=HOLDERS, count=st.integers(1, KEYS))
    def lease(self, holder: str, count: int) -> Any:
        self.expire_overdue_leases()
        free = [k for k in self.order if k not in self.held and self.state[k] == "active"]
        rows = self.run(
            self.connection.fetch(
                "SELECT *, clock_timestamp() AS answered_at FROM vaultstream.lease_keys($1, $2, $3, 3600)",
                self.job.job_no,
                holder,
                count,
            )
        )
        assert {row["key_no"] for row in rows} == set(free[:count])
        leased = []
        for row in rows:
            key_no, epoch = row["key_no"], row["epoch"]
            assert epoch == self.epochs[key_no] + 1
            self.epochs[key_no] = epoch
            self.held[key_no] = (holder, epoch)
            leased.append((holder, lease_of(row, holder, seconds=3600)))
        return multiple(*leased)

    def expire_overdue_leases(self) -> None:
        """Every claim does it first."""
        self.run(self.connection.execute("SELECT vaultstream.expire_leases($1)", self.job.job_no))
        found = self.run(
            self.connection.fetch(
                "SELECT key_no FROM vaultstream.keys WHERE job_no = $1 ORDER BY lru", self.job.job_no
            )
        )
        order = [row["key_no"] for row in found]
        stayed = len(order) - len(self.run_out)
        assert order[:stayed] == [key_no for key_no in self.order if key_no not in self.run_out]
        self.order = order
        self.history |= {(key_no, epoch, "expired") for key_no, epoch in self.run_out.items()}
        self.run_out.clear()

    def holds(self, holder: str, lease: Lease) -> bool:
        return self.held.get(lease.key_no) == (holder, lease.epoch)

    @rule(held=leases)
    def renew(self, held: tuple[str, Lease]) -> None:
        holder, lease = held
        lost = self.run(renew_leases(self.connection, holder, [lease], seconds=3600))
        assert bool(lost) is not self.holds(holder, lease)
        assert lease.lost is bool(lost)

    @rule(held=leases)
    def let_expire(self, held: tuple[str, Lease]) -> None:
        _, lease = held
        if self.held.get(lease.key_no, ("", 0))[1] == lease.epoch:
            self.run(expire(self.connection, lease))
            del self.held[lease.key_no]
            self.run_out[lease.key_no] = lease.epoch

    @rule(held=leases)
    def release(self, held: tuple[str, Lease]) -> None:
        holder, lease = held
        self.run(release_leases(self.connection, holder, [lease]))
        if self.holds(holder, lease):
            self.end(lease, "released")

    @rule(held=leases, batch_no=st.integers(1, BATCHES))
    def commit(self, held: tuple[str, Lease], batch_no: int) -> None:
        self.commit_as(*held, batch_no)

    @rule(held=leases, batch_no=st.integers(1, BATCHES))
    def commit_with_the_lease_of_another(self, held: tuple[str, Lease], batch_no: int) -> None:
        self.commit_as("bob" if held[0] == "ann" else "ann", held[1], batch_no)

    def commit_as(self, holder: str, lease: Lease, batch_no: int) -> None:
        batch = signed(batch_no, lease, [batch_no])
        [outcome] = self.run(
            commit_batches(self.connection, self.job.job_no, holder, [batch], id_type="bigint")
        )
        pending, holds = batch_no not in self.signatures, self.holds(holder, lease)
        assert outcome == (COMMITTED if pending and holds else FENCED if pending else SUPERSEDED)
        if holds:
            self.end(lease, "committed" if pending else "superseded")
        if outcome == COMMITTED:
            self.signatures[batch_no] = batch.rows.signatures[0]

    def end(self, lease: Lease, outcome: str) -> None:
        del self.held[lease.key_no]
        self.to_tail(lease.key_no)
        self.history.add((lease.key_no, lease.epoch, outcome))

    @rule(held=leases, state=st.sampled_from(["retired", "revoked"]))
    def end_key(self, held: tuple[str, Lease], state: str) -> None:
        key_no = held[1].key_no
        changed = self.run(keys.end_keys(self.connection, self.job.job_no, [self.names[key_no]], state=state))
        was = self.state[key_no]
        assert bool(changed) is (was == "active" or (was, state) == ("retired", "revoked"))
        if changed:
            self.state[key_no] = state
        if state == "revoked":
            if key_no in self.held:
                self.history.add((key_no, self.held.pop(key_no)[1], "revoked"))
            if key_no in self.run_out:
                self.history.add((key_no, self.run_out.pop(key_no), "revoked"))

    @invariant()
    def the_kept_counts_are_those_of_the_batches(self) -> None:
        assert self.run(counts_are_right(self.connection, self.job))

    @invariant()
    def nothing_else_was_written(self) -> None:
        assert self.run(signatures_of(self.connection, self.job)) == self.signatures

    @invariant()
    def each_ended_lease_has_its_line_and_no_two_overlap(self) -> None:
        assert self.run(history_of(self.connection, self.job)) == self.history
        assert self.run(overlaps_of(self.connection, self.job)) == 0

    @invariant()
    def holders_and_epochs_are_as_expected(self) -> None:
        found = {k.key_no: k for k in self.run(keys.list_keys(self.connection, self.job.job_no))}
        assert {n: k.epoch for n, k in found.items()} == self.epochs
        assert {n: (k.holder, k.epoch) for n, k in found.items() if k.holder} == self.held


@pytest.mark.long
def test_leases_do_what_their_model_says(engine_url: str) -> None:
    with asyncio.Runner() as runner:
        connection = connect(engine_url)
        Leases.runner, Leases.connection = runner, runner.run(connection.__aenter__())
        try:
            run_state_machine_as_test(
                Leases,
                settings=settings(
                    max_examples=30,
                    stateful_step_count=30,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(connection.__aexit__(None, None, None))
