"""The bundle of a job is exported from Postgres, and accepted by all verifiers without it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from integration.audit.signed_job import RecordId, SignedJob, make_job, payload_of
from support.as_user import connect
from support.bundles import checkers, our_verdict, run_checker
from support.command import Command
from vaultstream.api import Algorithm, SignatureForm
from vaultstream.bundle import export as exporting
from vaultstream.bundle.export import export_bundle
from vaultstream.bundle.layout import BundledRecord
from vaultstream.errors import SourceError, UsageError
from vaultstream.store.audit_events import list_audit_events

pytestmark = pytest.mark.integration

HOSTILE: list[RecordId] = ["' OR 1=1", '"', "../x", "10", "9", "\x1b[2J", "a\nb", "é", "☃", "\U0001f510"]


def records_of(folder: Path) -> list[BundledRecord]:
    return [BundledRecord.parse(line) for line in (folder / "records.jsonl").read_bytes().splitlines()]


def all_accept(folder: Path, programs: Path) -> None:
    """Checks that no verifier finds a fault, with the exported keys as the pinned ones."""
    keys = pinned_by(folder)
    for command in checkers(programs).values():
        verdict = run_checker(command, folder, "--keys", keys)
        assert not verdict.faults, verdict.output
    assert our_verdict_of(folder) == 0


def our_verdict_of(folder: Path) -> int:
    return our_verdict(folder, "--keys", pinned_by(folder)).code


def pinned_by(folder: Path) -> str:
    """Returns a file with the keys as somebody kept them who does not know of revocations."""
    keys = json.loads((folder / "keys.jwks").read_text())["keys"]
    kept = folder.parent / "kept.jwks"
    kept.write_text(
        json.dumps(
            {"keys": [{n: v for n, v in key.items() if n not in {"state", "revoked"}} for key in keys]}
        )
    )
    return str(kept)


@pytest.mark.parametrize(
    ("id_column", "ids", "algorithm", "form"),
    [
        ("bigint", list(range(-3, 10)), Algorithm.ECDSA_P256_SHA256, SignatureForm.RAW),
        ("uuid", [UUID(int=n << 100) for n in range(1, 8)], Algorithm.ED25519, SignatureForm.JWS),
        (
            "text",
            sorted(HOSTILE, key=lambda one: str(one).encode()),
            Algorithm.RSA_PSS_3072_SHA256,
            SignatureForm.RAW,
        ),
        ("text", ["a", "b"], Algorithm.ECDSA_P256_SHA256, SignatureForm.JWS),
        ("bigint", [1, 2, 3], Algorithm.ML_DSA_65, SignatureForm.RAW),
    ],
)
async def test_a_job_is_exported_with_all_that_was_signed(  # noqa: PLR0917 - fixtures and parameters
    migrated_url: str,
    tmp_path: Path,
    programs: Path,
    id_column: str,
    ids: list[RecordId],
    algorithm: Algorithm,
    form: SignatureForm,
) -> None:
    async with connect(migrated_url) as connection:
        job = await make_job(
            connection,
            migrated_url,
            id_column=id_column,
            ids=ids,
            algorithm=algorithm,
            dead=frozenset({ids[1]}),
            form=form,
        )
        await connection.execute(
            "UPDATE vaultstream.keys SET state = 'revoked', ended_at = now() WHERE ordinal = 1"
        )
    for payloads in (True, False):
        folder = tmp_path / f"bundle-{payloads}"
        exported = await export_bundle(migrated_url, job.job.name, folder=folder, payloads=payloads)
        signed = [one for one in ids if one != ids[1]]
        found = records_of(folder)
        assert [record.record_id for record in found] == [str(one) for one in signed]
        assert [record.payload for record in found] == [
            payload_of(one).encode() if payloads else None for one in signed
        ]
        assert exported.about.records == len(signed)
        assert '"state": "revoked"' in (folder / "keys.jwks").read_text()
        await asyncio.to_thread(all_accept, folder, programs)


@pytest.fixture
async def job(migrated_url: str) -> AsyncIterator[SignedJob]:
    async with connect(migrated_url) as connection:
        yield await make_job(connection, migrated_url)


async def test_changed_and_deleted_payloads_are_left_out(job: SignedJob, tmp_path: Path) -> None:
    await job.execute("UPDATE receipts SET payload = 'x' WHERE id = 2")
    await job.execute("DELETE FROM receipts WHERE id = 3")
    exported = await export_bundle(job.url, job.job.name, folder=tmp_path / "b", payloads=True)
    absent = [record.record_id for record in records_of(tmp_path / "b") if record.payload is None]
    assert (absent, exported.about.payloads) == (["2", "3"], 10)
    assert any("2 payloads left out" in note for note in exported.notes)
    assert await asyncio.to_thread(our_verdict_of, tmp_path / "b") == 0


async def test_payloads_are_held_in_parts_of_limited_size(
    job: SignedJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "HELD_BYTES", 60)
    monkeypatch.setattr(exporting, "BATCH_ROWS", 5)
    await export_bundle(job.url, job.job.name, folder=tmp_path / "b", payloads=True)
    assert [record.payload for record in records_of(tmp_path / "b")] == [
        payload_of(i).encode() for i in job.ids
    ]


async def test_a_signature_under_no_statement_is_a_fault_of_the_bundle(
    job: SignedJob, tmp_path: Path, programs: Path
) -> None:
    await job.execute("DELETE FROM vaultstream.statements WHERE batch_no = 2")
    await export_bundle(job.url, job.job.name, folder=tmp_path / "b")
    assert await asyncio.to_thread(our_verdict_of, tmp_path / "b") == 1
    for command in checkers(programs).values():
        verdict = await asyncio.to_thread(
            run_checker, command, tmp_path / "b", "--keys", str(tmp_path / "b" / "keys.jwks")
        )
        assert any("record 5 is under no statement" in fault for fault in verdict.faults)


async def test_nothing_is_left_of_an_export_that_fails(job: SignedJob, tmp_path: Path) -> None:
    await job.execute("DROP TABLE receipts")
    with pytest.raises(SourceError):
        await export_bundle(job.url, job.job.name, folder=tmp_path / "b", payloads=True)
    assert not [each.name for each in await asyncio.to_thread(lambda: [*tmp_path.iterdir()])]
    events = await list_audit_events(job.connection, job.job.job_no)
    assert (events[-1].action, events[-1].arguments) == (
        "export",
        {"what": "bundle", "payloads": "true"},
    )


async def test_no_folder_is_overwritten(job: SignedJob, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for folder in (tmp_path, tmp_path / "dangling"):
        with pytest.raises(UsageError):
            await export_bundle(job.url, job.job.name, folder=folder)


async def test_the_commands_export_and_verify_without_a_database(job: SignedJob, tmp_path: Path) -> None:
    await asyncio.to_thread(run_the_commands, job.url, tmp_path)


def run_the_commands(url: str, folder: Path) -> None:
    (folder / "auditor").mkdir()
    command, auditor = Command(folder), Command(folder / "auditor")
    bundle, pinned = ["--bundle", str(folder / "b")], ["--keys", str(folder / "pinned.jwks")]
    command.run("export", "receipts", *bundle, "--payloads", DATABASE_URL=url)
    command.run("keys", "export", "receipts", "--output", pinned[1], DATABASE_URL=url)
    report = auditor.json("verify", *bundle, *pinned)
    assert (report["ok"], report["records"], report["payloads"], report["faults"]) == (True, 12, 12, [])
    assert list(auditor.folder.iterdir()) == []  # no database was made for it
    assert "nothing shows whose keys" in auditor.run("verify", *bundle, expect=4).stderr
    records = folder / "b" / "records.jsonl"
    records.write_bytes(b"".join(records.read_bytes().splitlines(keepends=True)[1:]))
    assert "batch 1" in auditor.run("verify", *bundle, *pinned, expect=4).stderr
    for wrong in (["verify"], ["verify", "receipts", *bundle], ["export", "receipts", "--payloads"]):
        auditor.run(*wrong, expect=2)
