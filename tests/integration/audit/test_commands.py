"""The commands as processes: what they print, their exit codes, and that they leave no process behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from integration.audit.seal_of import Sealer
from integration.audit.sealed_job import truncate
from support.disks import small_disk
from support.forking import run_command
from support.waiting import eventually
from vaultstream.proof.checkpoint import sign_checkpoint, unverified_checkpoint

if TYPE_CHECKING:
    from integration.audit.conftest import MakeJob
    from integration.audit.sealed_job import SealedJob
    from integration.audit.signed_job import SignedJob

pytestmark = pytest.mark.integration

COMMAND = (
    "import vaultstream_cli.commands.verify, vaultstream_cli.commands.export, vaultstream_cli.commands.extract\n"
    "from vaultstream_cli.root import app\n"
    "app()"
)


SEVERAL_RUNS = list(range(1, 1001))
"""So many records, in batches of 250, that several processes share them."""


def environment(signed: SignedJob) -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": signed.url, "VAULTSTREAM_NATS_URL": "nats://127.0.0.1:4222"}


def run(signed: SignedJob, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(arguments, cwd=folder, env=environment(signed))


def run_in_shell(command: str, folder: Path) -> str:
    return subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False).stdout


async def test_verify_exits_0_and_prints_what_a_machine_reads(make: MakeJob, tmp_path: Path) -> None:
    done = run(await make(dead=frozenset({2})), tmp_path, "verify", "receipts", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    expected = {
        "ok": True,
        "job": "receipts",
        "records": 12,
        "signed": 11,
        "dead": 1,
        "valid": 11,
        "invalid": 0,
        "changed": 0,
        "missing": 0,
        "duplicates": 0,
        "lease_overlaps": 0,
        "committed_twice": 0,
    }
    assert {key: report[key] for key in expected} == expected


async def test_verify_exits_4_and_names_what_it_found(make: MakeJob, tmp_path: Path) -> None:
    signed = await make()
    await signed.execute("DELETE FROM {s} WHERE record_id = 5")
    await signed.execute("DROP TABLE receipts")
    for_machines = run(signed, tmp_path, "verify", "receipts", "--json")
    assert for_machines.returncode == 4
    report = json.loads(for_machines.stdout)
    assert report["examples"]["missing"] == [
        {"record": "5", "reason": "its batch is done, but it has neither a signature nor a dead letter"}
    ]
    assert "it was dropped" in report["notes"][0]
    for_people = run(signed, tmp_path, "verify", "receipts")
    assert for_people.returncode == 4
    assert "11 records changed since being signed; 1 record with neither" in for_people.stderr
    assert "missing: record '5'" in for_people.stderr
    assert "and 6 more" in for_people.stderr


async def test_verify_names_revoked_keys_even_if_it_finds_nothing_wrong(
    make: MakeJob, tmp_path: Path
) -> None:
    signed = await make(keys=1)
    await signed.execute(
        "SELECT vaultstream.end_keys(job_no, ARRAY[key_id], 'revoked') FROM vaultstream.keys"
    )
    key_id = await signed.connection.fetchval("SELECT key_id FROM vaultstream.keys")
    for_people = run(signed, tmp_path, "verify", "receipts")
    assert for_people.returncode == 0, for_people.stderr
    assert f"revoked: 12 signatures under key {key_id}, revoked at" in for_people.stderr
    report = json.loads(run(signed, tmp_path, "verify", "receipts", "--json").stdout)
    assert (report["ok"], report["revoked"], report["after_revocation"]) == (True, 12, 0)
    assert [(key["key_id"], key["signatures"]) for key in report["revoked_keys"]] == [(key_id, 12)]


async def test_verify_takes_keys_that_were_kept_and_rows_that_came_late(
    make: MakeJob, tmp_path: Path
) -> None:
    signed = await make(ids=[1, 2, 3, 5])
    (tmp_path / "kept.jwks").write_text('{"keys": []}')
    await signed.execute("INSERT INTO receipts VALUES (4, 'late'), (9, 'new')")
    report = json.loads(
        run(signed, tmp_path, "verify", "receipts", "--keys", "kept.jwks", "--source", "--json").stdout
    )
    assert (report["rekeyed"], report["uncovered"], report["added_since"]) == (1, 1, 1)
    for_people = run(signed, tmp_path, "verify", "receipts", "--source")
    assert for_people.returncode == 4
    assert "1 row of the source that no batch covers" in for_people.stderr
    assert "uncovered: record '4'" in for_people.stderr
    await signed.execute("DELETE FROM receipts WHERE id = 4")
    assert run(signed, tmp_path, "verify", "receipts", "--source").returncode == 0


async def test_verify_takes_a_seal_key_and_checkpoints_that_were_kept(
    sealed: SealedJob, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(sealed.made.newest)
    vkey = sealed.sealer.key.public_key.vkey
    done = run(
        sealed.signed, tmp_path, "verify", "receipts", "--seal-key", vkey, "--against", "kept", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["seal"]["pinned"] is True
    other = Sealer().key.public_key.vkey
    done = run(
        sealed.signed, tmp_path, "verify", "receipts", "--seal-key", other, "--seal-key", vkey, "--json"
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "none").write_text("no checkpoint")
    done = run(sealed.signed, tmp_path, "verify", "receipts", "--seal-key", vkey, "--against", "none")
    assert (done.returncode, "The file none is no checkpoint" in done.stderr) == (2, True)
    (tmp_path / "others").write_bytes(
        sign_checkpoint(unverified_checkpoint(sealed.made.newest), Sealer().key)
    )
    done = run(sealed.signed, tmp_path, "verify", "receipts", "--seal-key", vkey, "--against", "others")
    assert (done.returncode, "1 kept checkpoint under no key" in done.stderr) == (4, True), done.stderr
    await truncate(sealed)
    (tmp_path / "keys").write_text(f"{vkey}\n")
    done = run(sealed.signed, tmp_path, "verify", "receipts", "--seal-key", "keys", "--against", "kept")
    assert done.returncode == 4
    assert "1 log rolled back to before a checkpoint that was kept" in done.stderr


async def test_verify_uses_the_seal_key_and_the_checkpoint_of_this_machine(
    sealed: SealedJob, tmp_path: Path
) -> None:
    folder = tmp_path / ".vaultstream"
    (folder / "seals").mkdir(parents=True)
    done = run(sealed.signed, tmp_path, "verify", "receipts")
    assert done.returncode == 0
    assert "signed by a key that is not pinned" in done.stderr
    (folder / "seal-key").touch(0o600)
    (folder / "seal-key").write_text(f"{sealed.sealer.key.skey}\n")
    (folder / "seals" / "checkpoint").write_bytes(sealed.made.newest)
    done = run(sealed.signed, tmp_path, "verify", "receipts")
    assert done.returncode == 0
    assert "entry of the log example.com/seals, signed by a known key" in done.stderr
    await truncate(sealed)
    report = json.loads(run(sealed.signed, tmp_path, "verify", "receipts", "--json").stdout)
    assert report["rolled_back"] == 1


async def test_verify_says_that_a_job_is_not_finished(make: MakeJob, tmp_path: Path) -> None:
    done = run(await make(waiting=frozenset({1})), tmp_path, "verify", "receipts")
    assert done.returncode == 4
    assert "not finished: 4 records still to be signed" in done.stderr


async def test_an_unknown_job_exits_2(make: MakeJob, tmp_path: Path) -> None:
    done = run(await make(), tmp_path, "verify", "payslips")
    assert done.returncode == 2
    assert "no job named 'payslips'" in done.stderr


async def test_export_writes_to_standard_output_or_a_file(make: MakeJob, tmp_path: Path) -> None:
    signed = await make()
    streamed = run(signed, tmp_path, "export", "receipts", "--format", "csv")
    assert streamed.returncode == 0, streamed.stderr
    assert len(streamed.stdout.splitlines()) == 13
    filed = run(
        signed, tmp_path, "export", "receipts", "--format", "csv", "--output", "out.csv", "--records", "1"
    )
    assert filed.returncode == 0, filed.stderr
    assert filed.stdout == ""
    assert (tmp_path / "out.csv").read_text().splitlines() == streamed.stdout.splitlines()[:2]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB with nothing free but names."""
    with small_disk(tmp_path / "disk", "64k") as folder:
        with contextlib.suppress(OSError):
            (folder / "ballast").write_bytes(b"\0" * 65536)
        yield folder


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
async def test_a_full_disk_is_reported_with_the_name_of_the_file(
    make: MakeJob, full_disk: Path, tmp_path: Path, form: str
) -> None:
    full = run(await make(), tmp_path, "export", "receipts", "--format", form, "-o", str(full_disk / "out"))
    assert full.returncode == 1
    assert f"{full_disk / 'out'} can't be written: No space left on device." in full.stderr
    assert "try: Free some space" in full.stderr
    assert "Traceback" not in full.stderr
    assert "ignored" not in full.stderr
    assert names(full_disk) == ["ballast"]


@pytest.fixture
def full_output() -> Iterator[int]:
    with Path("/dev/full").open("w") as full:
        yield full.fileno()


@pytest.mark.parametrize("arguments", [["export", "receipts"], ["verify", "receipts", "--json"]])
async def test_a_full_standard_output_is_reported(
    make: MakeJob, full_output: int, tmp_path: Path, arguments: list[str]
) -> None:
    done = await asyncio.to_thread(_piped, await make(), tmp_path, arguments, full_output)
    assert done.returncode == 1
    assert "Standard output can't be written: No space left on device." in done.stderr
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr


async def test_a_closed_pipe_ends_an_export_quietly(make: MakeJob, tmp_path: Path) -> None:
    signed = await make()
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = await asyncio.to_thread(_piped, signed, tmp_path, ["export", "receipts"], writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def _piped(
    signed: SignedJob, folder: Path, arguments: list[str], output: int
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=folder,
        env=environment(signed),
        timeout=60,
    )


async def test_a_negative_record_id_is_not_an_option(make: MakeJob, tmp_path: Path) -> None:
    done = run(await make(), tmp_path, "extract", "receipts", "-3000000000", "--to", "out")
    assert done.returncode == 2
    assert "no signature of record '-3000000000'" in done.stderr


async def test_parquet_requires_a_file(make: MakeJob, tmp_path: Path) -> None:
    done = run(await make(), tmp_path, "export", "receipts", "--format", "parquet")
    assert done.returncode == 2
    assert "--output" in done.stderr


async def test_extract_prints_the_command_that_checks_the_signature(make: MakeJob, tmp_path: Path) -> None:
    signed = await make()
    done = run(signed, tmp_path, "extract", "receipts", "7", "--to", "out")
    assert done.returncode == 0, done.stderr
    assert run_in_shell(done.stdout, tmp_path) == "Verified OK\n"
    await signed.execute("UPDATE receipts SET payload = 'other'")
    changed = run(signed, tmp_path, "extract", "receipts", "7", "--to", "out", "--json")
    assert changed.returncode == 4
    assert json.loads(changed.stdout)["status"] == "changed"
    assert "changed since" in changed.stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
async def test_a_verification_that_is_stopped_or_killed_leaves_no_process_and_no_query_behind(
    make: MakeJob, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    signed = await make(ids=SEVERAL_RUNS, batch_size=250, payload_column="text")
    await signed.read_through("id, CASE WHEN pg_sleep(60) IS NOT NULL THEN payload END AS payload")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COMMAND, "verify", "receipts", "--processes", "2"),
        cwd=tmp_path,
        env=environment(signed),
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )

    async def sleeping(count: int) -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vaultstream-verify' AND wait_event = 'PgSleep'"
        return await signed.connection.fetchval(query) == count

    await eventually(lambda: sleeping(2))
    children = psutil.Process(process.pid).children(recursive=True)
    verifiers = [child for child in children if "vaultstream.audit.process" in child.cmdline()]
    assert len(verifiers) == 2
    assert not any(signed.url in argument for child in children for argument in child.cmdline())
    process.send_signal(number)
    _, complaint = await process.communicate()
    assert process.returncode == code
    assert b"Traceback" not in complaint
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=15)
    assert alive == []
    if number == signal.SIGKILL:  # the verifiers had the time to cancel what they had asked
        await eventually(lambda: sleeping(0))


async def test_the_death_of_a_verifying_process_is_an_error_and_not_a_pass(
    make: MakeJob, tmp_path: Path
) -> None:
    signed = await make(ids=SEVERAL_RUNS, batch_size=250, payload_column="text")
    await signed.read_through("id, CASE WHEN pg_sleep(60) IS NOT NULL THEN payload END AS payload")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COMMAND, "verify", "receipts", "--processes", "2"),
        cwd=tmp_path,
        env=environment(signed),
        stderr=asyncio.subprocess.PIPE,
    )

    def verifiers() -> list[psutil.Process]:
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if "vaultstream.audit.process" in child.cmdline()]

    async def started() -> bool:
        return len(verifiers()) == 2

    await eventually(started)
    verifiers()[0].kill()
    _, complaint = await process.communicate()
    assert process.returncode == 1
    assert b"ended unexpectedly with exit status -9" in complaint


@pytest.mark.parametrize("ids", [[1, 2], SEVERAL_RUNS], ids=["alone", "in-another-process"])
async def test_an_error_of_postgres_in_a_verifying_process_is_reported(
    make: MakeJob, tmp_path: Path, ids: list[int]
) -> None:
    signed = await make(ids=ids, batch_size=250, payload_column="text")
    await signed.read_through("id, (1 / (id - id))::text AS payload")
    done = run(signed, tmp_path, "verify", "receipts")
    assert done.returncode == 5
    assert "division by zero" in done.stderr
