"""The owner of the tables has them say that entries of logs are something else: a sealer enters nothing a second time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from support.sealing import Sealing, read_sealed
from vaultstream.errors import ProofError
from vaultstream.proof.dsse import StatementEnvelope
from vaultstream.sealing.sealer import UnplannedError
from vaultstream.store.logs import EntryKind, find_log, read_entries

if TYPE_CHECKING:
    import asyncpg

pytestmark = pytest.mark.integration


async def as_owner(db: asyncpg.Connection, *statements: str) -> None:
    """Runs statements with the triggers off."""
    await db.execute("SET session_replication_role = replica")
    for statement in statements:
        await db.execute(statement)
    await db.execute("RESET session_replication_role")


async def sign_again(sealing: Sealing, batch: int) -> None:
    """Has Postgres say that the sealed statement of a batch is a dead letter, and a signer sign the batch again."""
    db, no = sealing.db, sealing.job.job_no
    row = await db.fetchrow(
        "SELECT body, signature FROM vaultstream.statements WHERE job_no = $1 AND batch_no = $2", no, batch
    )
    envelope = StatementEnvelope(row["body"], row["signature"]).data.decode().replace("'", "''")
    of_batch = f"WHERE job_no = {no} AND batch_no = {batch}"
    await as_owner(
        db,
        f"UPDATE vaultstream.log_entries SET kind = 'dead-letter', subject = '1', body = '{envelope}' {of_batch} AND kind = 'statement'",
        f"DELETE FROM vaultstream.signatures_{no} WHERE record_id BETWEEN {10 * batch - 9} AND {10 * batch}",
        f"DELETE FROM vaultstream.leases l USING vaultstream.keys k WHERE k.key_no = l.key_no AND k.job_no = {no} AND l.batch_no = {batch}",
        f"DELETE FROM vaultstream.statements {of_batch}",
        f"UPDATE vaultstream.batches SET state = 'pending', signed = 0, settled_at = NULL {of_batch}",
    )
    await sealing.sign(batch)


async def statements_of(sealing: Sealing, batch: int) -> int:
    """Returns how many statements of a batch the log has, as its entries' bytes say."""
    log = await find_log(sealing.db, f"{sealing.keys.origin}/jobs/{sealing.job.token}")
    assert log is not None
    found = [entry async for entry in read_entries(sealing.db, log)]
    bodies = [
        entry.body if entry.kind is EntryKind.STATEMENT else StatementEnvelope.parse(entry.data or b"").body
        for entry in found
        if entry.kind is EntryKind.STATEMENT or "payloadType" in (entry.body or "")
    ]
    return sum(json.loads(body or "")["batch"] == batch for body in bodies)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
async def test_no_second_statement_of_a_batch_is_sealed(
    sealing: Sealing, batch: int, restarted: bool
) -> None:
    """Batch 2 was signed while batch 1 was still to be signed: it is compared with what this process has entered."""
    await sealing.plan()
    await sealing.sign(batch)
    assert await sealing.sealer.seal(sealing.db) is not None
    await sign_again(sealing, batch)
    if restarted:
        await sealing.restart()
    if (
        batch == 1 and not restarted
    ):  # all batches up to this one are entered: none of them is read again before the end
        await sealing.sealer.seal(sealing.db)
    else:
        with pytest.raises(ProofError) as caught:
            await sealing.sealer.seal(sealing.db)
        assert isinstance(caught.value, UnplannedError) is restarted
    await sealing.sign()
    with pytest.raises(UnplannedError, match=r"is a statement of the job .* has it as a dead letter"):
        await sealing.sealer.complete(sealing.db)
    assert await statements_of(sealing, batch) == 1


async def test_a_settled_batch_that_is_to_be_signed_again_is_not_sealed(sealing: Sealing) -> None:
    await sealing.plan()
    await sealing.sign(1)
    await sealing.sealer.seal(sealing.db)
    await as_owner(
        sealing.db,
        f"UPDATE vaultstream.batches SET state = 'pending', signed = 0 WHERE job_no = {sealing.job.job_no} AND batch_no = 1",
    )
    with pytest.raises(ProofError, match=r"Batch 1 of job .* was settled and sealed"):
        await sealing.sealer.seal(sealing.db)


async def test_a_statement_about_another_batch_is_not_sealed(sealing: Sealing) -> None:
    await sealing.plan()
    await sealing.sign(1)
    await as_owner(
        sealing.db,
        f"UPDATE vaultstream.statements SET batch_no = 2 WHERE job_no = {sealing.job.job_no}",
    )
    with pytest.raises(ProofError, match="The statement of batch 2 is about batch 1"):
        await sealing.sealer.seal(sealing.db)


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_event_that_was_rewritten_is_not_sealed_a_second_time(
    sealing: Sealing, restarted: bool
) -> None:
    await sealing.plan()
    await sealing.sign(1)
    await sealing.sealer.seal(sealing.db)
    await as_owner(
        sealing.db,
        f"UPDATE vaultstream.log_entries SET kind = 'dead-letter' WHERE job_no = {sealing.job.job_no} AND kind = 'audit-event'",
        "ALTER TABLE vaultstream.audit_events DISABLE TRIGGER guard",
        f"UPDATE vaultstream.audit_events SET login = 'mallory' WHERE job_no = {sealing.job.job_no}",
        "ALTER TABLE vaultstream.audit_events ENABLE ALWAYS TRIGGER guard",
    )
    await sealing.sign(2)
    if restarted:
        await sealing.restart()
        with pytest.raises(UnplannedError, match=r"audit event of the job .* has it as a dead letter"):
            await sealing.sealer.seal(sealing.db)
    else:
        await sealing.sealer.seal(sealing.db)
    forged = await sealing.db.fetchval(
        "SELECT count(*) FROM vaultstream.log_entries WHERE job_no = $1 AND body LIKE '%mallory%'",
        sealing.job.job_no,
    )
    assert forged == 0


async def test_no_second_plan_is_entered(sealing: Sealing) -> None:
    """By a process that starts elsewhere, without the plan that the former one has kept."""
    await sealing.plan()
    plan = f"WHERE job_no = {sealing.job.job_no} AND kind IN ('plan', 'dead-letter')"
    await as_owner(sealing.db, f"UPDATE vaultstream.log_entries SET kind = 'dead-letter' {plan}")
    await (await sealing.restart(sealing.folder.with_name("elsewhere"))).state_plan(sealing.db)
    await as_owner(sealing.db, f"UPDATE vaultstream.log_entries SET kind = 'plan' {plan}")
    assert len((await read_sealed(sealing.db, sealing.keys, sealing.job)).plans) == 1
    await as_owner(sealing.db, f"UPDATE vaultstream.log_entries SET kind = 'dead-letter', body = NULL {plan}")
    elsewhere = await sealing.restart(sealing.folder.with_name("another"))
    with pytest.raises(ProofError, match="The text of entry 0 is gone"):
        await elsewhere.state_plan(sealing.db)
