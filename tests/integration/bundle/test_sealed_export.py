"""The bundle of a sealed job has its log, its seal and its plan, as Postgres has them, and all verifiers accept it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.audit.seal_of import Sealer
from integration.audit.sealed_job import FREE
from integration.audit.signed_job import SignedJob, commit, make_job, private_key
from support.as_user import connect
from support.bundles import Verdict, checkers, our_verdict, run_checker
from vaultstream.api import Algorithm
from vaultstream.bundle.export import export_bundle
from vaultstream.crypto.algorithms import public_key_to_bytes
from vaultstream.errors import AuditError
from vaultstream.store.jobs import complete_job_if_settled

pytestmark = pytest.mark.integration

LAST = [9, 10, 11, 12]


@pytest.fixture
async def running(migrated_url: str) -> AsyncIterator[SignedJob]:
    """A job with two signed batches of three, and two dead letters; it is planned."""
    async with connect(migrated_url) as connection:
        yield await make_job(
            connection, migrated_url, dead=frozenset({3, 7}), waiting=frozenset(LAST), keys=2
        )


async def sign_the_rest(job: SignedJob) -> None:
    payloads = dict(await job.connection.fetch("SELECT id, payload FROM receipts"))
    await commit(job.connection, job.job, 3, list(LAST), payloads, dead=[])
    await complete_job_if_settled(job.connection, job.job.job_no)


async def judged(job: SignedJob, folder: Path, programs: Path, *options: str) -> list[Verdict]:
    """Exports the job; returns what the three verifiers say."""
    await export_bundle(job.url, job.job.token, folder=folder, payloads=True)
    commands = checkers(programs).values()
    said = [await asyncio.to_thread(run_checker, command, folder, *options) for command in commands]
    return [*said, await asyncio.to_thread(our_verdict, folder, *options)]


async def test_a_complete_job_is_proved_complete(running: SignedJob, tmp_path: Path, programs: Path) -> None:
    sealer = Sealer()
    await sealer.plan(running)
    await sealer.seal(running)
    await sign_the_rest(running)
    await sealer.seal(running)
    vkey = sealer.key.public_key.vkey
    for verdict in await judged(running, tmp_path / "b", programs, "--seal-key", vkey):
        assert (verdict.code, verdict.faults, verdict.not_checked) == (0, [], ""), verdict.output
    assert not (tmp_path / "b" / "statements.jsonl").exists()
    seal = json.loads((tmp_path / "b" / "seal.json").read_bytes())
    assert (seal["state"], seal["signed"], seal["dead"]) == ("Complete", 10, 2)


async def test_what_was_done_since_the_seal_is_in_the_bundle_and_named(
    running: SignedJob, tmp_path: Path, programs: Path
) -> None:
    sealer = Sealer()
    await sealer.plan(running)
    await sealer.seal(running)
    await sign_the_rest(running)
    await running.execute(
        "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key) VALUES ($1, 3, 'added', $2, $3)",
        running.job.job_no,
        str(running.job.spec.keys.algorithm),
        public_key_to_bytes(private_key(Algorithm.ECDSA_P256_SHA256, 3)),
    )
    for verdict in await judged(running, tmp_path / "b", programs, "--seal-key", sealer.key.public_key.vkey):
        assert (verdict.code, verdict.faults) == (3, []), verdict.output
        assert "no batch from after the seal is missing: 1" in verdict.not_checked
        assert "The job was not complete when it was sealed" in verdict.output
        assert "added since the seal" in verdict.not_checked


async def test_a_seal_without_a_plan_is_no_fault_and_named(
    running: SignedJob, tmp_path: Path, programs: Path
) -> None:
    sealer = Sealer()
    await sign_the_rest(running)
    await sealer.seal(running)
    for verdict in await judged(running, tmp_path / "b", programs, "--seal-key", sealer.key.public_key.vkey):
        assert (verdict.code, verdict.faults) == (0, []), verdict.output
        assert "no plan" in verdict.not_checked


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("DELETE FROM {s} WHERE record_id = 2", "batch 1"),
        ("DELETE FROM {s} WHERE record_id > 8", "batch 3"),
        ("UPDATE {s} SET record_id = 13 WHERE record_id = 12", "batch 3"),
        ("DELETE FROM vaultstream.keys WHERE ordinal = 2", "keys|batch|statement"),
    ],
)
async def test_what_the_owner_of_the_database_did_before_the_export_is_a_fault(
    running: SignedJob, tmp_path: Path, programs: Path, statement: str, named: str
) -> None:
    sealer = Sealer()
    await sealer.plan(running)
    await sign_the_rest(running)
    await sealer.seal(running)
    await running.connection.execute(FREE)
    await running.execute(statement)
    for verdict in await judged(running, tmp_path / "b", programs, "--seal-key", sealer.key.public_key.vkey):
        assert verdict.code == 1, verdict.output


async def test_a_log_with_gaps_is_not_exported(running: SignedJob, tmp_path: Path) -> None:
    sealer = Sealer()
    await sealer.seal(running)
    await running.connection.execute(FREE)
    await running.execute("DELETE FROM vaultstream.statements WHERE batch_no = 1")
    with pytest.raises(AuditError):
        await export_bundle(running.url, running.job.token, folder=tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("hidden", ["kind = 'plan', subject = 'x'", "job_no = 0"])
async def test_an_older_seal_is_not_exported_for_the_newest(
    running: SignedJob, tmp_path: Path, hidden: str
) -> None:
    sealer = Sealer()
    await sealer.seal(running)
    await sign_the_rest(running)
    await sealer.seal(running)
    await running.connection.execute(FREE)
    await running.execute(f"UPDATE vaultstream.log_entries SET {hidden} WHERE kind = 'seal' AND index = 1")
    with pytest.raises(AuditError, match="is a seal of the job"):
        await export_bundle(running.url, running.job.token, folder=tmp_path / "b")
    assert not (tmp_path / "b").exists()


async def test_an_export_says_what_is_not_sealed_yet(running: SignedJob, tmp_path: Path) -> None:
    sealer = Sealer()
    await sealer.plan(running)
    await sealer.seal(running)
    unfinished = await export_bundle(running.url, running.job.token, folder=tmp_path / "a")
    assert any("not complete" in each for each in unfinished.notes)
    await sign_the_rest(running)
    await sealer.seal(running)
    assert (await export_bundle(running.url, running.job.token, folder=tmp_path / "b")).notes == ()
    await running.execute(
        "SELECT vaultstream.end_keys(job_no, ARRAY[key_id], 'revoked') FROM vaultstream.keys WHERE job_no = $1 LIMIT 1",
        running.job.job_no,
    )
    revoked = await export_bundle(running.url, running.job.token, folder=tmp_path / "c")
    assert any("1 revocation" in each and "log seal" in each for each in revoked.notes)
    await sealer.seal(running)
    assert (await export_bundle(running.url, running.job.token, folder=tmp_path / "d")).notes == ()
