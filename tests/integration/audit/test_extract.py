from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from integration.audit.signed_job import payload_of
from vaultstream.api import Algorithm
from vaultstream.audit.exports.extract import extract_record
from vaultstream.errors import AuditError, NotAllSignedError, UsageError

if TYPE_CHECKING:
    from integration.audit.conftest import MakeJob

pytestmark = pytest.mark.integration


def openssl(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        shlex.split(command), capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]}
    )


def openssl_knows(algorithm: Algorithm) -> bool:
    version = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"OpenSSL (\d+)\.(\d+)", version)
    assert found
    return tuple(map(int, found.groups())) >= ((3, 5) if algorithm is Algorithm.ML_DSA_65 else (3, 0))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_openssl_alone_checks_an_extracted_signature(
    make: MakeJob, tmp_path: Path, algorithm: Algorithm
) -> None:
    signed = await make(algorithm=algorithm, ids=[1, 2, 3])
    to = tmp_path / "for the auditor"
    extract = await extract_record(signed.url, "receipts", "2", to=to)
    assert extract.problem is None
    assert (to / "payload.bin").read_bytes() == payload_of(2).encode()
    record = json.loads((to / "record.json").read_text("utf-8"))
    assert record == extract.record
    assert (record["record_id"], record["status"], record["algorithm"]) == ("2", "valid", algorithm)
    assert record["leases"][0]["batch_no"] == 1
    assert extract.command is not None
    if not openssl_knows(algorithm):
        pytest.skip(f"this openssl does not know {algorithm}")
    checked = openssl(extract.command)
    assert checked.returncode == 0, checked.stderr
    (to / "payload.bin").write_bytes(b"other")
    assert openssl(extract.command).returncode != 0


async def test_a_changed_payload_is_written_and_reported_as_changed(make: MakeJob, tmp_path: Path) -> None:
    signed = await make()
    await signed.execute("UPDATE receipts SET payload = 'other' WHERE id = 2")
    extract = await extract_record(signed.url, "receipts", "2", to=tmp_path)
    assert extract.problem is not None
    assert "changed since" in extract.problem
    assert extract.record["status"] == "changed"
    assert (tmp_path / "payload.bin").read_bytes() == b"other"


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        ("DELETE FROM receipts", "no longer in the source"),
        ("UPDATE receipts SET payload = NULL", "NULL"),
        ("DROP TABLE receipts", "it was dropped"),
    ],
)
async def test_without_a_payload_the_rest_is_written_and_no_stale_payload_left(
    make: MakeJob, tmp_path: Path, loss: str, why: str
) -> None:
    signed = await make()
    await extract_record(signed.url, "receipts", "2", to=tmp_path)
    await signed.execute(loss)
    extract = await extract_record(signed.url, "receipts", "2", to=tmp_path)
    assert extract.problem is not None
    assert why in extract.problem
    assert extract.command is None
    assert names(tmp_path) == {"signature.bin", "public.pem", "record.json"}


async def test_a_bad_signature_is_reported(make: MakeJob, tmp_path: Path) -> None:
    signed = await make()
    await signed.execute("UPDATE {s} SET signature = '\\x00' WHERE record_id = 2")
    extract = await extract_record(signed.url, "receipts", "2", to=tmp_path)
    assert extract.problem is not None
    assert "not valid" in extract.problem


async def test_a_signature_outside_any_lease_is_reported(make: MakeJob, tmp_path: Path) -> None:
    signed = await make()
    await signed.execute("DELETE FROM vaultstream.leases")
    extract = await extract_record(signed.url, "receipts", "2", to=tmp_path)
    assert extract.problem is not None
    assert "not made under a lease" in extract.problem


async def test_a_dead_letter_says_why_it_was_not_signed(make: MakeJob, tmp_path: Path) -> None:
    signed = await make(dead=frozenset({3}))
    with pytest.raises(NotAllSignedError, match="PayloadNull: the payload is NULL"):
        await extract_record(signed.url, "receipts", "3", to=tmp_path)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("record", ["99", "nonsense"])
async def test_an_unknown_record_is_refused(make: MakeJob, tmp_path: Path, record: str) -> None:
    signed = await make()
    with pytest.raises(UsageError, match=record):
        await extract_record(signed.url, "receipts", record, to=tmp_path)


async def test_two_signatures_of_a_record_are_refused(make: MakeJob, tmp_path: Path) -> None:
    signed = await make()
    await signed.execute(f"ALTER TABLE {{s}} DROP CONSTRAINT signatures_{signed.job.job_no}_pkey")
    await signed.execute("INSERT INTO {s} SELECT * FROM {s} WHERE record_id = 2")
    with pytest.raises(AuditError, match="2 signatures"):
        await extract_record(signed.url, "receipts", "2", to=tmp_path)


async def test_a_folder_that_can_not_be_made_is_named(make: MakeJob, tmp_path: Path) -> None:
    signed = await make()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file"):
        await extract_record(signed.url, "receipts", "2", to=tmp_path / "file")
