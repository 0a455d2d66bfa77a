"""Fills the audit's SQL with a job's table and the type of its ids, and parses ids of that type."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from vaultstream.errors import AuditError, UsageError
from vaultstream.store.batches import listed_type
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.audit.checks.checker import Assignment
    from vaultstream.proof.planned import PlannedBatch
    from vaultstream.store.jobs import Job

RecordId = int | str | UUID
"""A record's id as the driver returns it, for a bigint, text or uuid column."""

_COVERED_IDS = {"bigint": "covered_bigints", "uuid": "covered_uuids", "text": "covered_texts"}
"""The query for the ids that a batch covers, by the type of the job's ids."""

_BIGINT_BITS = 63


def job_query(name: str, job: Job | Assignment) -> str:
    """Returns a query over one job's records."""
    return query(
        name,
        signatures=job.signatures_table,
        ids=query(_COVERED_IDS[job.id_type]),
        id_type=job.id_type,
        listed=listed_type(job.id_type),
    )


def covered_ids(batch: PlannedBatch, id_type: str) -> Sequence[RecordId]:
    """Returns the ids that a batch covers, computed from its row and not by Postgres.

    Raises:
        AuditError: its row has ids of another type.
    """
    try:
        if id_type == "bigint" and batch.ids is None:
            return range(int(batch.first_id), int(batch.last_id) + 1)
        return [parse_record_id(each, id_type) for each in batch.ids or ()]
    except (ValueError, UsageError):
        raise AuditError(
            f"Batch {batch.number} has ids that have not the type {id_type}.",
            hint="Its row was altered in the database. Restore it from a backup.",
        ) from None


def require_id(text: str | None, id_type: str) -> None:
    """Requires that an id of a batch, or the last one of a job, is of the job's type.

    Raises:
        AuditError: it is not.
    """
    try:
        if text is not None:
            parse_record_id(text, id_type)
    except UsageError:
        raise AuditError(
            f"A batch, or the job, ends with an id that has not the type {id_type}.",
            hint="Its row was altered in the database. Restore it from a backup.",
        ) from None


def parse_record_id(text: str, id_type: str) -> RecordId:
    """Parses a record's id as people write it.

    Raises:
        UsageError: no record of such a job can have this id.
    """
    try:
        match id_type:
            case "bigint":
                number = int(text)
                if -(1 << _BIGINT_BITS) <= number < 1 << _BIGINT_BITS:
                    return number
            case "uuid":
                return UUID(text)
            case _ if "\0" not in text:
                return text
    except ValueError:
        pass
    raise UsageError(f"{text!r} is not a record id of this job: its ids have the type {id_type}.")
