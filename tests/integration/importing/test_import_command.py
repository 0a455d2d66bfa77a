"""`vaultstream import` as people run it: what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.as_user import connect
from support.forking import run_command

if TYPE_CHECKING:
    from pathlib import Path

    from vaultstream.local.services import Services

pytestmark = pytest.mark.integration


@pytest.fixture
async def environment(migrated_url: str, services: Services, tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "DATABASE_URL": migrated_url,
        "VAULTSTREAM_NATS_URL": services.nats_url,
        "VAULTSTREAM_NATS_USER": services.nats_user,
        "VAULTSTREAM_NATS_PASSWORD": services.nats_password,
    }


def run(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(["import", *arguments], cwd=folder, env=environment)


def test_it_prints_its_report_as_json_and_warns_of_rejects(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text('id,"a,b",c\n1,x,y\n,x,y\n')
    done = run(
        environment,
        tmp_path,
        "in.csv",
        "--table",
        "t",
        "--id-column",
        "id",
        "--payload-columns",
        '"a,b", c',
        "--json",
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report.pop("seconds") > 0
    assert report == {
        "table": "t",
        "id_column": "id",
        "id_type": "bigint",
        "numbered": False,
        "payload_column": "payload",
        "payload_type": "text",
        "rows": 1,
        "rejected": 1,
        "rejected_file": "in.csv.rejected.jsonl",
        "bytes": 22,
        "form": "CSV",
        "columns": ["id", "a,b", "c"],
    }
    assert "1 line was rejected" in done.stderr
    assert (tmp_path / "in.csv.rejected.jsonl").exists()


def test_it_tells_people_what_it_loaded(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("p\na\nb\n")
    done = run(environment, tmp_path, "in.csv", "--table", "t", "--id-column", "id", "--payload-column", "p")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 rows loaded into t in ")
    assert done.stdout.endswith(": ids in id (bigint, numbered), payloads in p (text)\n")
    assert done.stderr == (
        "warning: the file has no column 'id', so its rows are numbered; its columns are 'p'\n"
    )


def test_an_array_is_loaded_and_named_in_the_order_of_the_file(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "in.json").write_text('[{"id": 2, "p": "a"},\n {"id": 1, "p": "b"}]')
    done = run(environment, tmp_path, "in.json", "--table", "t", "--id-column", "id")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 rows of a JSON array loaded into t in ")


def test_lines_that_a_quote_swallowed_are_listed_with_their_numbers(
    environment: dict[str, str], tmp_path: Path
) -> None:
    lines = ["id,p", "1,a", '2,"b', "3,c", '4,"d', "5,e"]
    (tmp_path / "in.csv").write_text("".join(f"{line}\n" for line in lines))
    load = ("in.csv", "--table", "t", "--id-column", "id")
    refused = run(environment, tmp_path, *load)
    assert refused.returncode == 2
    assert "--allow-multiline" in refused.stderr
    done = run(environment, tmp_path, *load, "--allow-multiline", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["rows"], report["rejected"]) == (2, 3)
    (entry,) = map(json.loads, (tmp_path / report["rejected_file"]).read_text().splitlines())
    assert (entry["line"], entry["lines"]) == (3, [3, 5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no.csv",), "There is no file no.csv."),
        (("in.csv", "--append", "--replace"), "--append and --replace can't be combined."),
        (("in.csv", "--payload-column", "q"), "The file has no column 'q'."),
        (("in.csv", "--payload-columns", "p,,q"), "--payload-columns has an empty name."),
        (
            ("in.csv", "--max-rejects", "0"),
            "1 of 2 lines can't be imported, so nothing was loaded: line 3 has no id.",
        ),
    ],
)
def test_what_can_not_be_imported_ends_with_a_sentence_and_code_2(
    environment: dict[str, str], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "in.csv").write_text("id,p\n1,a\n,b\n")
    done = run(environment, tmp_path, *arguments, "--table", "t", "--id-column", "id")
    assert done.returncode == 2
    assert f"error: {message}\n" in done.stderr
    assert done.stdout == ""


async def test_ctrl_c_loads_nothing_and_says_so(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,p\n" + "".join(f"{n},{'x' * 200}\n" for n in range(300_000)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vaultstream_cli", "import", "in.csv", "--table", "t", "--id-column", "id"),
        env=environment,
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )
    async with connect(environment["DATABASE_URL"]) as db:
        while not await db.fetchval(
            "SELECT count(*) FROM pg_stat_progress_copy WHERE datname = current_database()"
        ):
            assert process.returncode is None
            await asyncio.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, stderr = await process.communicate()
        assert process.returncode == 130
        assert b"Interrupted; nothing was loaded." in stderr
        assert await db.fetchval("SELECT to_regclass('t')") is None


def test_records_come_from_a_pipe(environment: dict[str, str], tmp_path: Path) -> None:
    def piped(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "vaultstream_cli",
                "import",
                "-",
                "--table",
                "piped",
                "--id-column",
                "id",
                *arguments,
            ],
            cwd=tmp_path,
            env=environment,
            input="id,a\n1,x\n,y\n" + "".join(f"{n},z\n" for n in range(2, 30)),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    unnamed = piped("--json")
    assert (unnamed.returncode, json.loads(unnamed.stderr)["field"]) == (2, "--format")
    done = piped("--format", "csv", "--json")
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["rows"], json.loads(done.stdout)["rejected"]) == (29, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["stdin.rejected.jsonl"]
