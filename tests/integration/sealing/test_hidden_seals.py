"""The owner of the tables hides the newest seal, so that an older one, which is genuine, stands for it: no sealer takes it for the newest."""

from __future__ import annotations

import asyncio

import pytest

from integration.sealing.test_renamed_entries import as_owner
from support.sealing import Sealing, copies
from vaultstream.errors import ProofError
from vaultstream.sealing.since import seal_since

pytestmark = pytest.mark.integration


@pytest.fixture
async def twice(sealing: Sealing) -> Sealing:
    """A job that was sealed twice."""
    await sealing.plan()
    for batch in (1, 2):
        await sealing.sign(batch)
        assert await sealing.sealer.seal(sealing.db) is not None
    return sealing


async def hide(sealing: Sealing, change: str) -> None:
    await as_owner(
        sealing.db,
        f"UPDATE vaultstream.log_entries SET {change} WHERE (log_no, index) = (SELECT log_no, max(index) "
        f"FROM vaultstream.log_entries WHERE job_no = {sealing.job.job_no} AND kind = 'seal' GROUP BY log_no)",
    )


@pytest.mark.parametrize(
    "change",
    [
        "kind = 'dead-letter'",
        "job_no = 0",
        "body = replace(body, '\"jobToken\":', '\"jobTokens\":')",
        "body = NULL",
    ],
)
@pytest.mark.parametrize("restarted", [False, True])
async def test_an_older_seal_does_not_stand_for_the_newest(
    twice: Sealing, change: str, restarted: bool
) -> None:
    if restarted:
        await twice.restart()
    before = await asyncio.to_thread(copies, twice.folder)
    await hide(twice, change)
    with pytest.raises(ProofError):
        await twice.sealer.seal(twice.db)
    with pytest.raises(ProofError):
        await seal_since(twice.db, twice.keys, twice.folder, twice.job.token, deletion=False)
    assert await asyncio.to_thread(copies, twice.folder) == before


async def test_a_copy_of_a_seal_is_not_replaced_by_an_older_one(twice: Sealing) -> None:
    """Nor by a sealer whose copies were delayed until another one has sealed more."""
    path = twice.folder / "jobs" / twice.job.token / "seal.json"
    newest, [first, _] = path.read_bytes(), (await twice.read()).seals
    assert await twice.sealer._copy(path, first.data)
    assert path.read_bytes() == newest
    path.write_bytes(b"no seal")
    assert await twice.sealer._copy(path, first.data)
    assert path.read_bytes() == first.data
