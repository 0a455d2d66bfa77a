"""`vaultstream quick-start`: all of it, in one command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from support.local_services import local_services

if TYPE_CHECKING:
    from support.command import Command
    from vaultstream.local.services import Services

pytestmark = pytest.mark.integration


@pytest.mark.long
def test_it_signs_and_verifies_all_and_a_second_batch_size_is_compared_with_the_first(
    command: Command,
) -> None:
    small = {"TOTAL_RECORDS": "3000", "TOTAL_KEYS": "6"}
    first = command.json("quick-start", BATCH_SIZE="100", **small)
    assert (first["state"], first["signed"], first["dead"]) == ("Complete", 3000, 0)
    assert first["verification"]["valid"] == 3000
    assert (first["keys"]["used"], first["keys"]["keys"]) == (6, 6)
    assert first["keys"]["most"] - first["keys"]["least"] <= 4, "least recently used first keeps them even"

    (command.folder / ".env").write_text("BATCH_SIZE=7\nTOTAL_KEYS=3\n")
    told = command.run("quick-start", "--batch-size", "250", TOTAL_RECORDS="3000")
    assert "runs on 3,000 records, by batch size" in told.stdout
    assert "lag" in told.stderr
    again = command.json("quick-start", TOTAL_RECORDS="3000", TOTAL_KEYS="5")
    assert [(run["batch_size"], run["keys"]["keys"]) for run in again["runs"]] == [(100, 6), (250, 3), (7, 5)]
    assert not command.workers()


async def select(services: Services, statement: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(services.database_url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def test_records_and_signatures_answer_as_they_stand(command: Command) -> None:
    settings = {"TOTAL_KEYS": "2", "BATCH_SIZE": "25", "MAX_SIGNERS": "1"}
    async with local_services(command.data_dir) as services:  # started once for both runs
        command.run("quick-start", TOTAL_RECORDS="100", **settings)
        assert await select(services, "SELECT count(*) FROM records") == [(100,)]
        assert await select(services, "SELECT count(*), count(DISTINCT job) FROM signatures") == [(100, 1)]
        matching = "SELECT count(*) FROM records JOIN signatures ON record_id = id::text AND payload_sha256 = sha256(payload::bytea)"
        assert await select(services, matching) == [(100,)]

        command.run("quick-start", TOTAL_RECORDS="150", **settings)
        assert await select(services, "SELECT count(*) FROM records") == [(150,)]
        assert await select(services, "SELECT count(*), count(DISTINCT job) FROM signatures") == [(250, 2)]


async def test_relations_of_these_names_that_are_there_stay_as_they_are(command: Command) -> None:
    async with local_services(command.data_dir) as services:
        await select(services, "CREATE TABLE records AS SELECT 'mine' AS payload")
        await select(services, "CREATE VIEW signatures AS SELECT 'mine' AS signature")
        command.run("quick-start", TOTAL_RECORDS="20", TOTAL_KEYS="2")
        assert await select(services, "SELECT * FROM records") == [("mine",)]
        assert await select(services, "SELECT * FROM signatures") == [("mine",)]


def test_no_records_at_all_is_a_complete_job(command: Command) -> None:
    assert command.json("quick-start", "--records", "0", "--keys", "1")["state"] == "Complete"


@pytest.mark.parametrize(
    ("variable", "value"), [("BATCH_SIZE", "0"), ("TOTAL_KEYS", "many"), ("MAX_SIGNERS", "-1")]
)
def test_a_bad_setting_is_refused_by_its_name(command: Command, variable: str, value: str) -> None:
    refused = command.run("quick-start", expect=2, **{variable: value})
    assert variable in refused.stderr
    assert not command.data_dir.exists()


def test_workers_get_what_the_command_took_from_env(command: Command) -> None:
    (command.folder / ".env").write_text("VAULTSTREAM_LOG_LEVEL=error\nTOTAL_KEYS=2\n")
    done = command.run("quick-start", "--records", "20")
    assert "Settings from .env in" in done.stderr
    logs = list((command.data_dir / "logs").rglob("signing-*.log"))
    assert logs
    assert not any("worker started" in log.read_text() for log in logs)
