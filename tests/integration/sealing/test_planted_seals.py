"""The owner of the tables plants a log with a newer seal and checkpoints of his own: no copy that a sealer keeps is replaced by them."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from integration.sealing.test_refused_seals import as_owner
from support.sealing import copies, new_seal_key
from vaultstream.errors import ProofError
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.merkle import leaf_hash

if TYPE_CHECKING:
    from support.sealing import Sealing

pytestmark = pytest.mark.integration

PLANT = """
WITH planted AS (INSERT INTO vaultstream.logs (origin, job_no, size) VALUES ($1, $2, 900) RETURNING log_no),
     noted AS (INSERT INTO vaultstream.checkpoints (log_no, size, note) SELECT log_no, 900, $3 FROM planted)
SELECT log_no FROM planted
"""

NEWEST = "SELECT log_no, index, body FROM vaultstream.log_entries WHERE job_no = $1 AND kind = 'seal' ORDER BY index DESC LIMIT 1"
ALTER = "UPDATE vaultstream.log_entries SET body = $3, leaf = $4 WHERE log_no = $1 AND index = $2"


async def test_a_planted_seal_replaces_no_copy_of_a_sealer(sealing: Sealing) -> None:
    db, job = sealing.db, sealing.job
    await sealing.plan()
    await sealing.sign()
    await sealing.complete()
    kept = await asyncio.to_thread(copies, sealing.folder)
    sealed = (await db.fetchrow(NEWEST, job.job_no))["body"]
    [size] = [part.split(",")[0] for part in [sealed.partition('"treeSize":')[2]]]
    body = sealed.replace(f'"treeSize":{size}', '"treeSize":900')
    forger, origin = new_seal_key().signing, "forged.example"

    def note(of: str) -> str:
        return sign_checkpoint(Checkpoint(of, 900, bytes(32)), forger).decode()

    await db.fetchval(PLANT, f"{origin}/jobs/{job.token}", None, note(f"{origin}/jobs/{job.token}"))
    log_no = await db.fetchval(PLANT, origin, None, note(origin))
    await db.execute(
        "INSERT INTO vaultstream.log_entries (log_no, index, kind, job_no, body, leaf) VALUES ($1, 0, 'seal', $2, $3, $4)",
        log_no,
        job.job_no,
        body,
        leaf_hash(body.encode()),
    )
    assert await sealing.sealer.seal(db) is None
    assert await (await sealing.restart()).seal(db) is None
    assert await asyncio.to_thread(copies, sealing.folder) == kept


@pytest.mark.parametrize("deleted", [False, True], ids=["kept", "deleted"])
async def test_a_seal_that_was_altered_where_it_was_entered_replaces_no_copy(
    sealing: Sealing, *, deleted: bool
) -> None:
    db, job = sealing.db, sealing.job
    await sealing.plan()
    await sealing.sign()
    await sealing.complete()
    kept = await asyncio.to_thread(copies, sealing.folder)
    entry = await db.fetchrow(NEWEST, job.job_no)
    body = re.sub('"sealedAt":"[0-9]{4}', '"sealedAt":"1999', entry["body"])
    async with as_owner(db):
        if deleted:
            body = re.sub('"signed":[0-9]+', '"signed":1', body)
            await db.execute("UPDATE vaultstream.jobs SET deleted_at = now() WHERE job_no = $1", job.job_no)
        await db.execute(ALTER, entry["log_no"], entry["index"], body, leaf_hash(body.encode()))
    for sealer in (await sealing.restart(), sealing.sealer):  # with nothing known, and once more
        with pytest.raises(ProofError, match="The seal of a job is not the one that was entered"):
            await sealer.seal(db)
    assert await asyncio.to_thread(copies, sealing.folder) == kept


async def test_no_job_is_sealed_as_complete_because_a_seal_was_altered(sealing: Sealing) -> None:
    db, job = sealing.db, sealing.job
    await sealing.plan()
    await sealing.sign(1)
    assert await sealing.sealer.seal(db) is not None
    await sealing.sign(2)
    entry = await db.fetchrow(NEWEST, job.job_no)
    body = entry["body"].replace('"state":"Running"', '"state":"Complete"')
    async with as_owner(db):
        await db.execute(
            "UPDATE vaultstream.jobs SET state = 'Complete', finished_at = now() WHERE job_no = $1",
            job.job_no,
        )
        await db.execute(ALTER, entry["log_no"], entry["index"], body, leaf_hash(body.encode()))
    with pytest.raises(ProofError, match="The seal of a job is not the one that was entered"):
        await sealing.sealer.seal(db)
    assert (
        b'"state":"Complete"'
        not in (await asyncio.to_thread(copies, sealing.folder))[f"jobs/{job.token}/seal.json"]
    )
