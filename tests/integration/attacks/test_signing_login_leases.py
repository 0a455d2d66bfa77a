"""What someone who has the login of the signers tries: failures without a lease, leases of others, and leases without an end or a name."""

from __future__ import annotations

import asyncpg
import pytest

from support.engine import claim_one, dead_of, history_of, signed
from support.guarded import GuardedDatabase
from support.signing_login import ANN, attempts_of
from vaultstream.store.batches import fail_batch
from vaultstream.store.jobs import Job
from vaultstream.store.leases import FENCED, commit_batches, release_leases, renew_leases

pytestmark = pytest.mark.integration


async def test_a_batch_can_not_be_failed_without_a_lease(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await signer.execute(
            "SELECT vaultstream.fail_batch(job_no, batch_no, 'buried', 1) "
            "FROM vaultstream.jobs, generate_series(1, 2) AS batch_no"
        )
    call = "SELECT outcome FROM vaultstream.fail_batch($1, $2, 1, $3, $4, 'buried')"
    lease = await claim_one(signer, job, ANN, 1)
    for holder, key_no, epoch in (
        (ANN, lease.key_no, lease.epoch + 1),
        (ANN, lease.key_no + 1, lease.epoch),
        ("bob", lease.key_no, lease.epoch),
        (None, lease.key_no, lease.epoch),
        (ANN, None, None),
    ):
        assert await signer.fetchval(call, job.job_no, holder, key_no, epoch) == FENCED
    assert await attempts_of(owner, job) == [0, 0]
    assert await dead_of(owner, job) == {}


async def test_one_lease_is_good_for_one_failed_attempt_and_the_history_names_its_login(
    database: GuardedDatabase, signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    lease = await claim_one(signer, job, ANN, 1)
    outcomes = [await fail_batch(signer, job.job_no, ANN, 1, lease, error="buried") for _ in range(3)]
    assert [failure.outcome for failure in outcomes] == ["retry", FENCED, FENCED]
    assert await attempts_of(owner, job) == [1, 0]
    assert await history_of(owner, job) == {(lease.key_no, lease.epoch, "failed")}
    entry = await owner.fetchrow(
        "SELECT holder, login, batch_no FROM vaultstream.leases WHERE key_no = $1", lease.key_no
    )
    assert tuple(entry or ()) == (ANN, database.logins["signing"], 1)


async def test_the_attempts_of_a_batch_are_those_of_the_job_s_row(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    for expected in ("retry", "dead"):
        lease = await claim_one(signer, job, ANN, 1)
        assert (await fail_batch(signer, job.job_no, ANN, 1, lease, error="x" * 5000)).outcome == expected
    message = await owner.fetchval(
        "SELECT message FROM vaultstream.dead_letters WHERE job_no = $1", job.job_no
    )
    assert len(message) == 1000


@pytest.mark.parametrize("seconds", [3600.001, 1e9, float("inf"), float("nan"), 0.0, -1.0, None])
async def test_no_lease_lasts_longer_than_an_hour_or_for_no_time(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job, seconds: float | None
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match="3600"):
        await signer.execute("SELECT vaultstream.claim_batches($1, 'ann', '{1}', $2)", job.job_no, seconds)
    lease = await claim_one(signer, job, ANN, 1)
    with pytest.raises(asyncpg.InvalidParameterValueError, match="3600"):
        await signer.execute(
            "SELECT vaultstream.renew_keys('ann', ARRAY[$1::int], ARRAY[$2::int], $3)",
            lease.key_no,
            lease.epoch,
            seconds,
        )
    longest = await owner.fetchval(
        "SELECT max(lease_until) < clock_timestamp() + interval '31 s' FROM vaultstream.keys WHERE job_no = $1",
        job.job_no,
    )
    assert longest


@pytest.mark.parametrize("holder", [None, "", "x" * 301])
async def test_a_holder_has_a_name(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job, holder: str | None
) -> None:
    """Without one, a key would look free while its epoch counts on."""
    with pytest.raises(asyncpg.InvalidParameterValueError, match="holder"):
        await signer.execute("SELECT vaultstream.claim_batches($1, $2, '{1}', 30)", job.job_no, holder)
    assert await owner.fetchval("SELECT max(epoch) FROM vaultstream.keys WHERE job_no = $1", job.job_no) == 0


async def test_a_lease_of_another_login_can_not_be_renewed_released_failed_or_committed(
    signer: asyncpg.Connection, other: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    """A holder is a name that anyone may give himself; the login is not."""
    lease = await claim_one(signer, job, ANN, 1)
    until = "SELECT lease_until FROM vaultstream.keys WHERE key_no = $1"
    before = await owner.fetchval(until, lease.key_no)
    await other.execute(
        "SELECT vaultstream.renew_keys('ann', ARRAY[$1::int], ARRAY[$2::int], 3600)",
        lease.key_no,
        lease.epoch,
    )
    await release_leases(other, ANN, [lease])
    assert (await fail_batch(other, job.job_no, ANN, 1, lease, error="buried")).outcome == FENCED
    forged = signed(1, lease, [1])
    assert await commit_batches(other, job.job_no, ANN, [forged], id_type="bigint") == [FENCED]
    assert await owner.fetchval(until, lease.key_no) == before
    assert await history_of(owner, job) == set()
    assert await renew_leases(signer, ANN, [lease], seconds=30) == []
    assert (await fail_batch(signer, job.job_no, ANN, 1, lease, error="its own")).outcome == "retry"


async def test_a_batch_that_another_login_signs_alone_under_a_holders_name_leaves_the_holder_its_batches(
    owner: asyncpg.Connection, signer: asyncpg.Connection, other: asyncpg.Connection, job: Job
) -> None:
    await owner.execute(
        "UPDATE vaultstream.batches SET lost = 2 WHERE job_no = $1 AND batch_no = 1", job.job_no
    )
    await claim_one(other, job, ANN, 1)
    await claim_one(signer, job, ANN, 2)


async def test_no_lease_is_renewed_beyond_a_day(
    signer: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    lease = await claim_one(signer, job, ANN, 1)
    age = "UPDATE vaultstream.keys SET leased_at = clock_timestamp() - make_interval(secs => $2) WHERE key_no = $1"
    until = "SELECT lease_until FROM vaultstream.keys WHERE key_no = $1"
    await owner.execute(age, lease.key_no, 86_400.0 - 700)
    await renew_leases(signer, ANN, [lease], seconds=600)
    assert not lease.lost
    before = await owner.fetchval(until, lease.key_no)
    await owner.execute(age, lease.key_no, 86_400.0 - 500)
    await renew_leases(signer, ANN, [lease], seconds=600)
    assert lease.lost, "its holder stops while the lease is still in force"
    assert await owner.fetchval(until, lease.key_no) == before
