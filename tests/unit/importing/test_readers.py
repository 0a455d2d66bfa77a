"""From a file's bytes to rows and rejected lines."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import zipfile
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.reading import read, reasons
from vaultstream.errors import ImportFileError, UsageError
from vaultstream.importing.options import ImportOptions
from vaultstream.importing.rows import Row
from vaultstream.importing.source import Format

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


@pytest.fixture
def csv(tmp_path: Path) -> Any:
    def write(content: str | bytes, name: str = "in.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


jsonl = csv


class TestCsv:
    def test_values_are_the_text_of_the_file_and_nothing_is_guessed(self, csv: Any) -> None:
        rows, rejects = read(csv('id,b,a\n1,007,1.50\n2,NA,\n3,"",TRUE\n4, x ,"a ""b"", c"\n'))
        assert rejects == []
        assert [row.payload.decode() for row in rows] == [
            '{"a":"1.50","b":"007"}',
            '{"a":"","b":"NA"}',
            '{"a":"TRUE","b":""}',
            '{"a":"a \\"b\\", c","b":" x "}',
        ]

    def test_the_named_columns_alone_make_the_payload_whatever_their_order(self, csv: Any) -> None:
        path = csv("id,b,a,c\n1,x,y,z\n")
        first, _ = read(path, payload_columns=("c", "b"))
        second, _ = read(path, payload_columns=("b", "c"))
        assert first[0].payload == second[0].payload == b'{"b":"x","c":"z"}'

    def test_a_payload_column_is_taken_byte_by_byte(self, csv: Any) -> None:
        rows, _ = read(csv('id,p\n1,"Grüße, ""日本"" \r\nende"\n'), payload_column="p")
        assert rows[0].payload == 'Grüße, "日本" \r\nende'.encode()

    def test_lines_are_those_of_the_file_though_values_span_several(self, csv: Any) -> None:
        rows, rejects = read(csv('id,p\r\n\r\n1,"a\r\nb\r\n"\r\n2\r\n3,c\r\n'))
        assert [(row.line, row.number, row.id) for row in rows] == [(3, 1, "1"), (7, 3, "3")]
        assert reasons(rejects) == [(6, "has 1 value, but the header has 2")]

    def test_a_rejected_row_keeps_its_number_so_that_fixing_it_renumbers_no_other(self, csv: Any) -> None:
        rows, _ = read(csv("p\na\nb,b\nc\n"), payload_column="p")
        assert [(row.number, row.payload) for row in rows] == [(1, b"a"), (3, b"c")]

    def test_each_kind_of_bad_line_is_rejected_with_its_reason(self, csv: Any) -> None:
        content = (
            b'id,p\n1,a\n,b\n3,b,c\n4,\xff\n5,"x"y\n6,\n7,\x00\n8\x00,x\n' + b"9" * 1025 + b",x\n10,ok\n"
        )
        rows, rejects = read(csv(content), payload_column="p")
        assert [row.id for row in rows] == ["1", "10"]
        assert reasons(rejects) == [
            (3, "has no id"),
            (4, "has 3 values, but the header has 2"),
            (5, "is not UTF-8: byte 0xff at position 3, which is 'ÿ' in Windows-1252"),
            (6, "is malformed: ',' expected after '\"'"),
            (7, "has no payload"),
            (8, "has a payload with a NUL character, which Postgres does not store in text"),
            (9, "has an id with a NUL character, which Postgres does not store"),
            (10, "has an id of more than 1,024 bytes"),
        ]
        assert rejects[1].text == "3,b,c\n"

    def test_a_quote_that_never_ends_refuses_the_file_and_names_its_line(self, csv: Any) -> None:
        with pytest.raises(ImportFileError, match="begins on line 3"):
            read(csv('id,p\n1,a\n2,"b\n3,c\n'))

    def test_a_byte_order_mark_is_no_part_of_the_first_name(self, csv: Any) -> None:
        rows, _ = read(csv(b"\xef\xbb\xbfid,p\n5,a\n"))
        assert rows[0].id == "5"

    def test_a_header_alone_is_a_file_without_rows(self, csv: Any) -> None:
        assert read(csv("id,p\n")) == ([], [])

    def test_every_row_of_many_chunks_comes_once_and_in_order(self, csv: Any) -> None:
        rows, _ = read(csv("id,p\n" + "".join(f"{n},{'x' * (n % 500)}\n" for n in range(30_000))))
        assert [row.id for row in rows] == [str(n) for n in range(30_000)]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("id,a,a\n1,2,3\n", "more than one column named 'a'"),
            ("ID,a\n1,2\n", "no column 'id', but it has 'ID'"),
            ("id\n1\n", "only the column 'id'"),
            ("\n\n", "no header line"),
            ("id;p\n1;a\n", "separated by ';'"),
            ("id,p\r1,a\r", "a carriage return outside quotes"),
            (b"\xff\xfei\0d\0", "UTF-16"),
            (b"id,\xff\n", "header .* is not UTF-8"),
        ],
    )
    def test_a_header_that_can_not_be_used_is_refused(self, csv: Any, content: str, message: str) -> None:
        with pytest.raises(ImportFileError, match=message):
            read(csv(content))

    def test_a_missing_column_is_refused_with_the_nearest_name_and_all_names(self, csv: Any) -> None:
        with pytest.raises(ImportFileError, match="no column 'amuont'") as caught:
            read(csv("id,amount,city\n"), payload_column="amuont")
        assert caught.value.hint == "Did you mean 'amount'? Its columns are: 'id', 'amount', 'city'."


class TestJsonLines:
    def test_values_keep_their_type_and_take_their_canonical_form(self, jsonl: Any) -> None:
        rows, rejects = read(
            jsonl(
                '{"id": 7, "b": 1.0, "a": [true, null, {"z": 1e3, "y": "é"}]}\n\n{"a": "", "id": "x"}\n',
                "in.jsonl",
            )
        )
        assert rejects == []
        assert [(r.line, r.id, r.payload.decode()) for r in rows] == [
            (1, "7", '{"a":[true,null,{"y":"é","z":1000}],"b":1}'),
            (3, "x", '{"a":""}'),
        ]

    def test_each_kind_of_bad_line_is_rejected_with_its_reason(self, jsonl: Any) -> None:
        lines = [
            b'{"id": 1, "p": "a"}',
            b'{"id": 2, "p"',
            b"[1]",
            b'{"id": null, "p": "a"}',
            b'{"p": "a"}',
            b'{"id": true, "p": "a"}',
            b'{"id": 6, "p": null}',
            b'{"id": 7}',
            b'{"id": 8, "p": "\xc3"}',
            b'{"id": 9, "p": "a", "p": "b"}',
            b'{"id": 10, "p": "\\ud800"}',
            b'{"id": 11, "p": NaN}',
            b'{"id": 12, "p": 9007199254740993}',
            b'{"id": "\\ud800", "p": "a"}',
            b'{"id": 14, "p": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            b'{"id": 15, "p": ' + b"1" * 5000 + b"}",
            b'{"id": 16, "p": 1e999}',
        ]
        rows, rejects = read(jsonl(b"\n".join(lines), "in.ndjson"), payload_column="p")
        assert [row.id for row in rows] == ["1"]
        assert reasons(rejects) == [
            (2, "is malformed: Expecting ':' delimiter at column 14"),
            (3, "is not a JSON object"),
            (4, "has no id"),
            (5, "has no id"),
            (6, "has an id that is neither a string nor an integer"),
            (7, "has no payload"),
            (8, "has no payload"),
            (9, "is not UTF-8: byte 0xc3 at position 17, which is 'Ã' in Windows-1252"),
            (10, "has the member 'p' more than once"),
            (11, "contains half of a surrogate pair, which is not text"),
            (12, "is malformed: NaN is not JSON"),
            (
                13,
                "contains an integer beyond 2^53, which JSON numbers can't represent exactly: write it as a string",
            ),
            (14, "has an id with half of a surrogate pair, which is not text"),
            (15, "is nested too deeply"),
            (16, "contains a number with thousands of digits"),
            (17, "contains a number that JSON can't express"),
        ]

    def test_a_payload_that_is_no_string_is_its_canonical_json(self, jsonl: Any) -> None:
        rows, _ = read(jsonl('{"id": 1, "p": {"b": 1, "a": 2}}\n', "in.jsonl"), payload_column="p")
        assert rows[0].payload == b'{"a":2,"b":1}'

    def test_a_line_without_a_named_member_is_rejected(self, jsonl: Any) -> None:
        path = jsonl('{"id": 1, "a": null, "b": 2, "c": 3}\n{"id": 2, "a": 1}\n', "in.jsonl")
        rows, rejects = read(path, payload_columns=("a", "b"))
        assert [row.payload for row in rows] == [b'{"a":null,"b":2}']
        assert reasons(rejects) == [(2, "has no member 'b'")]

    def test_an_id_that_the_first_lines_have_not_is_not_taken_for_payload(self, jsonl: Any) -> None:
        path = jsonl('{"p": "a"}\n' * 1000 + '{"id": 5, "p": "b"}\n', "in.jsonl")
        with pytest.raises(ImportFileError, match=r"Line 1001 .* has an id 'id'"):
            read(path)

    def test_lines_after_the_first_thousand_are_read_too(self, jsonl: Any) -> None:
        rows, _ = read(jsonl("".join(f'{{"id": {n}, "p": "{n}"}}\n' for n in range(2500)), "in.jsonl"))
        assert [row.line for row in rows] == list(range(1, 2501))


class TestParquet:
    def test_each_type_takes_its_documented_form(self, tmp_path: Path) -> None:
        moment = dt.datetime(2013, 1, 31, 10, 0, 0, 120_000, tzinfo=dt.UTC)
        columns = {
            "id": pa.array([9]),
            "binary": pa.array([b"\x00\xff"]),
            "bool": pa.array([True]),
            "date": pa.array([moment.date()]),
            "decimal": pa.array([Decimal("12.50")]),
            "dictionary": pa.array(["x"]).dictionary_encode(),
            "float": pa.array([1.0]),
            "float32": pa.array([0.1], pa.float32()),
            "list": pa.array([[1, None]]),
            "naive": pa.array([moment.replace(tzinfo=None)], pa.timestamp("s")),
            "nanos": pa.array([1_359_626_400_000_000_001], pa.timestamp("ns")),
            "null": pa.array([None], pa.string()),
            "nulltime": pa.array([None], pa.timestamp("us", "UTC")),
            "struct": pa.array([{"b": "x", "a": 1.5}]),
            "text": pa.array(['é"']),
            "time": pa.array([dt.time(10)], pa.time32("ms")),
            "uuid": pa.array([UUID(int=1).bytes], pa.uuid()),
            "zoned": pa.array([moment], pa.timestamp("ms", "Europe/Berlin")),
        }
        path = tmp_path / "in.parquet"
        pq.write_table(pa.table(columns), path)
        rows, rejects = read(path)
        assert rejects == []
        assert rows[0].id == "9"
        assert json.loads(rows[0].payload) == {
            "binary": "AP8=",
            "bool": True,
            "date": "2013-01-31",
            "decimal": "12.50",
            "dictionary": "x",
            "float": 1,
            "float32": 0.10000000149011612,
            "list": [1, None],
            "naive": "2013-01-31T10:00:00.000",
            "nanos": "2013-01-31T10:00:00.000000001",
            "null": None,
            "nulltime": None,
            "struct": {"a": 1.5, "b": "x"},
            "text": 'é"',
            "time": "10:00:00.000",
            "uuid": "00000000-0000-0000-0000-000000000001",
            "zoned": "2013-01-31T10:00:00.120Z",
        }

    def test_a_binary_payload_is_taken_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "in.parquet"
        pq.write_table(pa.table({"id": ["a", "b"], "p": [b"\x00\xff", None]}), path)
        rows, rejects = read(path, payload_column="p")
        assert [row.payload for row in rows] == [b"\x00\xff"]
        assert reasons(rejects) == [(2, "has no payload")]

    def test_rows_are_numbered_across_batches_and_bad_ones_rejected(self, tmp_path: Path) -> None:
        path = tmp_path / "in.parquet"
        amounts: list[float | None] = [float(n) + 0.5 for n in range(20_000)]
        amounts[9000] = float("nan")
        pq.write_table(pa.table({"amount": amounts}), path)
        rows, rejects = read(path)
        assert [row.number for row in rows] == [n for n in range(1, 20_001) if n != 9001]
        assert reasons(rejects) == [(9001, "contains a number that JSON can't express")]

    def test_an_integer_that_json_can_not_carry_is_rejected(self, tmp_path: Path) -> None:
        path = tmp_path / "in.parquet"
        pq.write_table(pa.table({"n": [1, 2**53, None]}), path)
        rows, rejects = read(path)
        assert [row.payload for row in rows] == [b'{"n":1}', b'{"n":null}']
        assert [r.line for r in rejects] == [2]

    def test_text_that_is_not_utf8_is_rejected(self, tmp_path: Path) -> None:
        path = tmp_path / "in.parquet"
        bad = pa.array([b"ok", b"\xff"]).view(pa.string())
        pq.write_table(pa.table({"id": [1, 2], "p": bad}), path)
        for options in ({}, {"payload_column": "p"}):
            rows, rejects = read(path, **options)
            assert [row.id for row in rows] == ["1"]
            assert reasons(rejects) == [(2, "contains text that is not UTF-8")]

    @pytest.mark.parametrize(
        ("columns", "options", "message"),
        [
            ({"id": [1.5], "p": ["x"]}, {}, "id column 'id' has the type double"),
            ({"id": [1], "p": [dt.timedelta(1)]}, {}, "'p' has the type duration"),
        ],
    )
    def test_a_type_that_can_not_be_used_is_refused(
        self, tmp_path: Path, columns: Any, options: Any, message: str
    ) -> None:
        path = tmp_path / "in.parquet"
        pq.write_table(pa.table(columns), path)
        with pytest.raises(ImportFileError, match=message):
            read(path, **options)

    def test_a_damaged_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "in.parquet"
        path.write_bytes(b"PAR1 this is not it")
        with pytest.raises(ImportFileError, match="is not a Parquet file"):
            read(path)


class TestFiles:
    def test_gzip_and_zip_are_unpacked_and_known_by_the_name_inside(self, tmp_path: Path) -> None:
        content = b"id,p\n1,a\n"
        packed = tmp_path / "in.csv.gz"
        packed.write_bytes(gzip.compress(content))
        archive = tmp_path / "archive.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
            z.mkdir("folder")
            z.writestr("folder/in.csv", content)
            z.writestr("__MACOSX/._in.csv", b"x")
        assert read(packed) == read(archive) == ([Row(2, 1, "1", b'{"p":"a"}')], [])

    def test_a_zip_of_several_files_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "in.zip"
        with zipfile.ZipFile(path, "w") as z:
            z.writestr("a.csv", "x")
            z.writestr("b.csv", "x")
        with pytest.raises(ImportFileError, match="contains 2 files"):
            read(path)

    def test_an_encrypted_zip_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "in.csv.zip"
        with zipfile.ZipFile(path, "w") as z:
            z.writestr("in.csv", "id,p\n1,a\n")
        raw = bytearray(path.read_bytes())
        raw[raw.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(raw)
        with pytest.raises(ImportFileError, match="is encrypted"):
            read(path)

    def test_a_compressed_file_cut_short_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "in.csv.gz"
        whole = gzip.compress(b"id,p\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(50_000)))
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ImportFileError, match="is damaged after line"):
            read(path)

    def test_what_is_no_file_of_a_known_format_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "empty.csv").touch()
        (tmp_path / "in.txt").write_text("id,p\n1,a\n")
        (tmp_path / "no.zip").write_text("no")
        (tmp_path / "no.csv.gz").write_text("no")
        (tmp_path / "p.parquet.gz").write_bytes(gzip.compress(b"PAR1"))
        for name, message in {
            "missing.csv": "There is no file",
            ".": "is a directory",
            "empty.csv": "is empty",
            "in.txt": "The extension of in.txt",
            "no.zip": "is not packed as its extension .zip says",
            "no.csv.gz": "is not packed as its extension .gz says",
            "p.parquet.gz": "compressed Parquet",
        }.items():
            with pytest.raises(ImportFileError, match=message):
                read(tmp_path / name)

    def test_the_format_can_be_named(self, tmp_path: Path) -> None:
        (tmp_path / "in.txt").write_text("id,p\n1,a\n")
        rows, _ = read(tmp_path / "in.txt", format=Format.CSV)
        assert len(rows) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"payload_column": "a", "payload_columns": ("b",)},
        {"payload_column": "id"},
        {"id_column": "payload"},
        {"payload_columns": ("a", "a")},
        {"table": "s."},
        {"table": "x" * 64},
        {"id_column": "nul\0"},
    ],
)
def test_options_that_contradict_each_other_or_name_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ImportOptions(**{"table": "t", "id_column": "id", **options}).check()
