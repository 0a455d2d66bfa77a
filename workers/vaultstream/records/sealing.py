"""What a records worker seals, and when: the plan, at intervals while the job runs, and at its end. Without a seal key, nothing."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from vaultstream.crypto.seal_keys import load_seal_keys
from vaultstream.errors import CustodyError, ProofError, VaultStreamError
from vaultstream.sealing.sealer import Sealer, UnplannedError
from vaultstream.store import jobs, logs, seals

if TYPE_CHECKING:
    from typing import Self

    from vaultstream.store.batches import PlannedPage
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job
    from vaultstream.worker import WorkerContext

log = logging.getLogger(__name__)

LAST_SEAL_SECONDS = 10.0
"""How long a worker that exits tries to seal what is left."""


class JobSealing:
    """Seals the job of a records worker, if it has a seal key."""

    def __init__(self, context: WorkerContext, sealer: Sealer | None, *, origin: str = "") -> None:
        self._context = context
        self._origin = origin
        self._sealer = sealer
        self._resumed = False
        self._first = True
        self._told: str | None = None

    @classmethod
    async def of(cls, context: WorkerContext) -> Self:
        """Opens it with the seal key of the settings.

        Raises:
            CustodyError: there is a file of it, which can't be used, or there is none and the job was sealed before.
        """
        path = context.seal_key_file
        if not await asyncio.to_thread(path.exists):
            async with context.pool.acquire() as connection:
                if await logs.find_job_log(connection, context.job.job_no) is not None:
                    raise CustodyError(
                        f"The job was sealed before, and there is no seal key at {path}.",
                        hint="Restore the file: without it, nothing outside of Postgres would say how the job ends.",
                    )
            log.warning(
                "no seal key: the job is not sealed",
                extra={"file": str(path), "hint": "`vaultstream seal-key create` creates one."},
            )
            return cls(context, None)
        keys = await asyncio.to_thread(load_seal_keys, path)
        return cls(context, Sealer(keys, context.seals_dir, context.job), origin=keys.origin)

    async def resume(self, connection: Connection, job: Job) -> None:
        """Reads what was planned before this process.

        Raises:
            ProofError: what Postgres has is not what was planned; the job's message has the same sentence.
        """
        if self._sealer is None or self._resumed:
            return
        try:
            await self._sealer.plan.resume(connection, job)
        except ProofError as error:
            await self._tell(connection, error)
            raise
        self._resumed = True

    async def _refreshed(self) -> None:
        """Reads the seal key again, which a rotation may have replaced.

        Raises:
            CustodyError: the file is gone or can't be read, or has the key of another installation.
        """
        if self._sealer is None:
            return
        path = self._context.seal_key_file
        keys = await asyncio.to_thread(load_seal_keys, path)
        if keys.origin != self._origin:
            raise CustodyError(
                f"{path} has the seal key of another installation than when this worker started.",
                hint="Restore the file, or restart the job's workers.",
            )
        self._sealer.use(keys)

    async def follow(self, connection: Connection, job: Job, page: PlannedPage) -> None:
        """Notes a page that was planned."""
        if self._sealer is not None:
            await self._sealer.plan.follow(connection, job, page)

    async def state_plan(self) -> None:
        """Enters the plan of a job that is planned and has not ended.

        Raises:
            ProofError: it can't be entered; the job's message has the same sentence.
        """
        if self._sealer is None:
            return
        await self._refreshed()
        async with self._context.pool.acquire() as connection:
            if (await jobs.get_job(connection, self._context.job.token)).ended:
                return
            try:
                await self._sealer.state_plan(connection)
            except ProofError as error:
                await self._tell(connection, error)
                raise

    async def step(self) -> bool:
        """Seals what happened since the last seal, the first time after an interval. Returns whether there is nothing to seal.

        A log that is refused stops no signer: the message of the job says so, and the job does not complete.
        """
        if self._sealer is None:
            return True
        if self._first or not self._resumed:
            self._first = False
            return False
        await self._refreshed()
        async with self._context.pool.acquire() as connection:
            try:
                sealed = await self._sealer.seal(connection)
            except ProofError as error:
                log.error("the job is not sealed: %s", error, extra={"hint": error.hint})  # noqa: TRY400 - a finding
                await self._tell(connection, error)
                return False
            if self._told is not None:
                self._told = None
                await jobs.set_message(connection, self._context.job.job_no, None)
        if sealed is not None:
            log.info("sealed", extra={"signed": sealed.seal.signed, "entries": sealed.seal.tree_size})
        return False

    async def complete(self, connection: Connection) -> bool:
        """Completes a job whose batches are settled, and seals it; returns whether it has ended.

        A job that has not done what was planned ends as Failed, with the difference as its message.

        Raises:
            ProofError: a log in Postgres is not what was signed; the job's message has the same sentence.
        """
        job = self._context.job
        if self._sealer is None:
            complete = await jobs.complete_job_if_settled(connection, job.job_no)
        else:
            await self._refreshed()
            try:
                complete = await self._sealer.complete(connection)
            except UnplannedError as error:
                log.error("the job has not done what was planned: %s", error)  # noqa: TRY400 - a finding
                return await seals.refuse_job(connection, job.job_no, _sentence(error))
            except ProofError as error:
                await self._tell(connection, error)
                raise
        if complete:
            log.info("job complete", extra={"job": job.name})
        return complete

    async def seal_the_rest(self) -> None:
        """Seals what is left when the worker exits, such as of a job that was suspended or has failed. Failures are logged."""
        if self._sealer is None or not self._resumed:
            return
        try:
            await self._refreshed()
            async with (
                asyncio.timeout(LAST_SEAL_SECONDS),
                self._context.pool.acquire() as connection,
            ):
                await self._sealer.seal(connection)
        except ProofError as error:
            log.error("the job is not sealed: %s", error, extra={"hint": error.hint})  # noqa: TRY400 - a finding
            with suppress(Exception):  # it is in the log
                async with self._context.pool.acquire() as connection:
                    await self._tell(connection, error)
        except Exception as error:  # noqa: BLE001 - the next seal makes up for it
            log.warning("the last seal failed: %s", error or type(error).__name__)

    async def _tell(self, connection: Connection, error: VaultStreamError) -> None:
        self._told = _sentence(error)
        await jobs.set_message(connection, self._context.job.job_no, self._told)


def _sentence(error: VaultStreamError) -> str:
    return f"{error.message} {error.hint or ''}".strip()
