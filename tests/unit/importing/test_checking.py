"""A file of records is checked as an import reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from vaultstream.errors import ImportFileError
from vaultstream.importing.checking import RejectedLine, check_records, holds_records
from vaultstream.importing.options import ImportOptions
from vaultstream_cli.main import load
from vaultstream_cli.root import app

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

OPTIONS = ImportOptions(table="-", id_column="id")


def test_each_line_that_an_import_would_reject_is_counted_and_named(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,a\n1,x\n,y\n3,z,too,many\n4,w\n")
    checked = check_records(file, OPTIONS)
    assert (checked.form, checked.columns, checked.numbered) == ("CSV", ("id", "a"), False)
    assert (checked.rows, checked.rejected) == (2, 2)
    assert [reject.line for reject in checked.rejects] == [3, 4]
    assert all(isinstance(reject, RejectedLine) and reject.reason for reject in checked.rejects)


@pytest.mark.parametrize(
    ("name", "text", "records"),
    [
        ("a.csv", "", True),
        ("a.jsonl.gz", "", True),
        ("a.parquet", "", True),
        ("a.yaml", "", False),
        ("job", "", False),
        ("a.json", ' [{"id": 1}]', True),
        ("a.json", '{"id": 1}', True),
        ("a.json", '{"kind": "SigningJob"}', False),
    ],
)
def test_jobs_and_records_are_told_apart(tmp_path: Path, name: str, text: str, records: bool) -> None:
    (tmp_path / name).write_text(text)
    assert holds_records(tmp_path / name) is records


def test_lint_checks_jobs_and_records_without_creating_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.csv").write_text("id,a\n1,x\n")
    (tmp_path / "bad.csv").write_text("id,a\n1,x\n,y\n")
    (tmp_path / "job.yaml").write_text("kind: SigningJob\nspec: {records: {tabel: x}}\n")
    before = sorted(tmp_path.iterdir())
    good, bad, job = (CliRunner().invoke(app, ["lint", each]) for each in ("good.csv", "bad.csv", "job.yaml"))
    assert good.exit_code == 0, good.output
    assert "1 record;" in good.output
    assert bad.exit_code == job.exit_code == 2
    assert "bad.csv:3: " in bad.output
    assert "tabel" in job.output
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("ending", ["bz2", "xz", "zst"])
def test_a_compression_that_an_import_lacks_is_refused_by_its_extension(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"in.csv.{ending}"
    file.write_bytes(b"\xfd7zXZ\0")
    assert holds_records(file)
    with pytest.raises(ImportFileError, match="extension"):
        check_records(file, OPTIONS)
