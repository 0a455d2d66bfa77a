from __future__ import annotations

import json

import pytest

from vaultstream.audit.report import MAX_EXAMPLES, AuditFinding, AuditReport, Count, Tally
from vaultstream.errors import AuditError

pytestmark = pytest.mark.unit


def report(tally: Tally, *, planned: bool = True) -> AuditReport:
    return AuditReport.of(
        tally,
        planned=planned,
        job="j",
        token="j-1",
        algorithm="ED25519",
        notes=("a note",),
        seconds=1.23456,
        processes=2,
        revoked_keys=(),
        added_since=None,
        seal=None,
    )


def test_a_job_without_findings_passes() -> None:
    tally = Tally()
    tally.add(Count.VALID, 3)
    tally.add(Count.REVOKED)
    assert report(tally).ok
    assert report(tally).problems == []


@pytest.mark.parametrize("kind", list(AuditFinding))
def test_one_finding_of_any_kind_fails_the_job_and_is_described(kind: AuditFinding) -> None:
    tally = Tally()
    tally.find(kind, "7", "why")
    assert not report(tally).ok
    [problem] = report(tally).problems
    assert problem.startswith("1 ")
    tally.add(kind, 1233)
    assert report(tally).problems[0].startswith("1,234 ")


def test_a_problem_agrees_with_its_number() -> None:
    tally = Tally()
    tally.find(AuditFinding.COMMITTED_TWICE, None, "why")
    assert report(tally).problems == ["1 batch committed more than once"]
    tally.add(AuditFinding.COMMITTED_TWICE)
    assert report(tally).problems == ["2 batches committed more than once"]


def test_a_job_that_is_not_fully_planned_does_not_pass() -> None:
    assert not report(Tally(), planned=False).ok


def test_many_findings_are_all_counted_and_the_first_named() -> None:
    parts = []
    for part in range(3):
        parts.append(Tally())
        for n in range(MAX_EXAMPLES - 5):
            parts[-1].find(AuditFinding.MISSING, f"{part}-{n}", "why")
    total = Tally()
    for part in parts:
        total.merge(part)
    assert report(total).missing == 3 * (MAX_EXAMPLES - 5)
    assert len(total.examples[AuditFinding.MISSING]) == MAX_EXAMPLES
    assert total.examples[AuditFinding.MISSING][0].record == "0-0"


def test_json_has_the_promised_fields() -> None:
    tally = Tally()
    tally.find(AuditFinding.CHANGED, "東京", "why")
    data = json.loads(json.dumps(report(tally).to_json()))
    promised = [
        "job",
        "records",
        "signed",
        "dead",
        "valid",
        "invalid",
        "changed",
        "missing",
        "duplicates",
        "lease_overlaps",
        "committed_twice",
    ]
    assert set(promised) <= set(data)
    assert data["examples"] == {"changed": [{"record": "東京", "reason": "why"}]}
    assert (data["ok"], data["seconds"], data["notes"]) == (False, 1.235, ["a note"])


def test_each_signature_must_have_been_judged_once() -> None:
    tally = Tally()
    tally.add(Count.SIGNED, 3)
    tally.add(Count.VALID)
    tally.add(AuditFinding.INVALID)
    with pytest.raises(AuditError, match="3 signatures, and 2 were judged"):
        tally.require_judged()
    tally.add(AuditFinding.CHANGED)
    tally.require_judged()
    tally.add(Count.VALID)
    with pytest.raises(AuditError, match="3 signatures, and 4 were judged"):
        tally.require_judged()
