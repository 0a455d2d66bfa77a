"""Records on standard input: messages name it, not the file that it is copied to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vaultstream.errors import ImportFileError
from vaultstream.importing.checking import check_records
from vaultstream.importing.options import ImportOptions, shown_columns
from vaultstream.importing.source import Format
from vaultstream_cli.input import is_standard_input

pytestmark = pytest.mark.unit

REFUSED = [
    ("csv", b""),
    ("csv", b"\n\n"),
    ("csv", b"id;a\n1;x\n"),
    ("csv", b"id;a;b,c\n1;x;y,z\n"),
    ("csv", b"1,2026-01-01\n2,2026-01-02\n"),
    ("csv", b"id,stra\xdfe\n1,x\n"),
    ("csv", b'id,a\n1,"x\n2,y\n3,z"\n'),
    ("csv", b'id,a\n1,"x\n'),
    ("csv", b"id,a\n1,x\nid,b\n2,y\n"),
    ("csv", "id,a\n1,x\n".encode("utf-16")),
    ("csv", b"{}"),
    ("json", b"[]"),
    ("json", b'[{"id": 1}'),
    ("json", b'{"rows": [{"id": 1}]}'),
    ("json", b'{\n"id": 1\n}\n'),
    ("jsonl", b"\n\n"),
    ("parquet", b"PAR1"),
]


@pytest.mark.parametrize(("form", "content"), REFUSED)
def test_what_is_wrong_with_standard_input_is_said_about_it(
    tmp_path: Path, form: str, content: bytes
) -> None:
    copy = tmp_path / f"stdin.{form}"
    copy.write_bytes(content)
    with pytest.raises(ImportFileError) as refused:
        check_records(copy, ImportOptions("t", "id", format=Format(form), piped=True))
    said = f"{refused.value.message} {refused.value.hint}"
    assert "standard input" in refused.value.message.lower(), said
    assert str(tmp_path) not in said
    assert "stdin." not in said


def test_lint_reads_records_from_standard_input_and_says_when_there_are_none(tmp_path: Path) -> None:
    def lint(content: bytes, *arguments: str, closed: bool = False) -> tuple[int, str]:
        ran = subprocess.run(
            [sys.executable, "-m", "vaultstream_cli", "lint", "-", *arguments],
            cwd=tmp_path,
            input=None if closed else content,
            capture_output=True,
            check=False,
            timeout=60,
            preexec_fn=(lambda: os.close(0)) if closed else None,
        )
        return ran.returncode, (ran.stdout + ran.stderr).decode()

    code, said = lint(b"id,a\n1,x\n,\xfc\n", "--format", "csv")
    assert (code, "standard input:3: is not UTF-8: byte 0xfc" in said) == (2, True), said
    assert "iconv -f WINDOWS-1252" in said
    code, said = lint(b"", "--format", "csv", closed=True)
    assert (code, "Standard input is empty" in said) == (2, True), said
    code, said = lint(b'[{"id": 1}]')
    assert (code, "standard input:1: is not a SigningJob" in said, "--format" in said) == (2, True, True), (
        said
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "whole"), [("-", True), ("/dev/stdin", True), ("/dev/fd/0", True), ("/dev/fd/3", False)]
)
def test_no_name_of_standard_input_is_a_place_for_files(name: str, whole: bool) -> None:
    assert is_standard_input(Path(name)) == whole


def test_no_message_repeats_a_long_line_that_is_taken_for_names() -> None:
    shown = shown_columns(["x" * 1_000_000, *"abc"], 2)
    assert len(shown) < 100
    assert shown.endswith("…', 'a' and 2 more")
