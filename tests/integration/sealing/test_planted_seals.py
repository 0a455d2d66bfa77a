"""The owner of the tables plants a log with a newer seal and checkpoints of his own: no copy that a sealer keeps is replaced by them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from support.sealing import copies, new_seal_key
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


async def test_a_planted_seal_replaces_no_copy_of_a_sealer(sealing: Sealing) -> None:
    db, job = sealing.db, sealing.job
    await sealing.plan()
    await sealing.sign()
    await sealing.complete()
    kept = await asyncio.to_thread(copies, sealing.folder)
    sealed = await db.fetchval(
        "SELECT body FROM vaultstream.log_entries WHERE job_no = $1 AND kind = 'seal' ORDER BY index DESC",
        job.job_no,
    )
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
