from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vaultstream.local.worker_logs import LogReader, choose_job

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

TOKENS = ["b-00000002", "a-b-00000003", "a-00000001"]


@pytest.mark.parametrize(
    ("job", "token"),
    [
        (None, "b-00000002"),
        ("a", "a-00000001"),
        ("a.b", "a-b-00000003"),
        ("a-00000001", "a-00000001"),
        ("c", None),
    ],
)
def test_logs_are_found_by_name_or_token_and_else_the_newest_are_meant(
    job: str | None, token: str | None
) -> None:
    assert choose_job(TOKENS, job) == token


def test_where_nothing_ran_there_are_no_logs() -> None:
    assert choose_job([], None) is None


def test_a_reader_starts_with_the_last_lines_and_goes_on_with_whole_ones(tmp_path: Path) -> None:
    (tmp_path / "logs" / "a-1").mkdir(parents=True)
    log = tmp_path / "logs" / "a-1" / "signing-1.log"
    log.write_text("one\ntwo\nthr")
    reader = LogReader(tmp_path, "a-1")

    assert list(reader.tail(1)) == [("signing-1", "two")]
    assert list(reader.news()) == []
    with log.open("a") as file:
        file.write("ee\n")
    assert list(reader.news()) == [("signing-1", "three")]


def test_a_log_that_appears_later_or_starts_over_is_read_from_its_beginning(tmp_path: Path) -> None:
    reader = LogReader(tmp_path, None)
    list(reader.tail(5))

    (tmp_path / "nats.log").write_text("first line\n")
    assert list(reader.news()) == [("nats", "first line")]
    (tmp_path / "nats.log").write_text("anew\n")
    assert list(reader.news()) == [("nats", "anew")]


def test_only_the_end_of_a_large_log_is_read(tmp_path: Path) -> None:
    (tmp_path / "nats.log").write_text("".join(f"line {n}\n" for n in range(50_000)))

    assert list(LogReader(tmp_path, None).tail(2)) == [("nats", "line 49998"), ("nats", "line 49999")]
