"""Entries of logs, plans and seals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import pytest

from vaultstream.errors import ProofError
from vaultstream.proof.canonical import canonical_text
from vaultstream.proof.entries import AuditEntry, DeadLetterEntry, LogEntry, RevocationEntry
from vaultstream.proof.merkle import leaf_hash
from vaultstream.proof.seal import (
    PlanEntry,
    PlannedBatch,
    SealedKey,
    SealEntry,
    keys_digest,
    ranges_digest,
    require_planned,
)

pytestmark = pytest.mark.unit

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
BATCHES = [
    PlannedBatch(number=1, first_id="1", last_id="4", records=4),
    PlannedBatch(number=2, first_id="a", last_id="é", records=2, ids=["a", "é"]),
]
KEYS = [
    SealedKey(key_id="job-2", algorithm="ED25519", public_key=b"two"),
    SealedKey(key_id="job-10", algorithm="ED25519", public_key=b"ten"),
]
PLAN = PlanEntry(
    job_token="t1",
    job="receipts",
    source="public.receipts",
    upper_id="é",
    batches=2,
    records=6,
    ranges_sha256=ranges_digest(BATCHES),
    planned_at=AT,
)
SEAL = SealEntry(
    job_token="t1",
    job="receipts",
    source="public.receipts",
    upper_id="é",
    state="Complete",
    batches=2,
    ranges_sha256=ranges_digest(BATCHES),
    signed=5,
    dead=1,
    keys_sha256=keys_digest(KEYS),
    tree_size=3,
    tree_root=bytes(32),
    sealed_at=AT,
)
ENTRIES: list[LogEntry] = [
    PLAN,
    SEAL,
    DeadLetterEntry(
        job_token="t1",
        batch=2,
        record_id="é",
        reason="PayloadNull",
        message="The payload is NULL.",
        died_at=AT,
    ),
    RevocationEntry(job_token="t1", key_id="job-2", public_key_sha256=b"\xab" * 32, reason="", revoked_at=AT),
    AuditEntry(job_token="t1", number=1, action="create", login="ann", arguments={"name": "receipts"}, at=AT),
]


def test_an_entry_is_these_bytes() -> None:
    assert ENTRIES[3].data.decode() == (
        '{"jobToken":"t1","keyId":"job-2","publicKeySha256":"' + "ab" * 32 + '","reason":"",'
        '"revokedAt":"2026-01-02T03:04:05.000006Z","type":"application/vnd.vaultstream.revocation.v1+json"}'
    )
    assert ENTRIES[3].leaf == leaf_hash(ENTRIES[3].data)


def test_a_seal_has_the_members_that_others_read() -> None:
    assert sorted(json.loads(SEAL.data)) == [
        "batches",
        "dead",
        "job",
        "jobToken",
        "keysSha256",
        "rangesSha256",
        "sealedAt",
        "signed",
        "source",
        "state",
        "treeRoot",
        "treeSize",
        "type",
        "upperId",
    ]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_an_entry_is_read_as_it_was_written_and_only_as_its_type(entry: LogEntry) -> None:
    for kind in (PlanEntry, SealEntry, DeadLetterEntry, RevocationEntry, AuditEntry):
        if isinstance(entry, kind):
            assert kind.parse(entry.data) == entry
        else:
            with pytest.raises(ProofError):
                kind.parse(entry.data)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("type"),
        lambda values: values.update(type="other"),
        lambda values: values.update(more="a"),
        lambda values: values.pop("batch"),
        lambda values: values.update(batch="2"),
        lambda values: values.update(reason=2),
        lambda values: values.update(message=["a"]),
        lambda values: values.update(diedAt=1),
        lambda values: values.update(diedAt="2026-01-02T03:04:05Z"),
        lambda values: values.update(diedAt="2026-01-02T03:04:05.6Z"),
        lambda values: values.update(diedAt="0026-01-02T03:04:05.000006Z"),
    ],
)
def test_an_altered_form_of_an_entry_is_refused(change: Callable[[Any], Any]) -> None:
    values = json.loads(ENTRIES[2].data)
    change(values)
    with pytest.raises(ProofError):
        DeadLetterEntry.parse(canonical_text(values).encode())


@pytest.mark.parametrize("arguments", [{"a": 1}, {"a": ["b"]}, "a", ["a"]])
def test_the_arguments_of_an_event_are_texts(arguments: object) -> None:
    values = json.loads(ENTRIES[4].data) | {"arguments": arguments}
    with pytest.raises(ProofError):
        AuditEntry.parse(canonical_text(values).encode())


def test_a_digest_is_in_one_form() -> None:
    values = json.loads(ENTRIES[3].data)
    for digest in ("AB" * 32, "ab " * 32, "a", 1):
        with pytest.raises(ProofError):
            RevocationEntry.parse(canonical_text(values | {"publicKeySha256": digest}).encode())


def test_a_time_is_written_in_utc_and_needs_a_zone() -> None:
    east = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert replace(PLAN, planned_at=east).data == PLAN.data
    after = datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))
    for wrong in (AT.replace(tzinfo=None), AT.replace(year=999), after):
        with pytest.raises(ProofError, match="time"):
            _ = replace(PLAN, planned_at=wrong).data


def test_digests_are_over_these_lines() -> None:
    lines = '[1,"1","4",4]\n[2,"a","é",2,["a","é"]]\n'
    assert ranges_digest(BATCHES) == sha256(lines.encode()).digest()
    ten, two = sha256(b"ten").hexdigest(), sha256(b"two").hexdigest()
    lines = f'["job-10","ED25519","{ten}"]\n["job-2","ED25519","{two}"]\n'
    assert keys_digest(KEYS) == keys_digest(KEYS[::-1]) == sha256(lines.encode()).digest()
    assert ranges_digest(BATCHES[::-1]) != ranges_digest(BATCHES)


def test_a_list_of_ids_and_a_range_differ() -> None:
    listed = replace(BATCHES[0], ids=["1", "2", "3", "4"])
    assert ranges_digest([listed]) != ranges_digest(BATCHES[:1])
    assert ranges_digest([replace(listed, ids=["1", "2", "3"])]) != ranges_digest([listed])


def test_a_seal_of_what_was_planned_is_accepted() -> None:
    require_planned(PLAN, SEAL)
    require_planned(PLAN, replace(SEAL, signed=6, dead=0))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"batches": 1}, "the number of batches was 2 and is 1"),
        ({"signed": 4}, "the number of records was 6 and is 5"),
        ({"dead": 2}, "the number of records was 6 and is 7"),
        ({"source": "public.other"}, "the source was 'public.receipts' and is 'public.other'"),
        ({"upper_id": "z"}, "the upper id was 'é' and is 'z'"),
        ({"job": "other"}, "the name was"),
        ({"job_token": "t2"}, "the token was"),
        ({"ranges_sha256": ranges_digest(BATCHES[:1])}, "the digest of the batches was"),
    ],
)
def test_a_seal_of_anything_else_names_the_difference(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ProofError, match="has not done what was planned") as raised:
        require_planned(PLAN, replace(SEAL, **changed))
    assert said in raised.value.message
    assert raised.value.message.count(" was ") == 2


def test_the_checkpoint_of_a_seal_is_the_head_of_the_jobs_log() -> None:
    head = SEAL.checkpoint("example.com/vaultstream")
    assert (head.origin, head.size, head.root) == ("example.com/vaultstream/jobs/t1", 3, bytes(32))
