"""What jobs of one kind have shown, as Postgres keeps it for the next one."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Final, Self

import asyncpg
from pydantic import ValidationError

from vaultstream.errors import shown
from vaultstream.scaling.prior import LONGEST_AGE_SECONDS, Prior
from vaultstream.store.database import is_transient
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.scaling.history import History
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job

log = logging.getLogger(__name__)

_MOST_TEXT: Final = 1024
MOST_KINDS: Final = 100
"""Kinds of jobs that are kept for each tenant, the newest ones; whoever makes jobs of many kinds fills no disk."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """What jobs have in common whose signers sign about as much.

    Attributes:
        tenant: empty: they belong to no tenant. No tenant learns from another.
        algorithm: of their keys.
        batch_size: records of a batch.
        row_bytes: size of a row, as a power of two; 0: unknown.
        resources: of a signer: those of its pod, or the processor cores of one machine.
    """

    tenant: str
    algorithm: str
    batch_size: int
    row_bytes: int
    resources: str

    @classmethod
    def of(cls, job: Job, row_bytes: int | None, *, cores: int | None = None) -> Self:
        """Returns the kind of a job.

        Args:
            job: the job.
            row_bytes: about how many bytes each row has; None: unknown.
            cores: of the machine that it runs on; None: it runs on Kubernetes.
        """
        asked = job.spec.signer.resources if cores is None else {"cores": cores}
        resources = json.dumps(asked, sort_keys=True, ensure_ascii=False)
        if len(resources.encode()) > _MOST_TEXT:
            resources = hashlib.sha256(resources.encode()).hexdigest()
        size = 1 << (row_bytes.bit_length() - 1) if row_bytes and row_bytes > 0 else 0
        return cls(
            job.tenant or "",
            str(job.spec.keys.algorithm),
            job.spec.batch_size,
            min(size, 1 << 30),
            resources,
        )


@asynccontextmanager
async def dispensable() -> AsyncIterator[None]:
    """Leaves out what Postgres does not take or give: a job goes on without priors."""
    try:
        yield
    except Exception as error:
        if not (isinstance(error, asyncpg.PostgresError) or is_transient(error)):
            raise
        log.debug("priors are left out: %s", shown(error))


async def find_kind(connection: Connection, job: Job, *, cores: int | None = None) -> JobKind:
    """Returns the kind of a job, with the size of its table's rows if Postgres has statistics of it. `cores`: see `JobKind.of`."""
    size = None
    if job.source_oid is not None:
        size = await connection.fetchval(query("estimate_row_bytes"), job.source_oid)
    return JobKind.of(job, size, cores=cores)


async def find_prior(connection: Connection, kind: JobKind) -> Prior:
    """Returns what jobs of a kind have shown; an empty one if there were none, or if it can't be read."""
    return _parsed(await connection.fetchval(query("find_prior"), *astuple(kind)))


async def learn(connection: Connection, kind: JobKind, job_no: int, history: History) -> None:
    """Adds what a job has shown so far to what is known of its kind. The same again changes nothing."""
    async with connection.transaction():
        before = _parsed(await connection.fetchval(query("lock_prior"), *astuple(kind)))
        drain = await connection.fetchval(query("find_drain"), job_no)
        after = before.learned(history, job_no, time.time(), drain=drain)
        if after != before:
            shown = after.model_dump(mode="json", by_alias=True, exclude_none=True)
            await connection.execute(query("write_prior"), *astuple(kind), shown)
            await connection.execute(query("forget_priors"), kind.tenant, LONGEST_AGE_SECONDS, MOST_KINDS)


def _parsed(stored: object) -> Prior:
    if stored is None:
        return Prior()
    try:
        return Prior.model_validate(stored)
    except ValidationError:
        return Prior()
