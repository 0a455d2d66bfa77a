"""A job's newest seal, as Postgres has it, for the status of its SigningJob. Nothing is verified: the operator has no key for it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
from pydantic import ValidationError

from vaultstream.errors import ProofError
from vaultstream.proof.checkpoint import unverified_checkpoint
from vaultstream.proof.seal import DELETED, SealEntry
from vaultstream.store.logs import newest_seal
from vaultstream_operator.api.status import SealStatus

if TYPE_CHECKING:
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job
    from vaultstream.store.logs import StoredSeal

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FoundSeal:
    """The newest seal of a job."""

    status: SealStatus
    deleted: bool
    """Whether it says that the job was deleted."""


async def read_seal(connection: Connection, job: Job) -> FoundSeal | None:
    """Returns the newest seal of a job; None if it has none, or one that can't be read, which is logged."""
    try:
        stored = await newest_seal(connection, job.job_no)
        if stored is None:
            return None
        return FoundSeal(seal_status(stored), SealEntry.parse(stored.body.encode()).state == DELETED)
    except (
        asyncpg.DataError,
        ProofError,
        ValidationError,
    ) as error:  # so no seal keeps the operator from the job
        why = error.message if isinstance(error, ProofError) else type(error).__name__
        log.warning("the seal of job %s in Postgres can't be read: %s", job.token, why)
        return None


def seal_status(stored: StoredSeal) -> SealStatus:
    """Returns what the status says of a seal.

    Raises:
        ProofError: it is no seal, or not under a checkpoint.
        ValidationError: it does not fit into an object of Kubernetes.
    """
    entry = SealEntry.parse(stored.body.encode())
    head = unverified_checkpoint(stored.checkpoint)
    return SealStatus(
        origin=head.origin,
        size=head.size,
        checkpoint=stored.checkpoint.decode(),
        job_checkpoint=stored.job_checkpoint.decode(),
        signed=entry.signed,
        dead=entry.dead,
        sealed_at=entry.sealed_at,
    )
