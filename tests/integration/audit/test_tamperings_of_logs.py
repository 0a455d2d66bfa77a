"""The database's owner, who has no key, has Postgres say of the entries of logs that they are something else.

Which kind an entry is, and which batch, record, key or event it is about, is in columns under no hash. What counts is what the sealed
bytes say.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from integration.audit.sealed_job import SealedJob, findings
from integration.audit.tampering import SWAP, reason
from vaultstream.audit.checks.pinned_keys import PinnedKeys
from vaultstream.audit.seals.log_history import LogReport, examine_log, open_kept
from vaultstream.audit.verify import verify_job
from vaultstream.crypto.algorithms import known_algorithm, public_key_jwk
from vaultstream.proof.dsse import envelope_data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.audit.report import AuditReport

pytestmark = pytest.mark.integration

AS_DEAD_LETTER = "UPDATE vaultstream.log_entries SET kind = 'dead-letter', subject = '1' WHERE kind = "
NO_EVENTS = (
    (
        "UPDATE vaultstream.log_entries SET kind = 'dead-letter', subject = (ARRAY['1','2','4','5','6','8','9','10'])[index + 1] "
        "WHERE kind = 'audit-event'"
    ),
    "DELETE FROM vaultstream.audit_events",
)
JOB_GONE = (
    *(
        f"DELETE FROM vaultstream.{table} e USING vaultstream.logs l WHERE l.log_no = e.log_no AND l.origin LIKE '%/jobs/%'"
        for table in ("log_entries", "checkpoints")
    ),
    "DELETE FROM vaultstream.logs WHERE origin LIKE '%/jobs/%'",
    "DROP TABLE {s}",
    *(
        f"DELETE FROM vaultstream.{table}"
        for table in (
            "statements",
            "dead_letters",
            "leases",
            "batches",
            "keys",
            "audit_events",
            "audited_jobs",
            "jobs",
        )
    ),
)


async def verified(sealed: SealedJob) -> AuditReport:
    """With all that somebody can have kept."""
    keys = [
        public_key_jwk(row["public_key"], key_id=row["key_id"], algorithm=known_algorithm(row["algorithm"]))
        for row in await sealed.signed.connection.fetch("SELECT * FROM vaultstream.keys")
    ]
    made = sealed.made
    return await verify_job(
        sealed.signed.url,
        made.token,
        processes=1,
        pinned_keys=PinnedKeys.parse(json.dumps({"keys": keys}).encode()),
        compare_source=True,
        seal_trust=sealed.sealer.against(made.earlier, made.newest, made.of_job),
    )


async def envelopes_as_dead_letters(sealed: SealedJob) -> None:
    """Has Postgres say that each sealed statement is a dead letter of a record that was signed."""
    connection = sealed.signed.connection
    for row in await connection.fetch("SELECT * FROM vaultstream.statements"):
        data = envelope_data(row["body"], row["signature"], json.loads(row["body"])["keyId"])
        await connection.execute(
            "UPDATE vaultstream.log_entries SET kind = 'dead-letter', subject = '1', body = $2 WHERE kind = 'statement' AND batch_no = $1",
            row["batch_no"],
            data.decode(),
        )


@pytest.mark.parametrize("text", ["kept", "gone"])
async def test_sealed_statements_called_dead_letters_and_records_swapped_and_dated_back(
    sealed: SealedJob, text: str
) -> None:
    assert (await verified(sealed)).ok
    await sealed.execute()
    if text == "kept":
        await envelopes_as_dead_letters(sealed)
    await sealed.execute(
        f"{AS_DEAD_LETTER} 'statement'",
        "UPDATE vaultstream.jobs SET stated = false",
        "DELETE FROM vaultstream.statements",
        *SWAP.replace("$1", "9").replace("$2", "10").split(";"),
        (
            "UPDATE vaultstream.leases SET during = tstzrange(lower(during) - interval '1 year', upper(during) - interval '1 year'), "
            "committed_at = committed_at - interval '1 year'"
        ),
        (
            "UPDATE {s} a SET signed_at = coalesce(l.committed_at, upper(l.during)) FROM vaultstream.leases l "
            "WHERE (l.key_no, l.epoch) = (a.key_no, a.epoch)"
        ),
    )
    report = await verified(sealed)
    expected = {"bad_seals": 3, "unlike_seal": 1} | ({"removed_statements": 3} if text == "kept" else {})
    assert {k: v for k, v in findings(report).items() if k in expected} == expected, report.examples
    assert "before there were statements, and its creation was sealed" in reason(report, "unlike_seal")


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        pytest.param(
            (
                f"{AS_DEAD_LETTER} 'revocation'",
                "UPDATE vaultstream.keys SET state = 'active', ended_at = NULL WHERE state = 'revoked'",
            ),
            {"bad_seals": 1, "removed_revocations": 1},
            id="a revocation taken back",
        ),
        pytest.param(NO_EVENTS, {"bad_seals": 2, "removed_events": 2}, id="all events removed"),
        pytest.param(
            (
                f"{AS_DEAD_LETTER} 'audit-event' AND subject = '1'",
                "UPDATE vaultstream.audit_events SET login = 'mallory' WHERE number = 1",
            ),
            {"bad_seals": 1, "altered_events": 1},
            id="an event rewritten",
        ),
        pytest.param(
            (
                "UPDATE vaultstream.log_entries SET subject = '1' WHERE kind = 'dead-letter' AND subject = '3'",
                "DELETE FROM vaultstream.dead_letters WHERE record_id = '3'",
            ),
            {"bad_seals": 1, "removed_dead_letters": 1, "unlike_seal": 1},
            id="a dead letter removed, called that of another record",
        ),
        pytest.param(
            ("UPDATE vaultstream.log_entries SET body = NULL WHERE kind = 'dead-letter' AND subject = '3'",),
            {"bad_seals": 1},
            id="a text erased though the job is there",
        ),
        pytest.param(
            (
                "UPDATE vaultstream.log_entries SET kind = 'dead-letter', subject = index::text WHERE kind IN ('plan', 'seal')",
            ),
            {"bad_seals": 4},
            id="plans and seals, which are read from their bytes",
        ),
    ],
)
async def test_an_entry_that_postgres_has_as_something_else(
    sealed: SealedJob, statements: Sequence[str], expected: dict[str, int]
) -> None:
    await sealed.signed.execute(
        "SELECT vaultstream.end_keys(job_no, ARRAY[key_id], 'revoked') FROM vaultstream.keys LIMIT 1"
    )
    await sealed.sealer.seal(sealed.signed)
    assert findings(await sealed.verify()) == {}
    await sealed.execute(*statements)
    found = findings(await sealed.verify())
    assert {kind: found.get(kind) for kind in expected} == expected


async def test_a_job_whose_log_of_seals_is_called_that_of_a_job(sealed: SealedJob) -> None:
    await sealed.execute("UPDATE vaultstream.logs SET job_no = 99 WHERE job_no IS NULL")
    assert findings(await sealed.verify()) == {"bad_seals": 1}
    await sealed.execute("DELETE FROM vaultstream.audit_events WHERE number = 1")
    assert findings(await sealed.verify()) == {"bad_seals": 1, "removed_events": 1}


async def log_report(sealed: SealedJob, *, of_job: bool = False) -> LogReport:
    keys = sealed.sealer.trust.keys
    kept = sealed.made.of_job if of_job else sealed.made.newest
    return await examine_log(sealed.signed.url, open_kept(kept, keys), keys)


@pytest.mark.parametrize(
    ("statements", "problems"),
    [
        pytest.param(
            (
                "UPDATE vaultstream.log_entries SET kind = 'dead-letter', subject = index::text WHERE kind IN ('plan', 'seal')",
                *JOB_GONE,
            ),
            ["EntryAltered"] * 3 + ["JobLogAltered", "JobNotSealed"],
            id="plans and seals called dead letters",
        ),
        pytest.param(
            (
                *JOB_GONE,
                "UPDATE vaultstream.logs SET job_no = 99",
                "UPDATE vaultstream.log_entries SET body = NULL",
            ),
            ["EntryMissing"] * 3,
            id="the log called that of a job, and erased",
        ),
        pytest.param(
            (
                *JOB_GONE,
                "UPDATE vaultstream.logs SET job_no = 99",
                "UPDATE vaultstream.log_entries SET body = NULL, kind = 'dead-letter', subject = index::text",
            ),
            ["EntryMissing"] * 3,
            id="both",
        ),
    ],
)
async def test_a_log_of_seals_does_not_hide_a_job_that_is_gone(
    sealed: SealedJob, statements: Sequence[str], problems: list[str]
) -> None:
    assert (await log_report(sealed)).ok
    await sealed.execute(*statements)
    report = await log_report(sealed)
    assert [finding.problem.value for finding in report.findings] == problems
    assert report.erased == 0


async def test_entries_of_a_job_log_that_are_something_else(sealed: SealedJob) -> None:
    assert (await log_report(sealed, of_job=True)).ok
    await sealed.execute(f"{AS_DEAD_LETTER} 'audit-event' AND subject = '1'")
    report = await log_report(sealed, of_job=True)
    assert [finding.problem.value for finding in report.findings] == ["EntryAltered"]
