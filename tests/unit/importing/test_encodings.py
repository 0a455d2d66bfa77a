"""What is not text in UTF-8 is refused with the name of what it is, also without a byte order mark."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.reading import read, reasons
from vaultstream.errors import ImportFileError
from vaultstream.importing.encoding import fault_of_bytes, other_format_of, structure_of, wide_encoding_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

WIDE = ["UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"]
TEXTS = ["id,name\n1,Ada\n", "番号,名前\r\n1,売上\r\n2,日本語の長い文字列です\r\n", '{"id": 1, "n": "😀"}\n']


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_wide_encoding_is_recognized_with_and_without_its_mark(text: str, encoding: str, mark: str) -> None:
    raw = (mark + text).encode(encoding)
    assert wide_encoding_of(raw) == encoding
    assert wide_encoding_of(raw[:-1]) == encoding  # as where the first bytes end within a character


@given(st.text(st.characters(codec="utf-8")), st.integers(0, 2))
def test_text_in_utf8_is_never_taken_for_another_encoding(text: str, nuls: int) -> None:
    raw = ("id,name,amount of it\n" + text.replace("\0", "")).encode() + b"\0" * nuls
    assert wide_encoding_of(raw) is None


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.csv.gz"])
def test_a_file_in_a_wide_encoding_is_refused_with_the_command_that_converts_it(
    tmp_path: Path, name: str
) -> None:
    raw = "id,name\n1,Ada\n".encode("utf-16-le")
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    with pytest.raises(ImportFileError, match="is written in UTF-16LE") as refused:
        read(tmp_path / name)
    assert "iconv -f UTF-16LE" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"1,Z\xfcrich", "is not UTF-8: byte 0xfc at position 4, which is 'ü' in Windows-1252"),
        (b"1,5 \x80", "is not UTF-8: byte 0x80 at position 5, which is '€' in Windows-1252"),
        (b"1,\x81", "is not UTF-8: byte 0x81 at position 3"),  # no character of it
        ("1,Zürich,".encode() + b"\xe2\x82", "is not UTF-8: byte 0xe2 at position 11"),  # cut off
    ],
)
def test_the_character_of_a_byte_that_is_not_utf8_is_named(raw: bytes, fault: str) -> None:
    assert fault_of_bytes(raw) == fault


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.json"])
def test_a_record_in_windows_1252_is_rejected_with_the_character_that_it_has(
    tmp_path: Path, name: str
) -> None:
    text = "id,a\n1,Zürich\n2,x\n" if name == "in.csv" else '{"id": 1, "a": "Zürich"}\n{"id": 2}\n'
    text = "[" + text.replace("}\n{", "},\n{") + "]" if name == "in.json" else text
    (tmp_path / name).write_bytes(text.encode("cp1252"))
    rows, (reject,) = read(tmp_path / name)
    assert [row.id for row in rows] == ["2"]
    assert "which is 'ü' in Windows-1252" in reject.reason


def test_a_header_in_another_encoding_comes_with_the_command_that_converts_it(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes("id,Straße\n1,x\n".encode("cp1252"))
    with pytest.raises(ImportFileError, match="which is 'ß' in Windows-1252") as refused:
        read(tmp_path / "in.csv")
    assert "iconv -f WINDOWS-1252 -t UTF-8" in str(refused.value.hint)


def test_a_record_with_a_nul_byte_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(b"id,name\n1,a\n2,b\0c\n3,d\n")
    rows, rejects = read(path)
    assert [row.id for row in rows] == ["1", "3"]
    assert reasons(rejects) == [(3, "contains a NUL byte, which is no part of text")]


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"PK\x03\x04rest", "an Excel workbook"),
        (b"\x1f\x8brest", "gzip"),
        (b"PAR1rest", "a Parquet file"),
        (b"7z\xbc\xaf\x27\x1crest", "a 7z archive"),
        (b"PGDMP\x01\x0e\0rest", "a dump of Postgres"),
        (b"a.csv".ljust(257, b"\0") + b"ustar\x0000", "a tar archive"),
        (b"\x28\xb5\x2f\xfdrest", "Zstandard"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html>", "an HTML page"),
        (b"<?xml version='1.0'?>", "an XML document"),
    ],
)
def test_another_format_under_the_extension_of_a_text_is_refused(
    tmp_path: Path, raw: bytes, what: str
) -> None:
    assert other_format_of(b"id,name\n") is None
    path = tmp_path / "in.csv"
    path.write_bytes(raw)
    with pytest.raises(ImportFileError, match=what):
        read(path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"id": 1, "a": 2}\n', "JSON"),
        ('\ufeff\n [\n  {"id": 1}\n]\n', "JSON"),
        ("[]", "JSON"),
        ("---\nid: 1\n", "YAML"),
    ],
)
def test_json_or_yaml_that_is_read_as_csv_is_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "in.csv").write_text(text, "utf-8")
    with pytest.raises(ImportFileError, match=f"in.csv is not CSV: it begins as {what} does"):
        read(tmp_path / "in.csv")


@pytest.mark.parametrize("header", ["[id],[name]\n", "---,id\n", '"[1]",id\n', "id,{a}\n"])
def test_a_header_with_brackets_is_no_json(header: str) -> None:
    assert structure_of(header.encode()) is None
