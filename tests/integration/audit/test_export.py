from __future__ import annotations

import csv
import io
import json
from base64 import b64decode
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from pyarrow import parquet

from integration.audit.signed_job import payload_of
from vaultstream.api import Algorithm
from vaultstream.audit.exports.export import export_job
from vaultstream.crypto.algorithms import public_key_from_bytes, verifier
from vaultstream.errors import UsageError
from vaultstream.store.jobs import delete_job

if TYPE_CHECKING:
    from integration.audit.conftest import MakeJob
    from integration.audit.signed_job import SignedJob

pytestmark = pytest.mark.integration

FIELDS = [
    "record_id",
    "payload_sha256",
    "key_id",
    "key_state",
    "algorithm",
    "signature",
    "signed_at",
    "epoch",
]


async def exported(
    signed: SignedJob, folder: Path, *, form: str = "jsonl", records: tuple[str, ...] = ()
) -> Path:
    path = folder / f"export.{form}"
    await export_job(signed.url, signed.job.token, form=form, output=path, records=records)
    return path


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in folder.iterdir()}


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_an_export_can_be_checked_without_the_source_table(
    make: MakeJob, tmp_path: Path, algorithm: Algorithm
) -> None:
    signed = await make(algorithm=algorithm, dead=frozenset({3}))
    keys = await signed.connection.fetch("SELECT key_id, public_key FROM vaultstream.keys")
    await signed.execute("DROP TABLE receipts")
    rows = lines(await exported(signed, tmp_path))
    assert [row["record_id"] for row in rows] == [str(i) for i in range(1, 13) if i != 3]
    public = {row["key_id"]: row["public_key"] for row in keys}
    for row in rows:
        payload = payload_of(row["record_id"]).encode()
        verify = verifier(public_key_from_bytes(public[row["key_id"]]), Algorithm(row["algorithm"]))
        assert verify(b64decode(row["signature"]), payload)
        assert row["payload_sha256"] == sha256(payload).hexdigest()
        assert datetime.fromisoformat(row["signed_at"]).tzinfo is UTC
        assert row["signed_at"].endswith("Z")
        assert len(row["signed_at"].rsplit(".", 1)[1]) == len("123456Z")


async def test_all_forms_say_the_same(make: MakeJob, tmp_path: Path) -> None:
    signed = await make(id_column="text", ids=["b", "a", "東京", 'quo"te', "new\nline", "com,ma"])
    from_lines = lines(await exported(signed, tmp_path))
    text = (await exported(signed, tmp_path, form="csv")).read_bytes().decode()
    from_csv = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [{**row, "epoch": str(row["epoch"])} for row in from_lines] == from_csv
    assert list(from_csv[0]) == FIELDS
    table = parquet.read_table(await exported(signed, tmp_path, form="parquet"))
    assert table.column_names == FIELDS
    for row, line in zip(table.to_pylist(), from_lines, strict=True):
        assert row["record_id"] == line["record_id"]
        assert row["payload_sha256"].hex() == line["payload_sha256"]
        assert row["signature"] == b64decode(line["signature"])
        assert row["signed_at"] == datetime.fromisoformat(line["signed_at"])
        assert row["epoch"] == line["epoch"]


async def test_records_are_in_the_order_of_their_ids(make: MakeJob, tmp_path: Path) -> None:
    signed = await make(ids=[-5, 2, 10, 4_000_000_000])
    assert [row["record_id"] for row in lines(await exported(signed, tmp_path))] == [
        "-5",
        "2",
        "10",
        "4000000000",
    ]
    table = parquet.read_table(await exported(signed, tmp_path, form="parquet"))
    assert table["record_id"].to_pylist() == [-5, 2, 10, 4_000_000_000]


async def test_an_empty_job_exports_an_empty_file_of_each_form(make: MakeJob, tmp_path: Path) -> None:
    signed = await make(ids=[])
    assert (await exported(signed, tmp_path)).read_bytes() == b""
    assert (await exported(signed, tmp_path, form="csv")).read_text() == ",".join(FIELDS) + "\n"
    assert parquet.read_table(await exported(signed, tmp_path, form="parquet")).num_rows == 0


async def test_more_signatures_than_are_read_at_a_time_are_all_written(make: MakeJob, tmp_path: Path) -> None:
    signed = await make(ids=list(range(1, 11)))
    await signed.execute(
        "INSERT INTO {s} SELECT 1000 + n, key_no, epoch, signed_at, digest, signature "
        "FROM (SELECT * FROM {s} LIMIT 1) s, generate_series(1, 12345) AS n"
    )
    seen: list[tuple[int, int]] = []
    path = tmp_path / "all.jsonl"
    written = await export_job(
        signed.url, "receipts", form="jsonl", output=path, progress=lambda *at: seen.append(at)
    )
    assert written == len(lines(path)) == 12355
    assert seen[-1] == (12355, 12355)


async def test_only_the_chosen_records_are_exported(make: MakeJob, tmp_path: Path) -> None:
    ids = [UUID(int=n) for n in range(1, 6)]
    signed = await make(id_column="uuid", ids=ids)
    chosen = (str(ids[3]), str(ids[1]).upper())
    rows = lines(await exported(signed, tmp_path, records=chosen))
    assert [row["record_id"] for row in rows] == [str(ids[1]), str(ids[3])]


@pytest.mark.parametrize("record", ["99", "3", "x", str(2**63)])
async def test_a_record_without_a_signature_is_refused_and_no_file_made(
    make: MakeJob, tmp_path: Path, record: str
) -> None:
    signed = await make(dead=frozenset({3}))
    with pytest.raises(UsageError, match=record):
        await exported(signed, tmp_path, records=("1", record))
    assert contents(tmp_path) == {}


async def test_the_state_of_the_key_is_exported(make: MakeJob, tmp_path: Path) -> None:
    signed = await make(keys=1)
    await signed.execute(
        "SELECT vaultstream.end_keys(job_no, ARRAY[key_id], 'revoked') FROM vaultstream.keys"
    )
    assert {row["key_state"] for row in lines(await exported(signed, tmp_path))} == {"revoked"}


async def test_a_job_deleted_with_retain_is_exported_by_its_token(make: MakeJob, tmp_path: Path) -> None:
    signed = await make()
    await delete_job(signed.connection, signed.job.job_no, "Retain")
    assert len(lines(await exported(signed, tmp_path))) == 12


async def test_a_file_that_was_there_stays_whole_until_the_new_one_is_complete(
    make: MakeJob, tmp_path: Path
) -> None:
    signed = await make()
    path = tmp_path / "export.jsonl"
    path.write_text("old")

    def fail(done: int, total: int) -> None:
        assert path.read_text() == "old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await export_job(signed.url, "receipts", form="jsonl", output=path, progress=fail)
    assert contents(tmp_path) == {"export.jsonl": "old"}
    await exported(signed, tmp_path)
    assert len(lines(path)) == 12


async def test_a_missing_folder_is_named(make: MakeJob, tmp_path: Path) -> None:
    signed = await make()
    with pytest.raises(UsageError, match="nowhere"):
        await exported(signed, tmp_path / "nowhere")
