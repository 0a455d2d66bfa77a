"""The engine for Python programs: runs a job on this machine, and reads its results."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.api import JobState
from vaultstream.audit.exports.export import read_signatures
from vaultstream.audit.seals.seal_trust import SealTrust
from vaultstream.audit.snapshot import open_snapshot
from vaultstream.audit.verify import verify_job
from vaultstream.crypto.revocations import load_revocations
from vaultstream.env_file import read_env_file
from vaultstream.local.runner import open_job
from vaultstream.local.running import run_to_end
from vaultstream.local.session import Session, open_session
from vaultstream.settings import load_settings, revocations_file, seal_key_file, seals_dir
from vaultstream.store.dead_letters import list_dead_letters
from vaultstream.store.jobs import get_job
from vaultstream.store.progress import read_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from os import PathLike

    from vaultstream.api import SigningJob
    from vaultstream.audit.exports.formats import ExportedSignature
    from vaultstream.audit.report import AuditReport
    from vaultstream.store.dead_letters import DeadLetter

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobResult:
    """The result of a job.

    Attributes:
        name: the job's name.
        token: its unique identifier, which also finds it after it was deleted.
        state: Complete or Failed once it has ended.
        message: why it is in this state, if there is something to say.
        records: records found so far; all of them once the job has ended.
        signed: records with a signature.
        dead: records in the dead letters.
        seconds: from its start to its end; None if it has not ended.
    """

    name: str
    token: str
    state: JobState
    message: str | None
    records: int
    signed: int
    dead: int
    seconds: float | None

    @property
    def ok(self) -> bool:
        """Whether every record is signed."""
        return self.state is JobState.COMPLETE and not self.dead and self.signed >= self.records


class Engine:
    """Runs jobs and reads their results. `open_engine` makes one."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def run(self, job: SigningJob, *, max_signers: int | None = None) -> JobResult:
        """Runs a job to its end with worker processes on this machine, and returns its result.

        A job of that name that was interrupted is resumed; one that has ended is not run again. Dead letters do not raise:
        see `JobResult.ok`. Canceling drains the workers.

        Args:
            job: what to sign, and how.
            max_signers: maximum number of signing processes; None takes MAX_SIGNERS, or else one per processor core.

        Raises:
            VaultStreamError: the job can't be run; its subclasses and its hint say why.
        """
        async with self._session.pool.acquire() as connection:
            opened = await open_job(connection, job.metadata.name, job.spec)
        await run_to_end(self._session, opened, max_signers=max_signers, annotations=job.metadata.annotations)
        return await self.result(opened.token)

    async def result(self, job: str) -> JobResult:
        """Returns the result of a job so far.

        Args:
            job: its name, or its token.

        Raises:
            UnknownJobError: there is no such job.
        """
        async with self._session.pool.acquire() as connection:
            snapshot = await read_job(connection, job)
        found, progress = snapshot.job, snapshot.progress
        return JobResult(
            name=found.name,
            token=found.token,
            state=found.state,
            message=found.message,
            records=progress.records,
            signed=progress.signed,
            dead=progress.dead,
            seconds=found.seconds,
        )

    async def verify(self, job: str) -> AuditReport:
        """Verifies every signature and every lease of a job, as it is now; `AuditReport.ok` is the outcome.

        Raises:
            UnknownJobError: there is no such job.
        """
        settings, services = self._session.settings, self._session.services
        trust = SealTrust.read([], [], key_file=seal_key_file(settings), seals_dir=seals_dir(settings))
        return await verify_job(
            services.database_url,
            job,
            source_url=services.source_url,
            revocations=load_revocations(revocations_file(settings)),
            seal_trust=trust,
        )

    async def signatures(self, job: str, *, records: Sequence[str] = ()) -> AsyncIterator[ExportedSignature]:
        """Yields a job's signatures in the order of the records, all as of one moment.

        Args:
            job: its name, or its token.
            records: ids of the wanted records; without any, all. A record without a signature is left out.

        Raises:
            UnknownJobError: there is no such job.
            UsageError: an id can't be one of this job's records.
        """
        async with open_snapshot(self._session.services.database_url, role="export") as connection:
            found = await get_job(connection, job)
            async for signature in read_signatures(connection, found, records):
                yield signature

    async def dead_letters(self, job: str, *, limit: int | None = None) -> list[DeadLetter]:
        """Returns the records that a job could not sign, each with its reason, at most `limit`.

        Raises:
            UnknownJobError: there is no such job.
        """
        async with self._session.pool.acquire() as connection:
            return await list_dead_letters(connection, (await get_job(connection, job)).job_no, limit=limit)


@asynccontextmanager
async def open_engine(
    *,
    data_dir: str | PathLike[str] | None = None,
    database_url: str | None = None,
    source_database_url: str | None = None,
    nats_url: str | None = None,
    kek_file: str | PathLike[str] | None = None,
) -> AsyncIterator[Engine]:
    """Opens the engine on its services. It starts an embedded Postgres or NATS where no URL is given, and stops it again.

    What is not given comes from the environment and from `.env`, as for the `vaultstream` command.

    Args:
        data_dir: the folder of the embedded services; `.vaultstream` by default.
        database_url: Postgres to use instead of the embedded one; `vaultstream migrate` prepares it.
        source_database_url: the same database under the login by which records are read; by default that of `database_url`,
            which must then own VaultStream's schema.
        nats_url: NATS to use instead of the embedded one.
        kek_file: the file of key-encryption keys; `kek` in the data directory by default.

    Raises:
        UsageError: a setting is out of bounds.
        ServiceError: a service is unreachable or does not start, or the schema's version is not supported.
    """
    file = read_env_file()
    if file and file.warning:
        log.warning("%s", file.warning)
    settings = load_settings(
        file,
        data_dir=data_dir,
        database_url=database_url,
        source_database_url=source_database_url,
        nats_url=nats_url,
        kek_file=kek_file,
    )
    if settings.origin:
        log.warning("%s", settings.origin)  # shown even by a program that has not set up its logs
    settings.set_environment()
    async with open_session(settings, runs=True) as session:
        yield Engine(session)
