"""Bundles of every form are accepted: each algorithm, raw or JWS, with payloads or without, sealed or not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from integration.bundle.conftest import Judge
from support.bundles import ORIGIN, TOKEN, MadeBundle, batches_of, checkers, run_checker
from support.proving import SignedBatch
from vaultstream.api import Algorithm
from vaultstream.bundle import verify as verifying
from vaultstream.bundle.contents import read_contents
from vaultstream.bundle.folder import BundleFolder
from vaultstream.bundle.records import Assembly, Expectation, RecordsChecker, RecordsPart
from vaultstream.proof.note import NoteSigningKey

pytestmark = pytest.mark.integration

FORMS = [
    (algorithm, form, payloads)
    for algorithm in Algorithm
    for form in ("Raw", "JWS")
    for payloads in (True, False)
]


def made_as(algorithm: Algorithm, form: str, *, payloads: bool = True, sealed: bool = True) -> MadeBundle:
    batches = batches_of(3, 1, algorithm=algorithm, jws=form == "JWS")
    return MadeBundle(batches, signature_format=form, payloads=payloads, sealed=sealed, dead=["5"])


@pytest.mark.parametrize(("algorithm", "form", "payloads"), FORMS)
def test_a_bundle_of_each_form_is_accepted(
    judge: Judge, tmp_path: Path, algorithm: Algorithm, form: str, payloads: bool
) -> None:
    made = made_as(algorithm, form, payloads=payloads)
    made.write(tmp_path / "bundle")
    verdict = judge(tmp_path / "bundle", "--seal-key", made.vkey)
    assert not verdict.faults, verdict.output
    if "statements: ML-DSA needs Node" in verdict.not_checked:
        assert algorithm == Algorithm.ML_DSA_65
        assert verdict.code == 3
        return
    assert verdict.code == 0, verdict.output
    by_digest = form == "Raw" and algorithm in (Algorithm.ECDSA_P256_SHA256, Algorithm.RSA_PSS_3072_SHA256)
    checked = payloads or (by_digest and "Node" not in verdict.not_checked)
    assert ("the own signatures of 4 records" in verdict.not_checked) == (not checked)


@pytest.mark.parametrize("form", ["Raw", "JWS"])
@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_signature_of_another_record_is_refused_in_each_form(
    judge: Judge, tmp_path: Path, algorithm: Algorithm, form: str
) -> None:
    made = made_as(algorithm, form)
    batch = made.batches[0]
    batch.signatures[0] = batch.signatures[1]  # before its key states it
    made.write(tmp_path / "bundle")
    verdict = judge(tmp_path / "bundle", "--seal-key", made.vkey)
    if "statements: ML-DSA needs Node" in verdict.not_checked:
        return
    assert verdict.code == 1
    assert any("signature of record" in fault for fault in verdict.faults)


def test_a_job_without_a_seal_has_statements_only(judge: Judge, tmp_path: Path) -> None:
    made = made_as(Algorithm.ED25519, "Raw", sealed=False)
    made.write(tmp_path / "bundle")
    keys = str(tmp_path / "bundle" / "keys.jwks")
    verdict = judge(tmp_path / "bundle", "--keys", keys)
    assert verdict.code == 0
    assert "that no batch is missing" in verdict.not_checked
    assert judge(tmp_path / "bundle", "--keys", keys, "--seal-key", made.vkey).code == 1


def test_an_empty_bundle_without_a_seal_is_refused(judge: Judge, tmp_path: Path) -> None:
    made = made_as(Algorithm.ED25519, "Raw", sealed=False)
    made.write(tmp_path / "bundle")
    for name in ("records.jsonl", "statements.jsonl"):
        (tmp_path / "bundle" / name).write_bytes(b"")
    about = tmp_path / "bundle" / "bundle.json"
    about.write_bytes(about.read_bytes().replace(b'"records":4', b'"records":0'))
    assert judge(tmp_path / "bundle", "--keys", str(tmp_path / "bundle" / "keys.jwks")).code == 1


def test_what_was_signed_since_the_seal_is_checked_and_named(judge: Judge, tmp_path: Path) -> None:
    first, second, third = batches_of(3, 1, 2)
    made = MadeBundle([first, second], dead=third.ids, after_seal=[third])
    made.write(tmp_path / "bundle")
    verdict = judge(tmp_path / "bundle", "--seal-key", made.vkey)
    assert verdict.code == 0, verdict.output
    assert "no batch from after the seal is missing: 1" in verdict.not_checked


def test_a_running_job_is_sealed_in_part(judge: Judge, tmp_path: Path) -> None:
    made = MadeBundle(
        batches_of(3, 1), seal_changes={"state": "Running", "dead": 0}, plan_changes={"records": 90}
    )
    made.write(tmp_path / "bundle")
    verdict = judge(tmp_path / "bundle", "--seal-key", made.vkey)
    assert (verdict.code, verdict.faults, verdict.not_checked) == (3, [], ""), verdict.output
    assert "The job was not complete when it was sealed: it was Running" in verdict.output
    assert "Nothing is wrong" not in verdict.output


@pytest.mark.parametrize("sealed", [True, False])
def test_a_job_that_was_not_complete_at_its_export_is_not_accepted(
    judge: Judge, tmp_path: Path, sealed: bool
) -> None:
    made = MadeBundle(batches_of(3, 1), sealed=sealed, state="Running")
    made.write(tmp_path / "bundle")
    verdict = judge(tmp_path / "bundle", "--keys", str(tmp_path / "bundle" / "keys.jwks"))
    assert (verdict.code, verdict.faults) == (3, []), verdict.output
    assert "The job was not complete when it was exported: it was Running" in verdict.output


def test_a_complete_job_that_was_deleted_and_sealed_again_is_complete(judge: Judge, tmp_path: Path) -> None:
    made = MadeBundle(batches_of(3, 1), seal_changes={"state": "Deleted"})
    made.write(tmp_path / "bundle")
    assert judge(tmp_path / "bundle", "--seal-key", made.vkey).code == 0


def test_a_job_that_was_deleted_half_way_is_not_complete_whatever_the_bundle_says(
    judge: Judge, tmp_path: Path
) -> None:
    """Its seal does not say how it ended. Nothing signs the state in bundle.json, and the plan can be removed."""
    half = {"records": 40, "batches": 5, "upper_id": "40"}
    made = MadeBundle(batches_of(5, 1), seal_changes={"state": "Deleted"}, plan_changes=half)
    made.write(tmp_path / "bundle")
    assert judge(tmp_path / "bundle", "--seal-key", made.vkey).code == 1
    for name in ("plan.json", "plan.tlog-proof"):
        (tmp_path / "bundle" / name).unlink()
    verdict = judge(tmp_path / "bundle", "--seal-key", made.vkey)
    assert verdict.code == 3, verdict.output
    assert "The job was not complete when it was sealed: it was Deleted" in verdict.output


def test_a_key_that_was_revoked_after_the_seal_is_named(judge: Judge, tmp_path: Path) -> None:
    made = MadeBundle(batches_of(3, 1))
    made.write(tmp_path / "bundle")
    pinned = tmp_path / "pinned.jwks"
    pinned.write_text(made.pinned)
    key_id = f"{TOKEN}-key-2"
    for after, code in ((timedelta(days=1), 0), (timedelta(days=-1), 1)):
        (tmp_path / "bundle" / "keys.jwks").write_text(replace(made, revoked={key_id: after}).jwks)
        verdict = judge(tmp_path / "bundle", "--keys", str(pinned), "--seal-key", made.vkey)
        assert verdict.code == code, verdict.output
        assert f"key {key_id} is revoked, after the seal" in verdict.output
        assert "revoked keys: 1" in verdict.output or "batches" not in verdict.output
        assert any("batch 2" in fault and "after its key" in fault for fault in verdict.faults) == bool(code)


def test_a_bundle_under_a_former_seal_key_is_accepted_with_all_keys(judge: Judge, tmp_path: Path) -> None:
    made = MadeBundle(batches_of(3))
    made.write(tmp_path / "bundle")
    newer = NoteSigningKey(ORIGIN, Ed25519PrivateKey.generate()).public_key.vkey
    refused = judge(tmp_path / "bundle", "--seal-key", newer)
    assert refused.code == 1
    assert made.seal_key.key_id.hex() in refused.faults[0]
    assert ".." not in refused.output
    assert judge(tmp_path / "bundle", "--seal-key", newer, "--seal-key", made.vkey).code == 0
    assert judge(tmp_path / "bundle", "--seal-key", f"{newer}\n{made.vkey}").code == 0
    (tmp_path / "keys").write_text(f"{newer}\n{made.vkey}\n")
    assert judge(tmp_path / "bundle", "--seal-key", str(tmp_path / "keys")).code == 0


@pytest.mark.parametrize(
    "case",
    [
        ("none", (), "There is no folder"),
        ("bundle", ("--seal-key", "nokey"), "--seal-key nokey"),
        ("bundle", ("--seal-key", "example.com+01020304+AQID"), "--seal-key example.com"),
        ("bundle", ("--keys", "nofile"), "--keys nofile"),
        ("bundle", ("--keys", __file__), "--keys"),
    ],
)
@pytest.mark.parametrize("program", ["verify.py", "verify.mjs"])
def test_arguments_that_cannot_be_used_are_no_faults_of_the_bundle(
    programs: Path, tmp_path: Path, program: str, case: tuple[str, tuple[str, ...], str]
) -> None:
    folder, options, named = case
    MadeBundle(batches_of(1)).write(tmp_path / "bundle")
    if (command := checkers(programs).get(program)) is None:
        pytest.skip("Node is not installed")
    verdict = run_checker(command, tmp_path / folder, *options)
    assert (verdict.code, verdict.faults) == (2, []), verdict.output
    assert named in verdict.output
    assert "Traceback" not in verdict.output


def test_a_dead_record_that_was_retried_is_signed_and_no_longer_dead(judge: Judge, tmp_path: Path) -> None:
    made = MadeBundle(batches_of(3, 1), dead=["2"], seal_changes={"dead": 0}, plan_changes={"records": 4})
    made.write(tmp_path / "bundle")
    verdict = judge(tmp_path / "bundle", "--seal-key", made.vkey)
    assert verdict.code == 0, verdict.output


HOSTILE = [
    "\x00",
    "\x1b[2J",
    "' OR 1=1",
    '"',
    "\\",
    "a\nb",
    "é",
    "☃",
    "\U0001f510",
    "\u2028",
    "../../etc/passwd",
]


def test_ids_of_any_text_are_accepted_in_the_order_of_their_bytes(judge: Judge, tmp_path: Path) -> None:
    ids = sorted(HOSTILE, key=str.encode)
    batches = [SignedBatch(1, ids[::2], token=TOKEN), SignedBatch(2, ids[1::2], token=TOKEN)]
    made = MadeBundle(batches, id_type="text")
    made.write(tmp_path / "bundle")
    verdict = judge(tmp_path / "bundle", "--seal-key", made.vkey)
    assert verdict.code == 0, verdict.output


def test_batches_may_be_interwoven_and_their_records_in_parts_of_any_size(tmp_path: Path) -> None:
    ids = [str(each) for each in range(-40, 60)]
    batches = [SignedBatch(number + 1, ids[number::4], token=TOKEN) for number in range(3)]
    batches += [SignedBatch(4, ids[3::4][:9], token=TOKEN), SignedBatch(5, ids[3::4][9:], token=TOKEN)]
    MadeBundle(batches, payloads=False).write(tmp_path / "bundle")
    folder, faults = BundleFolder(tmp_path / "bundle"), list[str]()
    contents = read_contents(folder, faults.append)
    checker = RecordsChecker(Expectation.of(contents))
    size = folder.size("records.jsonl")
    for step in (1, 100, 1000, 4096, size):
        assembly = Assembly(contents)
        for start in range(0, size, step):
            assembly.add(checker.check(folder.lines("records.jsonl", start, start + step)))
        total: RecordsPart = assembly.finish()
        assert (total.records, total.fault_count, faults) == (100, 0, [])


async def test_processes_find_what_one_process_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = MadeBundle(batches_of(200, 200, 100), revoked={f"{TOKEN}-key-2": timedelta(minutes=5)})
    made.write(tmp_path / "bundle")
    path = tmp_path / "bundle" / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:77], *lines[78:], lines[3]]))
    one = await verifying.verify_bundle(tmp_path / "bundle", processes=1)
    monkeypatch.setattr(verifying, "MIN_PART_BYTES", 5000)
    several = await verifying.verify_bundle(tmp_path / "bundle", processes=2)
    assert (several.fault_count, several.faults) == (one.fault_count, one.faults)
    assert several.fault_count == 2


async def test_a_long_id_at_fault_is_not_kept_whole(tmp_path: Path) -> None:
    MadeBundle(batches_of(1), id_type="text").write(tmp_path / "bundle")
    path = tmp_path / "bundle" / "records.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"id":"1"', b'"id":"%s"' % (b"9" * 1_000_000)) * 3)
    report = await verifying.verify_bundle(tmp_path / "bundle", processes=1)
    assert report.fault_count > 3
    assert max(map(len, report.faults)) < 1000


def test_the_programs_import_nothing_of_vaultstream(programs: Path) -> None:
    code = "import sys, verify; print([name for name in sys.modules if name.startswith('vaultstream')])"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=programs, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["verify.py", "formats.py", "verify.mjs", "formats.mjs"])
def test_each_program_is_short_enough_to_be_read(programs: Path, name: str) -> None:
    assert len((programs / name).read_text().splitlines()) < 200
