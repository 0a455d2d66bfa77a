"""A backup was restored in place: the folder of seals has checkpoints from after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration.sealing.test_refused_seals import roll_back
from vaultstream.doctor.findings import Level
from vaultstream.doctor.seals import examine_kept
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.store.logs import find_log

if TYPE_CHECKING:
    import asyncpg

    from support.sealing import Sealing

pytestmark = pytest.mark.integration


async def test_the_doctor_compares_kept_checkpoints_with_postgres(
    sealing: Sealing, db: asyncpg.Connection
) -> None:
    assert await examine_kept(db, sealing.folder) == [], "nothing was kept yet"
    await sealing.plan()
    await sealing.sign(1)
    await sealing.sealer.seal(db)
    log = await find_log(db, sealing.keys.origin)
    assert log is not None
    before = log.size
    assert [each.level for each in await examine_kept(db, sealing.folder)] == [Level.OK]

    await roll_back(db, sealing.keys.origin, before - 1)
    [found] = await examine_kept(db, sealing.folder)
    assert found.level is Level.FAILED
    assert f"had {before} entries, and has {before - 1} now" in found.message
    assert f"move {sealing.folder} aside" in found.hint

    sealing.folder.rename(sealing.folder.with_name("aside"))
    assert await examine_kept(db, sealing.folder) == []


async def test_a_kept_checkpoint_that_is_none_is_found(sealing: Sealing, db: asyncpg.Connection) -> None:
    sealing.folder.mkdir()
    (sealing.folder / "checkpoint").write_text("none")
    [found] = await examine_kept(db, sealing.folder)
    assert (found.level, str(sealing.folder / "checkpoint") in found.message) == (Level.FAILED, True)


async def test_a_kept_checkpoint_of_a_log_that_postgres_does_not_have_is_named(
    sealing: Sealing, db: asyncpg.Connection
) -> None:
    """Before its first seal, this may be another database."""
    kept = sealing.folder / "tenants" / "shop" / "checkpoint"
    kept.parent.mkdir(parents=True)
    origin = sealing.keys.origin
    kept.write_bytes(sign_checkpoint(Checkpoint(origin, 1, bytes(32)), sealing.keys.signing))
    [found] = await examine_kept(db, sealing.folder)
    assert (found.level, origin in found.message) == (Level.WARNING, True)
