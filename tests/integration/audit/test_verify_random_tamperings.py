"""The fast and the slow path of verifying give the same report, whatever was done to a job."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import asyncpg
import pytest

from integration.audit.audits import audit
from support.native import the_extension
from vaultstream.audit.checks import plain_batches

if TYPE_CHECKING:
    from integration.audit.conftest import MakeJob
    from integration.audit.signed_job import RecordId
    from vaultstream.audit.report import AuditReport

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("native")]
native = the_extension

TAMPERINGS = (
    "UPDATE receipts SET payload = 'other' WHERE id = {r}",
    "UPDATE receipts SET payload = NULL WHERE id = {r}",
    "DELETE FROM receipts WHERE id = {r}",
    "DELETE FROM {{s}} WHERE record_id = {r}",
    "UPDATE {{s}} SET digest = sha256('other') WHERE record_id = {r}",
    "UPDATE {{s}} SET digest = '' WHERE record_id = {r}",
    "UPDATE {{s}} SET signature = substr(signature, 1, 20) WHERE record_id = {r}",
    "UPDATE {{s}} SET signature = set_byte(signature, {byte}, {value}) WHERE record_id = {r}",
    "UPDATE {{s}} SET signature = (SELECT o.signature FROM {{s}} o WHERE o.record_id = {o}) WHERE record_id = {r}",
    "UPDATE {{s}} SET epoch = epoch + {value} WHERE record_id = {r}",
    "UPDATE {{s}} SET key_no = (SELECT max(k.key_no) FROM vaultstream.keys k) WHERE record_id = {r}",
    "UPDATE {{s}} SET signed_at = signed_at - interval '{value} hours' WHERE record_id = {r}",
    "UPDATE {{s}} SET record_id = {r} + 1000 WHERE record_id = {r}",
    "UPDATE vaultstream.batches SET signed = signed - 1, dead = dead + 1 WHERE batch_no = {b}",
    "UPDATE vaultstream.batches SET first_id = '{o}' WHERE batch_no = {b}",
    "UPDATE vaultstream.batches SET state = 'pending' WHERE batch_no = {b}",
    "DELETE FROM vaultstream.batches WHERE batch_no = {b}",
    "DELETE FROM vaultstream.statements WHERE batch_no = {b}",
    "UPDATE vaultstream.statements SET body = replace(body, '\"count\":4', '\"count\":3') WHERE batch_no = {b}",
    "UPDATE vaultstream.statements SET signature = set_byte(signature, {byte}, {value}) WHERE batch_no = {b}",
    "UPDATE vaultstream.statements SET epoch = epoch + 1 WHERE batch_no = {b}",
    "DELETE FROM vaultstream.leases WHERE batch_no = {b}",
    "UPDATE vaultstream.leases SET during = tstzrange(lower(during), lower(during) + interval '1 ms') WHERE batch_no = {b}",
    (
        "INSERT INTO vaultstream.dead_letters (job_no, record_id, batch_no, reason, message) "
        "SELECT job_no, '{r}', {b}, 'PayloadNull', '' FROM vaultstream.jobs ON CONFLICT DO NOTHING"
    ),
)
"""What an owner of the database may do to record {r} or batch {b}."""
BATCHES, STEPS = 20, 7
"""Batches of four records, and tamperings of each job, so that most batches stay as they were."""


def _in_order(report: AuditReport) -> AuditReport:
    """Returns a report without its duration, and with the examples of each finding in the order of their records."""
    examples = {kind: sorted(found, key=repr) for kind, found in report.examples.items()}
    return replace(report, seconds=0, examples=examples)


@pytest.mark.parametrize("seed", range(3))
async def test_both_ways_to_verify_agree_on_jobs_that_were_tampered_with_at_random(
    make: MakeJob, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random = Random(seed)
    ids: list[RecordId] = sorted(random.sample(range(-50, 400), 4 * BATCHES))
    signed = await make(ids=ids, keys=3)
    await signed.execute("SET session_replication_role = replica")  # no guard, no constraint
    done = []
    for step in range(1, STEPS):
        for _ in range(step):
            batch = random.randrange(BATCHES)
            values = {"r": ids[4 * batch + random.randrange(4)], "o": random.choice(ids), "b": batch + 1}
            changed = random.choice(TAMPERINGS).format(
                **values, byte=random.randrange(8), value=random.randrange(1, 256)
            )
            with suppress(asyncpg.IntegrityConstraintViolationError):  # it does not go with one before
                await signed.execute(changed)
                done.append(changed)
        if step not in {2, STEPS - 1}:
            continue
        source = bool(random.randrange(2))
        fast = await audit(signed, compare_source=source)
        with monkeypatch.context() as patch:
            patch.setattr(plain_batches, "multibuffer", lambda: None)
            slow = await audit(signed, compare_source=source)
        assert _in_order(fast) == _in_order(slow), done
        assert not fast.ok, done
