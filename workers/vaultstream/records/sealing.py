"""What a records worker seals, and when: the plan, at intervals while the job runs, and at its end. Without a seal key, nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from vaultstream.api.signingjob import NOT_SEALED
from vaultstream.crypto.seal_keys import load_seal_keys
from vaultstream.errors import CustodyError, ProofError, VaultStreamError, shown
from vaultstream.sealing.sealer import Sealer, UnplannedError
from vaultstream.store import jobs, logs, seals
from vaultstream.store.database import explain, is_transient

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Self

    from vaultstream.store.batches import PlannedPage
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job
    from vaultstream.worker import WorkerContext

log = logging.getLogger(__name__)

LAST_SEAL_SECONDS = 10.0
"""How long a worker that exits tries to seal what is left."""
MOST_PATIENCE_SECONDS = 60.0

_T = TypeVar("_T")


@dataclass(frozen=True)
class Patience:
    """When what was refused is attempted again: after a second, then after twice as long each time, up to a minute."""

    seconds: float = 0.0
    due_at: float = 0.0
    """By `time.monotonic`."""

    @property
    def due(self) -> bool:
        return time.monotonic() >= self.due_at

    def after_failure(self) -> Patience:
        seconds = min(MOST_PATIENCE_SECONDS, 2 * self.seconds or 1.0)
        return Patience(seconds, time.monotonic() + seconds)


class Action(Enum):
    """What can be refused, each by itself: one that is done says nothing of the others. The message of a job is of the first."""

    RESUME = auto()
    PLAN = auto()
    SEAL = auto()
    COMPLETE = auto()


TO_PLAN = (Action.RESUME, Action.PLAN)


class JobSealing:
    """Seals the job of a records worker, if it has a seal key."""

    def __init__(self, context: WorkerContext, sealer: Sealer | None, *, origin: str = "") -> None:
        self._context = context
        self._origin = origin
        self._sealer = sealer
        self._resumed = False
        self._first = True
        self._patience = dict.fromkeys(Action, Patience())
        self._refusals: dict[Action, str] = {}

    @property
    def told(self) -> str | None:
        """What the message of the job says of sealing; None: nothing is wrong."""
        return next((self._refusals[action] for action in Action if action in self._refusals), None)

    @classmethod
    async def of(cls, context: WorkerContext) -> Self:
        """Opens it with the seal key of the settings.

        Raises:
            CustodyError: there is a file of it, which can't be used, or there is none and the job, or its plan, was sealed before.
        """
        path = context.seal_key_file
        if not await asyncio.to_thread(path.exists):
            async with context.pool.acquire() as connection:
                if await _was_sealed(connection, context.job.job_no):
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

    async def resume(self, connection: Connection, job: Job) -> bool:
        """Reads what was planned before this process. Returns whether planning can go on from there; if not, it is due again later."""
        if self._sealer is None or self._resumed:
            return True
        if not self._patience[Action.RESUME].due:
            return False
        plan = self._sealer.plan

        async def resumed() -> bool:
            await plan.resume(connection, job)
            return True

        self._resumed = bool(await self._attempted(Action.RESUME, connection, resumed()))
        return self._resumed

    async def pause(self, *actions: Action) -> None:
        """Waits until these are due again, or the worker exits. Returns at once if none of them was refused."""
        seconds = max(self._patience[action].due_at for action in actions) - time.monotonic()
        if seconds <= 0:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._context.stop.wait()

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

    async def state_plan(self) -> bool:
        """Enters the plan of a job that is planned and has not ended. Returns whether it is entered; if not, it is due again later."""
        if self._sealer is None:
            return True
        if not self._patience[Action.PLAN].due:
            return False
        sealer = self._sealer
        async with self._context.pool.acquire() as connection:
            if (await jobs.get_job(connection, self._context.job.token)).ended:
                return True

            async def stated() -> object:
                await self._refreshed()
                return await sealer.state_plan(connection)

            return await self._attempted(Action.PLAN, connection, stated()) is not None

    async def step(self) -> bool:
        """Seals what happened since the last seal, the first time after an interval. Returns whether there is nothing to seal.

        A log that is refused stops no signer: the message of the job says so, and the job does not complete.
        """
        if self._sealer is None:
            return True
        if self._first or not self._resumed:
            self._first = False
            return False
        sealer = self._sealer
        async with self._context.pool.acquire() as connection:

            async def sealed() -> object:
                await self._refreshed()
                if (done := await sealer.seal(connection)) is not None:
                    log.info("sealed", extra={"signed": done.seal.signed, "entries": done.seal.tree_size})
                return True

            await self._attempted(Action.SEAL, connection, sealed())
        return False

    async def complete(self, connection: Connection) -> bool:
        """Completes a job whose batches are settled, and seals it; returns whether it has ended.

        A job that has not done what was planned ends as Failed, with the difference as its message. One that can't be sealed goes on.
        The seal names the job's keys, so a job that is faster than its keys worker waits until the ring is whole.
        """
        job = self._context.job
        if self._sealer is None:
            complete = await jobs.complete_job_if_settled(connection, job.job_no)
        elif not (
            self._patience[Action.COMPLETE].due
            and await seals.ring_is_made(connection, job.job_no, job.spec.keys.count)
        ):
            return False
        else:
            sealer = self._sealer

            async def completed() -> bool:
                await self._refreshed()
                return await sealer.complete(connection)

            try:
                complete = bool(await self._attempted(Action.COMPLETE, connection, completed()))
            except UnplannedError as error:
                log.error("the job has not done what was planned: %s", error)  # noqa: TRY400 - a finding
                return await seals.refuse_job(connection, job.job_no, _sentence(error))
        if complete:
            await self._accepted(connection, *Action)
            log.info("job complete", extra={"job": job.name})
        return complete

    async def _attempted(self, action: Action, connection: Connection, outcome: Awaitable[_T]) -> _T | None:
        """Returns what an action returns, None if it was refused: the job's message says why, and it is due again later.

        Args:
            action: what is attempted. Of the job's end it is the caller who is told that what was planned was not done.
            connection: outside of a transaction.
            outcome: does it.
        """
        try:
            found = await outcome
        except (ProofError, CustodyError, asyncpg.PostgresError) as error:
            if is_transient(error) or (action is Action.COMPLETE and isinstance(error, UnplannedError)):
                raise
            await self._refused(action, connection, error)
            return None
        await self._accepted(connection, action)
        return found

    async def _accepted(self, connection: Connection, *actions: Action) -> None:
        before = self.told
        for action in actions:
            self._patience[action] = Patience()
            self._refusals.pop(action, None)
        if self.told != before:
            await jobs.set_message(connection, self._context.job.job_no, self.told)

    async def _refused(self, action: Action, connection: Connection, error: Exception) -> None:
        known = error if isinstance(error, VaultStreamError) else explain(error)
        patience = self._patience[action] = self._patience[action].after_failure()
        self._context.telemetry.metrics.records.seals_refused.inc()
        log.error(
            "the job is not sealed: %s",
            known,
            extra={"hint": known.hint, "retry_seconds": patience.seconds},
        )
        await self._tell(action, connection, known)

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
                    await self._tell(Action.SEAL, connection, error)
        except Exception as error:  # noqa: BLE001 - the next seal makes up for it
            log.warning("the last seal failed: %s", shown(error))

    async def _tell(self, action: Action, connection: Connection, error: VaultStreamError) -> None:
        self._refusals[action] = f"{NOT_SEALED}{_sentence(error)}"
        await jobs.set_message(connection, self._context.job.job_no, self.told)


async def _was_sealed(connection: Connection, job_no: int) -> bool:
    """Whether a log has something of a job: its own log is created by the first seal at an interval, after its plan was entered."""
    found = await logs.find_job_log(connection, job_no) or await logs.newest_plan(connection, job_no)
    return found is not None


def _sentence(error: VaultStreamError) -> str:
    return f"{error.message} {error.hint or ''}".strip()
