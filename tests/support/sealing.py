"""Reads what sealers have written, and verifies it without their code; makes sealers, and cuts their connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.engine import claim_one, commit, fail_one, new_name, signed
from vaultstream.crypto.seal_keys import SealKeys
from vaultstream.proof.checkpoint import open_checkpoint
from vaultstream.proof.merkle import leaf_hash, tree_root
from vaultstream.proof.note import NoteSigningKey
from vaultstream.proof.seal import PlanEntry, SealEntry, job_origin, log_origin
from vaultstream.records.source import open_readable_source
from vaultstream.sealing.sealer import Sealer
from vaultstream.store import jobs, logs
from vaultstream.store.batches import highest_id, pending_after, plan_page
from vaultstream.store.jobs import Job
from vaultstream.store.logs import EntryKind, StoredEntry
from vaultstream.store.source_pool import SourcePool


def new_seal_key() -> SealKeys:
    return SealKeys(NoteSigningKey(f"{new_name('seals')}.example", Ed25519PrivateKey.generate()))


@dataclass(frozen=True)
class SealedLogs:
    """What a job has in both logs, verified from the leaves up to the signatures."""

    entries: list[StoredEntry]
    plans: list[PlanEntry]
    seals: list[SealEntry]

    def count(self, kind: EntryKind) -> int:
        return sum(entry.kind is kind for entry in self.entries)

    @property
    def complete(self) -> list[SealEntry]:
        return [seal for seal in self.seals if seal.state == "Complete"]


async def read_sealed(connection: asyncpg.Connection, keys: SealKeys, job: Job) -> SealedLogs:
    """Returns what a job's seals say; each leaf, root, checkpoint and signature is verified."""
    origin = log_origin(keys.origin, job.tenant)
    of_seals = await _read(connection, keys, origin)
    of_job = await _read(connection, keys, job_origin(origin, job.token))
    own = [entry for entry in of_seals if entry.job_no == job.job_no]
    seals = [SealEntry.parse(entry.data or b"") for entry in own if entry.kind is EntryKind.SEAL]
    leaves = [entry.leaf for entry in of_job]
    for seal in seals:
        assert tree_root(leaves[: seal.tree_size]) == seal.tree_root
    assert [seal.tree_size for seal in seals] == sorted(seal.tree_size for seal in seals)
    assert seals == [] or seals[-1].tree_size == len(leaves)
    plans = [PlanEntry.parse(entry.data or b"") for entry in own if entry.kind is EntryKind.PLAN]
    return SealedLogs(of_job, plans, seals)


async def _read(connection: asyncpg.Connection, keys: SealKeys, origin: str) -> list[StoredEntry]:
    """Returns the entries of a log, each with the data of its leaf, under the newest checkpoint."""
    log = await logs.find_log(connection, origin)
    if log is None:
        return []
    entries = [entry async for entry in logs.read_entries(connection, log)]
    assert [entry.index for entry in entries] == list(range(log.size))
    assert len(
        {(e.kind, e.batch_no, e.subject, e.job_no) for e in entries if e.kind is not EntryKind.SEAL}
    ) == (sum(e.kind is not EntryKind.SEAL for e in entries))
    for entry in entries:
        assert entry.data is not None
        assert leaf_hash(entry.data) == entry.leaf
    leaves = [entry.leaf for entry in entries]
    rows = await connection.fetch(
        "SELECT size, note FROM vaultstream.checkpoints WHERE log_no = $1 ORDER BY size", log.log_no
    )
    for row in rows:
        signed = open_checkpoint(row["note"].encode(), keys.known, origin=origin).checkpoint
        assert (signed.size, signed.root) == (row["size"], tree_root(leaves[: row["size"]]))
    if entries:
        assert rows[-1]["size"] == len(leaves)
    assert log.tree.root() == tree_root(leaves)
    return entries


def copies(folder: Path) -> dict[str, bytes]:
    """The content of a folder of copies, by the paths in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass
class Sealing:
    """A job and its sealer; `restart` replaces the sealer as a restart of the worker does."""

    db: asyncpg.Connection
    sources: SourcePool
    keys: SealKeys
    folder: Path
    job: Job
    sealer: Sealer = field(init=False)

    def __post_init__(self) -> None:
        self.sealer = Sealer(self.keys, self.folder, self.job)

    def write_key(self) -> Path:
        """Writes the seal key to a file, for a worker."""
        path = self.folder.parent / "seal-key"
        path.write_text(f"{self.keys.signing.skey}\n")
        path.chmod(0o600)
        return path

    async def restart(self, folder: Path | None = None) -> Sealer:
        self.sealer = Sealer(self.keys, folder or self.folder, self.job)
        await self.sealer.plan.resume(self.db, await self.current())
        return self.sealer

    async def current(self) -> Job:
        return await jobs.get_job(self.db, self.job.token)

    async def start(self) -> None:
        job = await self.current()
        source = await open_readable_source(self.sources, job)
        await jobs.start_job(self.db, job.job_no, upper_id=await highest_id(self.sources, source))
        await self.sealer.plan.resume(self.db, await self.current())

    async def plan_page(self, *, follow: bool = True) -> bool:
        job = await self.current()
        source = await open_readable_source(self.sources, job)
        page = await plan_page(self.db, self.sources, job, source)
        if follow:
            await self.sealer.plan.follow(self.db, job, page)
        return page.finished

    async def plan(self) -> None:
        await self.start()
        while not await self.plan_page():
            pass
        await self.sealer.state_plan(self.db)

    async def sign(self, *numbers: int, dead: Sequence[Any] = ()) -> None:
        """Signs pending batches, all of them unless numbers are given."""
        for number in numbers or await pending_after(self.db, self.job.job_no, 0, limit=1000):
            row = await self.db.fetchrow(
                "SELECT first_id, last_id, ids FROM vaultstream.batches WHERE job_no = $1 AND batch_no = $2",
                self.job.job_no,
                number,
            )
            listed = row["ids"] or range(int(row["first_id"]), int(row["last_id"]) + 1)
            ids = [int(each) if self.job.id_type == "bigint" else each for each in listed]
            lease = await claim_one(self.db, self.job, "ann", number)
            batch = signed(number, lease, [i for i in ids if i not in dead], [i for i in ids if i in dead])
            assert await commit(self.db, self.job, batch) == ["committed"]

    async def fail(self, number: int) -> None:
        await fail_one(self.db, self.job, number)

    async def complete(self) -> SealedLogs:
        assert await self.sealer.complete(self.db)
        return await self.read()

    async def read(self) -> SealedLogs:
        return await read_sealed(self.db, self.keys, self.job)


class Cut(Exception):  # noqa: N818 - an event
    """The process ended here."""


class Cutting:
    """A connection that is cut before its `at`-th round trip, or after the commit that is the `at`-th; counts them."""

    def __init__(self, connection: asyncpg.Connection, at: int | None = None) -> None:
        self._connection = connection
        self._at = at
        self.trips = 0

    def _trip(self) -> None:
        self.trips += 1
        if self.trips == self._at:
            self._connection.terminate()
            raise Cut

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        if name not in {"fetch", "fetchrow", "fetchval", "execute"}:
            return found

        async def trip(*arguments: Any, **options: Any) -> Any:
            self._trip()
            return await found(*arguments, **options)

        return trip

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncIterator[None]:
        nested = self._connection.is_in_transaction()
        transaction = self._connection.transaction(**options)
        await transaction.start()
        try:
            yield
        except BaseException:
            if not self._connection.is_closed():
                await transaction.rollback()
            raise
        self._trip()
        await transaction.commit()
        if not nested:
            self._trip()
