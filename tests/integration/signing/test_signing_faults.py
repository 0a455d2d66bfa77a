"""A signer whose processor or library makes errors commits none of its batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import asyncpg
import pytest

from support.deliveries import Deliveries, deliveries, outcomes, payloads
from support.engine import add_table, signatures_of
from support.signer import Bench, fetch_all, open_bench
from support.waiting import eventually
from vaultstream.api import Algorithm
from vaultstream.bus.pull import BatchPuller
from vaultstream.crypto.batch_signer import BatchSigner, batch_signer
from vaultstream.crypto.rows import HEAD_BYTES
from vaultstream.errors import SigningFaultError
from vaultstream.local.services import Services
from vaultstream.signing import pipeline
from vaultstream.signing.batch import Batch
from vaultstream.signing.pace import Pace

__all__ = ["deliveries"]

pytestmark = pytest.mark.integration


def what_signs() -> Any:
    """Returns the class of signers on this machine."""
    return type(batch_signer(Algorithm.ED25519))


def disturb(monkeypatch: pytest.MonkeyPatch, wrong: Callable[[int], Iterable[int]]) -> None:
    """Lets signing compute wrong signatures; `wrong` returns in which rows of a call, by how many it has."""

    def disturbed(self: BatchSigner[Any], *what: Any) -> bytes:
        rows = bytearray(whole(self, *what))
        for row in wrong(len(rows) // self.width):
            rows[row * self.width + HEAD_BYTES] ^= 1
        return bytes(rows)

    whole = what_signs().sign
    monkeypatch.setattr(what_signs(), "sign", disturbed)


async def sign_the_rest(bench: Bench, planning: asyncio.Task[Any], count: int) -> None:
    async with bench.signer() as signer:
        signing = asyncio.create_task(signer.pipeline.run(signer.context.stop))
        await asyncio.wait_for(planning, 60)
        signer.context.stop.set()
        await signing
    await bench.assert_ended_well(payloads(count))


def take_on_together(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    """Lets a signer take on groups of exactly so many batches."""

    async def whole(puller: BatchPuller, count: int, **_: float) -> list[Batch]:
        return await fetch_all(puller, count)

    monkeypatch.setattr(Pace, "group", batches)
    monkeypatch.setattr(pipeline, "fetch", whole)


async def test_a_signer_that_computes_wrong_signatures_exits_and_commits_none(
    services: Services,
    engine_url: str,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_bench(services, engine_url, db, await add_table(db, range(1, 31))) as bench:
        planning = asyncio.create_task(bench.records_worker())
        with monkeypatch.context() as patch:
            disturb(patch, range)
            async with bench.signer() as signer:
                with pytest.raises(SigningFaultError, match="signature of batch"):
                    await asyncio.wait_for(signer.pipeline.run(signer.context.stop), 15)
        assert await signatures_of(db, bench.job) == {}
        assert set(await outcomes(bench)) == {"released"}, "the batches are returned"
        await sign_the_rest(bench, planning, 30)


async def test_after_a_wrong_signature_none_of_its_group_is_committed(
    services: Services,
    engine_url: str,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_bench(services, engine_url, db, await add_table(db, range(1, 31)), key_count=3) as bench:
        planning = asyncio.create_task(bench.records_worker())
        with monkeypatch.context() as patch:
            take_on_together(patch, 3)
            disturb(patch, lambda rows: range(rows - 10, rows) if rows == 30 else ())
            async with bench.signer() as signer:
                with pytest.raises(SigningFaultError, match="signature of batch"):
                    await asyncio.wait_for(signer.pipeline.run(signer.context.stop), 15)
        assert await outcomes(bench) == ["released"] * 3
        await sign_the_rest(bench, planning, 30)


async def test_after_a_wrong_signature_nothing_that_waits_for_its_commit_is_committed(
    services: Services,
    engine_url: str,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    deliveries: Deliveries,
) -> None:
    async def late(*what: Any, **options: Any) -> list[str]:
        await eventually(lambda: deliveries.ended)
        return await whole(*what, **options)

    whole = pipeline.commit
    async with open_bench(services, engine_url, db, await add_table(db, range(1, 31)), key_count=3) as bench:
        planning = asyncio.create_task(bench.records_worker())
        with monkeypatch.context() as patch:
            take_on_together(patch, 1)
            patch.setattr(pipeline, "commit", late)
            calls = iter([(), (), range(10)])  # of records: statements have calls of one row
            disturb(patch, lambda rows: next(calls) if rows == 10 else ())
            async with bench.signer() as signer:
                with pytest.raises(SigningFaultError, match="signature of batch"):
                    await asyncio.wait_for(signer.pipeline.run(signer.context.stop), 15)
        assert await outcomes(bench) == ["committed", "released", "released"]
        await sign_the_rest(bench, planning, 30)


async def test_a_signer_whose_library_opens_no_key_exits_and_counts_no_attempt(
    services: Services,
    engine_url: str,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise SigningFaultError("The lanes disagree.")

    async with open_bench(services, engine_url, db, await add_table(db, range(1, 31)), key_count=3) as bench:
        planning = asyncio.create_task(bench.records_worker())
        with monkeypatch.context() as patch:
            take_on_together(patch, 3)
            patch.setattr(what_signs(), "open", fail)
            async with bench.signer() as signer:
                with pytest.raises(SigningFaultError, match="lanes disagree"):
                    await asyncio.wait_for(signer.pipeline.run(signer.context.stop), 15)
        assert await outcomes(bench) == ["released"] * 3
        attempts = "SELECT sum(attempts) FROM vaultstream.batches WHERE job_no = $1"
        assert await db.fetchval(attempts, bench.job.job_no) == 0
        await sign_the_rest(bench, planning, 30)
