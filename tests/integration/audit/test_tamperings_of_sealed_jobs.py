"""The database's owner removes whole batches, jobs and seals, or all that names them: what the seal key signed shows it.

Where he can, he changes everything consistently. He has no signing key and no seal key, but for keys of his own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from integration.audit.seal_of import Sealer
from integration.audit.sealed_job import FREE, SealedJob, findings
from integration.audit.signed_job import commit, payload_of
from integration.audit.tampering import reason, resign
from vaultstream.api import Algorithm
from vaultstream.audit.seals.seal_trust import SealTrust
from vaultstream.audit.verify import verify_job
from vaultstream.crypto.algorithms import generate_private_key, public_key_to_bytes
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.note import NoteSigningKey
from vaultstream.store.jobs import complete_job_if_settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from integration.audit.conftest import MakeJob
    from integration.audit.signed_job import SignedJob
    from vaultstream.audit.report import AuditReport

pytestmark = pytest.mark.integration

LAST_BATCH = (
    "DELETE FROM {s} WHERE record_id > 8",
    "DELETE FROM receipts WHERE id > 8",
    "DELETE FROM vaultstream.leases WHERE batch_no = 3",
    "DELETE FROM vaultstream.statements WHERE batch_no = 3",
    "DELETE FROM vaultstream.batches WHERE batch_no = 3",
    "UPDATE vaultstream.jobs SET next_batch_no = 3",
)
"""Removes the last batch with everything that belongs to it."""
NO_STATEMENT_2 = (
    "DELETE FROM {s} WHERE record_id BETWEEN 5 AND 8",
    "DELETE FROM vaultstream.leases WHERE batch_no = 2",
    "DELETE FROM vaultstream.statements WHERE batch_no = 2",
    (
        "INSERT INTO vaultstream.dead_letters SELECT job_no, n::text, 2, 'RecordGone', 'gone' "
        "FROM vaultstream.jobs, unnest('{{5,6,8}}'::int[]) AS n"
    ),
    "UPDATE vaultstream.batches SET signed = 0, dead = 4 WHERE batch_no = 2",
)
"""Turns the second batch into dead letters; record 7 is one."""


async def test_an_untouched_job_is_what_was_sealed(sealed: SealedJob) -> None:
    report = await sealed.verify(
        sealed.sealer.against(sealed.made.earlier, sealed.made.newest, sealed.made.of_job)
    )
    assert report.ok, report.examples
    assert report.notes == ()
    assert report.seal is not None
    assert (report.seal.state, report.seal.pinned, report.seal.origin) == (
        "Complete",
        True,
        "example.com/seals",
    )


@pytest.mark.parametrize(
    ("statements", "expected", "named"),
    [
        pytest.param(
            LAST_BATCH,
            {"removed_batches": 1, "unlike_seal": 2},
            "batch 3, whose statement was sealed, is gone",
            id="the last batch",
        ),
        pytest.param(
            (*LAST_BATCH, "UPDATE vaultstream.jobs SET upper_id = '8'"),
            {"removed_batches": 1, "unlike_seal": 3},
            "batch 3, whose statement was sealed, is gone",
            id="the last batch and the upper id",
        ),
        pytest.param(
            NO_STATEMENT_2,
            {"removed_statements": 1, "invented_dead_letters": 3, "unlike_seal": 2},
            "the sealed statement of batch 2 is gone",
            id="a batch turned into dead letters",
        ),
        pytest.param(
            (
                "INSERT INTO receipts VALUES (13, 'new')",
                (
                    "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, state, signed, dead) "
                    "SELECT job_no, 4, 1, '13', '13', 'done', 0, 1 FROM vaultstream.jobs"
                ),
                "INSERT INTO vaultstream.dead_letters SELECT job_no, '13', 4, 'PayloadNull', 'x' FROM vaultstream.jobs",
                "UPDATE vaultstream.jobs SET next_batch_no = 5",
            ),
            {"invented_dead_letters": 1, "unlike_seal": 2},
            "a dead letter was added after the job was sealed",
            id="a dead letter that never was",
        ),
        pytest.param(
            (
                "DELETE FROM vaultstream.dead_letters WHERE record_id = '3'",
                "DELETE FROM receipts WHERE id = 3",
                "UPDATE vaultstream.batches SET records = 3, dead = 0, ids = '{{1,2,4}}' WHERE batch_no = 1",
            ),
            {"removed_dead_letters": 1, "unlike_seal": 2},
            "its dead letter was sealed and is gone",
            id="a dead letter removed",
        ),
        pytest.param(
            ("UPDATE vaultstream.dead_letters SET reason = 'PayloadTooLong' WHERE record_id = '3'",),
            {"altered_dead_letters": 1},
            "another than the one that was sealed",
            id="a dead letter with another reason",
        ),
        pytest.param(
            ("UPDATE vaultstream.dead_letters SET died_at = died_at - interval '1 year'",),
            {"altered_dead_letters": 2},
            "another than the one that was sealed",
            id="dead letters with another time",
        ),
        pytest.param(
            (
                "DELETE FROM vaultstream.statements",
                "UPDATE vaultstream.jobs SET stated = false",
                (
                    "UPDATE {s} s SET signed_at = upper(l.during) FROM vaultstream.leases l "
                    "WHERE (l.key_no, l.epoch) = (s.key_no, s.epoch)"
                ),
            ),
            {"removed_statements": 3, "unlike_seal": 1},
            "the sealed statement of batch 1 is gone",
            id="a job called one from before there were statements",
        ),
        pytest.param(
            ("UPDATE vaultstream.jobs SET upper_id = '11'",),
            {"unlike_seal": 1},
            "the upper id was '12' when the job was sealed, and is '11'",
            id="the upper id",
        ),
        pytest.param(
            ("UPDATE vaultstream.jobs SET name = 'payslips'",),
            {"unlike_seal": 1},
            "the name was 'receipts'",
            id="the job's name",
        ),
        pytest.param(
            (
                (
                    "INSERT INTO vaultstream.keys (key_no, job_no, ordinal, key_id, algorithm, public_key) "
                    "SELECT 999999, job_no, 9, 'planted', algorithm, public_key FROM vaultstream.keys LIMIT 1"
                ),
            ),
            {"rekeyed": 1},
            "the job's keys are others",
            id="a key added",
        ),
        pytest.param(
            ("DELETE FROM vaultstream.audit_events WHERE number = 1",),
            {"removed_events": 1},
            "audit event 1 was sealed and is gone",
            id="an audit event removed",
        ),
        pytest.param(
            ("UPDATE vaultstream.audit_events SET login = 'somebody' WHERE number = 1",),
            {"altered_events": 1},
            "audit event 1 (create) is another",
            id="an audit event of another login",
        ),
        pytest.param(
            (
                "DELETE FROM vaultstream.log_entries WHERE kind = 'seal' AND index = 2",
                "DELETE FROM vaultstream.checkpoints c USING vaultstream.logs l WHERE l.log_no = c.log_no AND l.job_no IS NULL AND c.size = 3",
            ),
            {"bad_seals": 1},
            "Entry 2 of the log 'example.com/seals', which has 3, is gone",
            id="the seal removed from its log",
        ),
        pytest.param(
            (
                "UPDATE vaultstream.log_entries SET body = replace(body, '\"signed\":10', '\"signed\":9') WHERE index = 2 AND kind = 'seal'",
            ),
            {"bad_seals": 1},
            "The text of entry 2 of the log 'example.com/seals' is another than was entered",
            id="a seal with another number",
        ),
        pytest.param(
            (
                "UPDATE vaultstream.log_entries SET leaf = sha256(leaf) WHERE kind = 'statement' AND batch_no = 2",
            ),
            {"bad_seals": 1},
            "that were sealed are others or more",
            id="a leaf of the job's log",
        ),
        pytest.param(
            ("DELETE FROM vaultstream.log_entries WHERE kind = 'statement' AND batch_no = 3",),
            {"bad_seals": 1},
            "has",
            id="an entry of the job's log removed",
        ),
        pytest.param(
            (
                "DELETE FROM vaultstream.checkpoints c USING vaultstream.logs l WHERE l.log_no = c.log_no AND l.job_no IS NOT NULL",
            ),
            {"bad_seals": 1},
            "has no checkpoint",
            id="the checkpoints of the job's log",
        ),
        pytest.param(
            (
                "DELETE FROM vaultstream.checkpoints",
                "DELETE FROM vaultstream.log_entries",
                "DELETE FROM vaultstream.logs",
            ),
            {"missing_seals": 1},
            "never sealed by the seal key, or its seal was removed",
            id="all logs",
        ),
    ],
)
async def test_what_only_the_seal_shows(
    sealed: SealedJob, statements: Sequence[str], expected: dict[str, int], named: str
) -> None:
    await sealed.execute(*statements)
    report = await sealed.verify()
    assert findings(report) == expected, report.examples
    assert not report.ok
    assert any(named in example.reason for found in report.examples.values() for example in found), (
        report.examples
    )


async def test_without_logs_and_without_anything_that_was_kept_nothing_is_seen(sealed: SealedJob) -> None:
    """What nobody has kept, nobody can miss: verify says in a note that nothing proves the job complete."""
    await sealed.execute(
        *LAST_BATCH,
        "DELETE FROM vaultstream.checkpoints",
        "DELETE FROM vaultstream.log_entries",
        "DELETE FROM vaultstream.logs",
    )
    report = await sealed.verify(SealTrust())
    assert report.ok, report.examples
    assert "has no seal" in report.notes[0]


async def test_everything_signed_again_under_new_public_halves(sealed: SealedJob) -> None:
    planted = generate_private_key(Algorithm.ECDSA_P256_SHA256)
    await sealed.execute()
    await sealed.signed.execute("UPDATE vaultstream.keys SET public_key = $1", public_key_to_bytes(planted))
    await resign(sealed.signed, planted)
    report = await sealed.verify()
    assert findings(report) == {"restated": 3, "rekeyed": 1}, report.examples
    assert reason(report, "restated") == "the statement of batch 1 is another than the one that was sealed"


async def test_everything_signed_and_sealed_again_under_keys_of_the_owner(sealed: SealedJob) -> None:
    """Under the name of the log: only who has kept the public half of the seal key sees it."""
    planted = generate_private_key(Algorithm.ECDSA_P256_SHA256)
    await sealed.execute(
        "DELETE FROM vaultstream.checkpoints",
        "DELETE FROM vaultstream.log_entries",
        "DELETE FROM vaultstream.logs",
    )
    await sealed.signed.execute("UPDATE vaultstream.keys SET public_key = $1", public_key_to_bytes(planted))
    await resign(sealed.signed, planted)
    forger = Sealer()
    await forger.plan(sealed.signed)
    await forger.seal(sealed.signed)
    unpinned = await sealed.verify(SealTrust())
    assert unpinned.ok, unpinned.examples
    assert "No seal key is known here" in unpinned.notes[0]
    report = await sealed.verify()
    assert findings(report) == {"bad_seals": 1}
    assert "signed by no known key" in reason(report, "bad_seals")
    elsewhere = Sealer(NoteSigningKey("example.com/other", Ed25519PrivateKey.generate()))
    await forger.checkpoint(sealed.signed)
    report = await sealed.verify(elsewhere.trust)
    assert findings(report) == {"missing_seals": 1}


async def test_a_newest_checkpoint_by_a_key_of_the_owner(sealed: SealedJob) -> None:
    head = Checkpoint("example.com/seals", 3, bytes(32))
    note = sign_checkpoint(head, NoteSigningKey("example.com/seals", Ed25519PrivateKey.generate()))
    await sealed.execute()
    await sealed.signed.execute(
        "INSERT INTO vaultstream.checkpoints (log_no, size, note) SELECT log_no, 3, $1 FROM vaultstream.logs WHERE job_no IS NULL",
        note.decode(),
    )
    assert findings(await sealed.verify()) == {"bad_seals": 1}


async def test_a_revocation_taken_back(sealed: SealedJob) -> None:
    await sealed.signed.execute(
        "SELECT vaultstream.end_keys(job_no, ARRAY[key_id], 'revoked') FROM vaultstream.keys LIMIT 1"
    )
    assert "Not sealed yet: 1 revocation, 1 audit event." in (await sealed.verify()).notes[0]
    await sealed.sealer.seal(sealed.signed)
    assert (await sealed.verify()).ok
    await sealed.execute(
        "UPDATE vaultstream.keys SET ended_at = ended_at - interval '1 hour' WHERE state = 'revoked'"
    )
    assert (await sealed.verify()).removed_revocations == 1
    await sealed.execute(
        "UPDATE vaultstream.keys SET state = 'active', ended_at = NULL WHERE state = 'revoked'"
    )
    assert findings(await sealed.verify()) == {"removed_revocations": 1}


async def verify(signed: SignedJob, sealer: Sealer | None = None) -> AuditReport:
    return await verify_job(
        signed.url, signed.job.token, processes=1, seal_trust=sealer.trust if sealer else None
    )


async def test_a_plan_that_was_not_kept(make: MakeJob) -> None:
    """A batch vanished after it was planned, and before the job was sealed."""
    signed = await make()
    sealer = Sealer()
    await sealer.plan(signed)
    await signed.execute(FREE)
    for statement in LAST_BATCH:
        await signed.execute(statement)
    await sealer.seal(signed)
    report = await verify(signed, sealer)
    assert findings(report) == {"plan_broken": 1}
    assert "the number of batches was 3 and is 2" in reason(report, "plan_broken")


async def test_a_batch_signed_by_a_key_of_the_job_after_it_was_sealed(sealed: SealedJob) -> None:
    """As a signer could do that is in league with the owner."""
    await sealed.execute(
        "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id) SELECT job_no, 4, 1, '13', '13' FROM vaultstream.jobs",
        "UPDATE vaultstream.jobs SET next_batch_no = 5, state = 'Running', finished_at = NULL",
    )
    await sealed.signed.execute("INSERT INTO receipts VALUES (13, $1)", payload_of(13).encode())
    await commit(sealed.signed.connection, sealed.signed.job, 4, [13], {13: payload_of(13).encode()}, dead=[])
    await complete_job_if_settled(sealed.signed.connection, sealed.signed.job.job_no)
    report = await sealed.verify()
    assert findings(report) == {"unsealed": 1, "unlike_seal": 2}, report.examples
    assert reason(report, "unsealed") == "a statement of batch 4 was added after the job was sealed"


async def test_a_job_without_a_seal_is_a_problem_only_for_who_asks_for_one(make: MakeJob) -> None:
    signed = await make()
    report = await verify(signed)
    assert report.ok
    assert "has no seal" in report.notes[0]
    assert findings(await verify(signed, Sealer())) == {"missing_seals": 1}
