"""The plan of a job as the process that made it knows it, so that it can be compared with Postgres at the end.

It is kept in memory, and on disk in the folder of copies. After each page that was planned, `planning.json` has the digest of
all batches so far: after a restart the rows of these batches must still have it. So a restart with the same folder weakens nothing,
but for the page during whose commit the process ended: its rows are believed. Without the folder, as on another machine, all rows
are believed that were planned before the restart.
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vaultstream.errors import ProofError
from vaultstream.proof.seal import PlanEntry, RangesDigest
from vaultstream.sealing.folder import PLAN, PLANNING, read_copy, write_copy
from vaultstream.store.seals import add_planned

if TYPE_CHECKING:
    from pathlib import Path

    from vaultstream.store.batches import PlannedPage
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job

log = logging.getLogger(__name__)


class KeptPlan:
    """What was planned so far, and the plan once all is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._forget()

    def _forget(self) -> None:
        self._last_batch = 0
        self._last_id: str | None = None
        self.ranges = RangesDigest()
        self.entry: PlanEntry | None = None
        """The plan, as it was entered in the log of plans and seals; None: not yet."""
        self.begun = False
        """Whether this or a former process has begun to plan."""

    async def resume(self, connection: Connection, job: Job) -> None:
        """Reads what a former process has kept, and from Postgres what was planned before. It can be repeated.

        Raises:
            ProofError: what Postgres has is not what was planned, or the folder can't be read.
        """
        self._forget()
        stated = await self._read(PLAN)
        if stated is not None:
            self.entry = PlanEntry.parse(stated)
            if not job.planned:
                raise _not_planned(job, self._folder)
        kept = await self._read(PLANNING)
        if kept is not None and stated is None:
            self.begun = True
            through, last_id, records, digest = _parsed(kept)
            await add_planned(connection, job.job_no, self.ranges, through=through)
            if (self.ranges.records, self.ranges.value.hex()) != (records, digest):
                raise _not_planned(job, self._folder)
            self._last_batch, self._last_id = through, last_id
        await self._catch_up(connection, job)

    async def follow(self, connection: Connection, job: Job, page: PlannedPage) -> None:
        """Adds a page that this process has just planned."""
        self.begun = True
        if not page.cut:
            return
        if page.after == self._last_id:
            for batch in page.cut:
                self.ranges.add(batch)
            self._last_batch, self._last_id = page.cut[-1].number, page.cut[-1].last_id
        else:  # another process has planned, or the answer to a commit was lost
            await self._catch_up(connection, job)
        await self._keep()

    async def finish(self, connection: Connection, job: Job) -> PlanEntry:
        """Returns the plan of a job that is planned."""
        if job.planned_id != self._last_id:
            await self._catch_up(connection, job)
        return PlanEntry(
            job_token=job.token,
            job=job.name,
            source=job.spec.records.table,
            upper_id=job.upper_id or "",
            batches=self.ranges.batches,
            records=self.ranges.records,
            ranges_sha256=self.ranges.value,
            planned_at=datetime.now(UTC),
        )

    async def stated(self, entry: PlanEntry) -> None:
        """Keeps the plan, which was entered in the log."""
        self.entry = entry
        try:
            await asyncio.to_thread(write_copy, self._folder / PLAN, entry.data)
            await asyncio.to_thread((self._folder / PLANNING).unlink, missing_ok=True)
        except OSError as error:
            _warn(self._folder, error)

    async def _read(self, name: str) -> bytes | None:
        path = self._folder / name
        try:
            return await asyncio.to_thread(read_copy, path)
        except OSError as error:
            raise ProofError(f"The file {path} can't be read: {error.strerror or error}.") from None

    async def _catch_up(self, connection: Connection, job: Job) -> None:
        last = await add_planned(connection, job.job_no, self.ranges, after=self._last_batch)
        if last is not None:
            self._last_batch, self._last_id = last.batch_no, last.last_id

    async def _keep(self) -> None:
        values = {
            "lastBatch": self._last_batch,
            "lastId": self._last_id,
            "rangesSha256": self.ranges.value.hex(),
            "records": self.ranges.records,
        }
        try:
            await asyncio.to_thread(write_copy, self._folder / PLANNING, json.dumps(values).encode())
        except OSError as error:
            _warn(self._folder, error)


def _parsed(kept: bytes) -> tuple[int, str, int, str]:
    try:
        values = json.loads(kept)
        return (
            int(values["lastBatch"]),
            str(values["lastId"]),
            int(values["records"]),
            str(values["rangesSha256"]),
        )
    except (KeyError, TypeError, ValueError):
        raise ProofError(f"The file {PLANNING} of a job can't be read.", hint="Move it aside.") from None


def _not_planned(job: Job, folder: Path) -> ProofError:
    return ProofError(
        f"The batches of job {job.name!r} in Postgres are not those that were planned.",
        hint="Batches were removed, added or altered; `vaultstream verify` shows what is missing. If the database was restored from a "
        f"backup, move {folder} aside.",
    )


def _warn(folder: Path, error: OSError) -> None:
    log.warning("the plan is not kept in %s: %s", folder, error.strerror or error)
