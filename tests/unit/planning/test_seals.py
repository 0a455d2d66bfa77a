"""The copy of a job's seal in its status: it follows Postgres, and survives a database that was rolled back."""

from __future__ import annotations

from typing import Any

import pytest

from support.planning import NOW, job_of, planned, stored_of, trouble_of, view_of
from vaultstream.api import JobState
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.api.status import MOST_NOTE_CHARACTERS, JobStatus, SealStatus

pytestmark = pytest.mark.unit


def seal(size: int, **fields: Any) -> SealStatus:
    values = {
        "origin": "example.com/sign",
        "size": size,
        "checkpoint": f"example.com/sign\n{size}\n…",
        "job_checkpoint": "example.com/sign/jobs/receipts-1\n3\n…",
        "signed": 1_000,
        "dead": 0,
        "sealed_at": NOW,
    }
    return SealStatus.model_validate(values | fields)


def shown(before: SealStatus | None, found: SealStatus | None, **stored: Any) -> SealStatus | None:
    job = job_of(status=JobStatus(seal=before))
    return planned(view_of(stored_of(seal=found, **stored), job=job)).status.seal


def test_a_seal_is_copied_into_the_status() -> None:
    assert shown(None, None) is None
    assert shown(None, seal(1)) == seal(1)
    assert shown(seal(1), seal(2)) == seal(2)


def test_the_last_seal_comes_with_the_end_of_the_job() -> None:
    assert shown(seal(1), seal(2), state=JobState.COMPLETE, finished_at=NOW) == seal(2)


def test_a_database_that_was_rolled_back_does_not_replace_a_newer_checkpoint() -> None:
    assert shown(seal(7), seal(3)) == seal(7)
    assert shown(seal(7), None) == seal(7)


def test_a_seal_of_another_log_replaces_the_former_one() -> None:
    other = seal(3, origin="example.com/other")
    assert shown(seal(7), other) == other


def test_a_seal_stays_while_postgres_is_unreachable() -> None:
    job = job_of(status=JobStatus(seal=seal(7)))
    away = trouble_of(JobReason.POSTGRES_UNREACHABLE, passing=True)
    assert planned(view_of(away, job=job)).status.seal == seal(7)


def test_a_checkpoint_that_is_too_long_for_an_object_is_no_seal() -> None:
    with pytest.raises(ValueError, match="at most"):
        seal(1, checkpoint="a" * (MOST_NOTE_CHARACTERS + 1))


def test_the_copy_is_as_it_was_written_when_it_is_read_again() -> None:
    written = JobStatus(seal=seal(7)).dump()
    assert written["seal"]["sealedAt"] == NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert JobStatus.model_validate(written).seal == seal(7)
