"""A cell of an exported CSV file never starts a formula, and has the exact value for a program."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vaultstream.audit.exports.formats import (
    ExportedSignature,
    ExportFormat,
    fields,
    open_writer,
    read_cell,
    write_cell,
)

pytestmark = pytest.mark.unit

HARMLESS = re.compile(r"-?[0-9]+(\.[0-9]+)?|-{1,2}[A-Za-z]+(-[A-Za-z]+)*")
STARTS = "=+-@＝＋－＠\t\r\n"  # noqa: RUF001 - the wide signs are meant
TEXT = st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from(STARTS + "';,\" "))


def exported(*record_ids: str, signature: bytes = b"s") -> str:
    stream = io.BytesIO()
    writer = open_writer(ExportFormat.CSV, stream, id_type="text")
    at = datetime(2026, 1, 2, tzinfo=UTC)
    writer.write(
        [ExportedSignature(i, b"d", "k-1", "active", "ED25519", signature, at, 1) for i in record_ids]
    )
    writer.close()
    return stream.getvalue().decode()


def rows(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def starts_a_formula(cell: str) -> bool:
    return cell.lstrip(" \0")[:1] in set(STARTS) and not HARMLESS.fullmatch(cell)


@pytest.mark.parametrize(
    "record",
    [
        "=HYPERLINK(A1)",
        "+1+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1+1",
        "\0=1",
        "\u200b=1",
        "\ufeff=1",
        "\x1b=1",
        "\u3164 \ufe0f=1",
        "＝1+1",  # noqa: RUF001 - as above
        "+5",
        "-",
        "--5",
        "-٣",
        "---a",
        "--a-",
        "-A1",
        "--é",
        "--a b",
        "--a\n",
        "--f(1)",
    ],
)
def test_an_id_that_begins_like_a_formula_is_text_in_a_spreadsheet(record: str) -> None:
    header, row = rows(exported(record))
    assert header == list(fields(jws=False))
    assert row[0] == "'" + record
    assert read_cell(row[0]) == record


@pytest.mark.parametrize("record", ["-5", "7", "-0.25", "a-1", "x=1", "née", "", "--help", "-x", "--dry-run"])
def test_numbers_words_like_options_and_other_ids_stay_as_they_are(record: str) -> None:
    assert rows(exported(record))[1][0] == record


def test_an_apostrophe_of_the_data_is_kept_apart_from_ours() -> None:
    assert rows(exported("'=1", "=1"))[1][0] == "''=1"
    assert [read_cell(row[0]) for row in rows(exported("'=1", "=1"))[1:]] == ["'=1", "=1"]


def test_a_signature_whose_base64_begins_with_a_sign_is_guarded_too() -> None:
    assert rows(exported("1", signature=b"\xfb\xff"))[1][5] == "'+/8="


@given(st.lists(TEXT, min_size=1))
@example(["a;=1+1"])
def test_no_cell_starts_a_formula_and_each_is_read_back(records: list[str]) -> None:
    text = exported(*records)
    assert [read_cell(row[0]) for row in rows(text)[1:]] == records
    assert not [cell for row in rows(text) for cell in row if starts_a_formula(cell)]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_program_that_splits_elsewhere_finds_no_formula_either(delimiter: str) -> None:
    record = f"a{delimiter}=1+1"
    cells = [cell for row in rows(exported(record), delimiter) for cell in row]
    assert not [cell for cell in cells if starts_a_formula(cell)]


@given(TEXT | st.integers() | st.none())
def test_any_value_is_read_back_from_its_cell(value: str | int | None) -> None:
    [[cell, _]] = rows(f"{write_cell(value)},x\n")
    assert read_cell(cell) == ("" if value is None else str(value))
