"""The database's owner puts views in the place of tables, which answer each query of verify as it suits him."""

from __future__ import annotations

import pytest

from integration.audit.sealed_job import SealedJob, findings

pytestmark = pytest.mark.integration

Q = "pg_catalog.current_query()"

LAST_BATCH = (
    "DELETE FROM {s} WHERE record_id > 8",
    "DELETE FROM receipts WHERE id > 8",
    "DELETE FROM vaultstream.leases WHERE batch_no = 3",
    "UPDATE vaultstream.jobs SET next_batch_no = 3",
    "ALTER TABLE vaultstream.batches RENAME TO cut",
    "ALTER TABLE {s} RENAME TO signed",
)
"""Removes the last batch. Its statement stays, as the logs do."""
FOUR_MORE = (
    "CREATE VIEW {{s}} AS SELECT * FROM vaultstream.signed UNION ALL "
    "SELECT 8 + n, key_no, epoch, signed_at, digest, signature FROM vaultstream.signed, generate_series(1, 4) n "
    f"WHERE record_id = 1 AND {Q} LIKE '%AS signatures,%AS dead_letters%'"
)
"""Counts the signatures that are gone."""


def batches_with_the_last(condition: str) -> str:
    """Shows the last batch to some queries."""
    return (
        "CREATE VIEW vaultstream.batches AS SELECT * FROM vaultstream.cut "
        f"WHERE batch_no <> 3 OR {condition} OR {Q} LIKE '%b.state IS DISTINCT FROM%'"
    )


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(f"{Q} LIKE '%batch_no AS number%'", id="to each query for its range"),
        pytest.param(
            f"({Q} LIKE '%batch_no AS number%' AND {Q} NOT LIKE '%ids, state%')",
            id="to the query for the digest of the ranges",
        ),
    ],
)
async def test_the_last_batch_hidden_by_views_that_know_the_query(sealed: SealedJob, shown: str) -> None:
    await sealed.execute(*LAST_BATCH, batches_with_the_last(shown), FOUR_MORE.replace("{{s}}", "{s}"))
    report = await sealed.verify(
        sealed.sealer.against(sealed.made.earlier, sealed.made.newest, sealed.made.of_job)
    )
    assert not report.ok
    assert findings(report).keys() & {"missing", "unlike_seal"}, report.examples
    reasons = [example.reason for found in report.examples.values() for example in found]
    assert any(
        "there were 10 signatures when the job was sealed, and there are 6" in each for each in reasons
    )


async def test_rows_of_other_records_do_not_make_up_for_missing_ones(sealed: SealedJob) -> None:
    """Asked for the records of the last batch, the table of signatures answers with those of other records."""
    await sealed.execute(
        "DELETE FROM {s} WHERE record_id > 8",
        "ALTER TABLE {s} RENAME TO signed",
        (
            "CREATE VIEW {s} AS SELECT * FROM vaultstream.signed UNION ALL "
            "SELECT 20 + n, key_no, epoch, signed_at, digest, signature FROM vaultstream.signed, generate_series(1, 4) n "
            "WHERE record_id = 1"
        ),
    )
    report = await sealed.verify()
    assert report.missing == 4, report.examples
    assert report.unlike_seal == 1


async def test_the_statement_that_is_checked_is_the_one_that_was_sealed(sealed: SealedJob) -> None:
    """The job's own key has stated batch 1 twice; the log is compared with one statement, and the records with the other."""
    await sealed.execute(
        "ALTER TABLE vaultstream.statements RENAME TO made",
        (
            "CREATE VIEW vaultstream.statements AS SELECT * FROM vaultstream.made "
            f"WHERE batch_no <> 1 OR {Q} NOT LIKE '%l.holder%'"
        ),
    )
    report = await sealed.verify()
    assert report.restated == 1, report.examples
    [found] = report.examples["restated"]
    assert found.reason == (
        "the sealed statement of batch 1 is not the one that was checked with its records"
    )
