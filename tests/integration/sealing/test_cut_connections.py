"""A sealer that ends at any point: the connection is cut at each round trip, before and after each commit, and between copies."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job, add_table
from support.sealing import Cut, Cutting, Sealing, copies
from vaultstream.api import JobState
from vaultstream.crypto.seal_keys import SealKeys
from vaultstream.sealing import kept_plan
from vaultstream.sealing import sealer as sealing_module
from vaultstream.store.logs import EntryKind
from vaultstream.store.source_pool import SourcePool

pytestmark = pytest.mark.integration


@pytest.fixture
async def planned(
    db: asyncpg.Connection, sources: SourcePool, seal_keys: SealKeys, tmp_path: Path
) -> Sealing:
    """A job of two batches that is planned, without its plan stated; one batch is signed, with a dead letter."""
    job = await add_job(db, await add_table(db, range(1, 16)))
    sealing = Sealing(db, sources, seal_keys, tmp_path / "seals", job)
    await sealing.start()
    assert await sealing.plan_page()
    await sealing.sign(1, dead=[7])
    return sealing


@asynccontextmanager
async def cut(url: str, at: int) -> AsyncIterator[Any]:
    async with connect(url) as connection:
        yield Cutting(connection, at)


async def state_plan(sealing: Sealing, connection: Any) -> None:
    await sealing.sealer.state_plan(connection)


async def seal(sealing: Sealing, connection: Any) -> None:
    await sealing.sealer.seal(connection)


async def complete(sealing: Sealing, connection: Any) -> None:
    await sealing.sealer.complete(connection)


@pytest.mark.parametrize("restarted", [True, False])
@pytest.mark.parametrize("action", [state_plan, seal, complete])
async def test_a_connection_that_is_cut_anywhere_loses_nothing_and_seals_nothing_twice(
    planned: Sealing, db: asyncpg.Connection, engine_url: str, action: Any, restarted: bool
) -> None:
    """The same action is tried again and again, cut one round trip later each time, until it comes through."""
    if action is not state_plan:
        await planned.sealer.state_plan(db)
    if action is complete:
        await planned.sign()
    for at in range(1, 200):
        async with cut(engine_url, at) as connection:
            try:
                await action(planned, connection)
            except Cut:
                sealed = await planned.read()  # whole after each cut
                assert len(sealed.plans) == (action is not state_plan) or action is state_plan
                assert len(sealed.seals) <= 1
                completed = (await planned.current()).state is JobState.COMPLETE
                assert completed == (len(sealed.complete) == 1)
                if restarted:
                    await planned.restart()
                continue
            break
    assert at > 5
    await planned.restart()
    if action is not complete:
        await planned.sealer.state_plan(db)
        await planned.sign()
        await planned.sealer.complete(db)
    else:
        await planned.sealer.seal(db)  # a later seal writes what copies are missing
    sealed = await planned.read()
    assert len(sealed.plans) == len(sealed.complete) == 1
    assert (sealed.count(EntryKind.STATEMENT), sealed.count(EntryKind.DEAD_LETTER)) == (2, 1)
    assert (sealed.complete[0].signed, sealed.complete[0].dead) == (14, 1)
    own = f"jobs/{planned.job.token}"
    assert copies(planned.folder)[f"{own}/seal.json"] == sealed.seals[-1].data
    assert copies(planned.folder)[f"{own}/plan.json"] == sealed.plans[0].data


async def test_copies_that_were_not_written_are_written_by_the_next_seal(
    planned: Sealing, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await planned.sealer.state_plan(db)
    await planned.sign()

    def killed(*_: object, **__: object) -> None:
        raise Cut

    with monkeypatch.context() as broken:
        broken.setattr(sealing_module, "write_copy", killed)
        with pytest.raises(Cut):
            await planned.sealer.complete(db)
    assert (await planned.current()).state is JobState.COMPLETE
    assert f"jobs/{planned.job.token}/seal.json" not in copies(planned.folder)
    await planned.restart()
    assert await planned.sealer.seal(db) is None
    sealed = await planned.read()
    assert copies(planned.folder)[f"jobs/{planned.job.token}/seal.json"] == sealed.complete[0].data


async def test_a_folder_that_can_not_be_written_hinders_no_seal(
    planned: Sealing,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sealing_module, "write_copy", full)
    monkeypatch.setattr(kept_plan, "write_copy", full)
    await planned.sealer.state_plan(db)
    await planned.sign()
    sealed = await planned.complete()
    assert len(sealed.complete) == 1
    assert "is not copied to" in caplog.text
    assert "the plan is not kept in" in caplog.text
