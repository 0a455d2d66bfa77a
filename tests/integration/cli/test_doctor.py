"""`vaultstream doctor`: finds what is wrong, says what to do, survives what is down, changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from support.log_of_seals import LogOfSeals
from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import connect_bus
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import RECORDS_STREAM, key_subject
from vaultstream.crypto.keyring import create_keyring
from vaultstream.crypto.seal_keys import create_seal_keys
from vaultstream.local.services import inspect_services
from vaultstream.store.batches import move_published
from vaultstream.store.jobs import set_message, start_job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    import asyncpg

    from integration.cli.conftest import RunCli
    from vaultstream.local.services import Services
    from vaultstream.store.jobs import Job

    MakeJob = Callable[..., Awaitable[Job]]

pytestmark = pytest.mark.integration


def examine(
    run_cli: RunCli, *args: str, env: Mapping[str, str] | None = None, code: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Runs doctor and returns its findings by check."""
    done = run_cli("doctor", "--json", *args, env=env, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    findings: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        findings.setdefault(finding["check"], []).append(finding)
    return findings


def test_a_healthy_installation_passes(run_cli: RunCli, small_job: str) -> None:
    findings = examine(run_cli)

    for check in (
        "Postgres",
        "schema",
        "NATS",
        "key-encryption keys",
        "wrapped keys",
        f"unwrapping of {small_job}",
    ):
        assert [finding["level"] for finding in findings[check]] == ["ok"], check
    assert "0 failed" in run_cli("doctor").stdout


def test_an_unreachable_service_is_reported_and_the_rest_is_checked(
    run_cli: RunCli, cli_services: Services
) -> None:
    env = {
        "DATABASE_URL": "postgresql://me:geheim@127.0.0.1:9/db",
        "VAULTSTREAM_NATS_URL": cli_services.nats_url,
    }
    env |= {"VAULTSTREAM_NATS_PASSWORD": cli_services.nats_password}

    without_postgres = run_cli("doctor", env=env, check=False)
    env |= {"DATABASE_URL": cli_services.database_url, "VAULTSTREAM_NATS_PASSWORD": "wrong"}
    without_nats = examine(run_cli, env=env, code=5)

    assert without_postgres.returncode == 5
    assert "failed  Postgres" in without_postgres.stdout
    assert "ok      NATS" in without_postgres.stdout
    assert "try: Check DATABASE_URL and that Postgres is running.\n" in without_postgres.stdout
    assert "vaultstream doctor" not in without_postgres.stdout
    assert "geheim" not in without_postgres.stdout + without_postgres.stderr
    assert without_nats["NATS"][0]["level"] == "failed"
    assert "VAULTSTREAM_NATS_PASSWORD" in without_nats["NATS"][0]["hint"]
    assert without_nats["schema"][0]["level"] == "ok"


def test_it_creates_nothing_in_an_empty_folder(run_cli: RunCli, tmp_path: Path) -> None:
    findings = examine(run_cli, "--data-dir", str(tmp_path / "none"))

    assert "does not exist yet" in findings["data directory"][0]["message"]
    assert not (tmp_path / "none").exists()


def test_embedded_services_are_started_for_it_unless_disabled(run_cli: RunCli, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    run_cli("migrate", "--data-dir", str(data_dir))
    (data_dir / "kek").unlink()

    asleep = examine(run_cli, "--data-dir", str(data_dir), "--no-start")
    awake = examine(run_cli, "--data-dir", str(data_dir))

    assert "is not running" in asleep["Postgres"][0]["message"]
    assert "Version" in awake["Postgres"][0]["message"]
    assert "was never started" in awake["NATS"][0]["message"], "migrate needs no NATS, and doctor makes none"
    assert (inspect_services(data_dir).postgres, inspect_services(data_dir).nats) == (None, None)
    assert not (data_dir / "kek").exists()


async def test_a_lost_key_encryption_key_is_a_failure(
    run_cli: RunCli, make_job: MakeJob, cli_services: Services, tmp_path: Path
) -> None:
    await make_job("locked-out")
    other = tmp_path / "other"
    create_keyring(other)

    lost = examine(run_cli, "--kek-file", str(tmp_path / "none"), code=5)
    wrong = examine(run_cli, "--kek-file", str(other), code=5)
    other.chmod(0o644)
    open_to_all = examine(run_cli, "--kek-file", str(other), code=5)

    assert lost["key-encryption keys"][0]["level"] == "failed"
    assert "The ring lacks" in wrong["wrapped keys"][0]["message"]
    assert open_to_all["key-encryption keys"][0]["hint"] == f"chmod 600 {other}"


async def test_a_job_that_can_not_be_or_is_not_sealed_is_reported(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    job = await make_job("unsealed", keys=1)
    await connection.execute(
        "UPDATE vaultstream.jobs SET state = 'Complete', finished_at = now() WHERE job_no = $1", job.job_no
    )
    file, folder = tmp_path / "seal-key", tmp_path / "seals"
    folder.touch()
    env = {"VAULTSTREAM_SEAL_KEY_FILE": str(file), "VAULTSTREAM_SEALS_DIR": str(folder)}

    without = examine(run_cli, env=env)
    log = LogOfSeals(connection, create_seal_keys(file).signing)
    await log.seal(job)
    sealed = examine(run_cli, env=env)
    file.chmod(0o644)
    open_to_all = examine(run_cli, env=env, code=5)

    assert without["seal key"][0]["level"] == without["seals of jobs"][0]["level"] == "warning"
    assert "unsealed" in without["seals of jobs"][0]["message"]
    assert sealed["seal key"][0]["level"] == "ok"
    assert sealed["copies of seals"][0]["level"] == "warning"
    assert "unsealed" not in sealed["seals of jobs"][0]["message"]
    assert open_to_all["seal key"][0]["hint"] == f"chmod 600 {file}"


def test_a_missing_schema_is_a_failure_and_migrate_fixes_it(
    run_cli: RunCli, cli_services: Services, database_url: str
) -> None:
    env = {
        "DATABASE_URL": database_url,
        "VAULTSTREAM_NATS_URL": cli_services.nats_url,
        "VAULTSTREAM_NATS_PASSWORD": cli_services.nats_password,
    }

    before = examine(run_cli, env=env, code=5)
    empty = run_cli("jobs", env=env)
    made = run_cli("migrate", env=env)
    again = json.loads(run_cli("migrate", "--json", env=env).stdout)

    assert before["schema"][0]["hint"] == "Run `vaultstream migrate`."
    assert "There is no VaultStream schema in the database" in empty.stderr
    assert "The schema was created" in made.stderr
    assert again["before"] == again["now"] > 0
    assert examine(run_cli, env=env)["schema"][0]["level"] == "ok"


async def test_keys_that_a_clock_set_back_left_in_the_future_are_named(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection
) -> None:
    job = await make_job("dated")
    await connection.execute(
        "UPDATE vaultstream.keys SET lease_until = now() + interval '1 day' WHERE job_no = $1 AND ordinal < 3",
        job.job_no,
    )
    [found] = [each for each in examine(run_cli)["leases"] if "set back" in each["message"]]
    assert found["level"] == "warning"
    assert "2 keys of job dated" in found["message"]
    assert "vaultstream keys add dated --count 2" in found["hint"]
    run_cli("delete", "dated", "--yes")


async def test_batches_that_are_signed_alone_are_named(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection
) -> None:
    job = await make_job("suspected")
    await start_job(connection, job.job_no, upper_id="2")
    await connection.execute(
        "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id, lost, state, settled_at) "
        "SELECT $1, n, 2, '1', '2', CASE n WHEN 1 THEN 1 ELSE 2 END, CASE n WHEN 2 THEN 'split' ELSE 'pending' END, "
        "CASE n WHEN 2 THEN now() END FROM generate_series(1, 6) n",
        job.job_no,
    )
    try:
        [found] = examine(run_cli)["suspects of suspected"]
    finally:
        run_cli("delete", "suspected", "--yes")
    assert found["level"] == "warning"
    assert "4 batches with 8 records (3, 4, 5 and 1 more)" in found["message"]
    assert "suspects of suspected" not in examine(run_cli)


async def test_a_stalled_job_is_explained(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection, cli_services: Services
) -> None:
    job = await make_job("stalled")
    await start_job(connection, job.job_no, upper_id="2")
    await set_message(connection, job.job_no, "the table was renamed")
    await connection.execute(
        "INSERT INTO vaultstream.batches (job_no, batch_no, records, first_id, last_id) "
        "VALUES ($1, 1, 1, '1', '1'), ($1, 2, 1, '2', '2')",
        job.job_no,
    )
    await move_published(connection, job.job_no, 2)
    run_cli("keys", "retire", "stalled", "--all")
    await connection.execute(
        "UPDATE vaultstream.keys SET holder = 'elsewhere:77:abc', leased_at = now(), "
        "lease_until = now() + CASE ordinal WHEN 1 THEN interval '1 hour' ELSE interval '-1 s' END "
        "WHERE job_no = $1 AND ordinal < 3",
        job.job_no,
    )
    address = BusAddress(cli_services.nats_url, cli_services.nats_user, cli_services.nats_password)
    async with connect_bus(address, role="test") as bus:
        await RecordsStream(bus).ensure()
        missing = examine(run_cli, code=5)
        await RecordsStream(bus).ensure_consumer(job.token, ack_wait_seconds=30, max_ack_pending=10)
        await RecordsStream(bus).publish(job.token, [1])
        lagging = examine(run_cli, code=5)

    said = " ".join(finding["message"] for finding in missing["job stalled"])
    assert "the table was renamed" in said
    assert "It has no active key (3 keys in total)" in said
    assert "none of its workers is connected" in said
    assert "It is missing" in missing["consumer of stalled"][0]["message"]
    assert f"consumer {job.token}" not in lagging
    assert "has lost 1 batch that Postgres has as pending" in lagging["consumer of stalled"][0]["message"]
    leases = " ".join(finding["message"] for finding in missing["leases"])
    assert "1 lease expired and was not taken over" in leases
    assert "1 key is leased by signers that are not connected" in leases
    run_cli("delete", "stalled", "--yes")


async def test_keys_in_the_stream_that_are_of_no_job_are_counted_and_not_called_removable(
    run_cli: RunCli, cli_services: Services, make_job: MakeJob, connection: asyncpg.Connection
) -> None:
    job = await make_job("crowded")
    await start_job(connection, job.job_no, upper_id="2")
    address = BusAddress(cli_services.nats_url, cli_services.nats_user, cli_services.nats_password)
    strangers = [f"0-stranger-{number}" for number in range(4)]  # named first, whatever other tests have left
    async with connect_bus(address, role="test") as bus:
        stream = KeysStream(bus)
        await stream.ensure()
        for token, number in ((job.token, 5), *((stranger, 2) for stranger in strangers)):
            for n in range(number):
                await bus.jetstream.publish(key_subject(token, f"k{n}"), b"no key")
        findings = examine(run_cli)
        counts = await stream.counts()
        for token in (job.token, *strangers):
            await stream.remove(token)

    [found] = [
        each for each in findings["stream VAULTSTREAM_KEYS"] if "no job of this database" in each["message"]
    ]
    assert "0-stranger-0, 0-stranger-1, 0-stranger-2" in found["message"]
    assert counts.total() >= 13
    assert "rm" not in found["hint"].split()  # they may be those of another installation
    assert "purge" not in found["hint"]
    assert "2 keys more than the 3 of the job" in findings["keys of crowded"][0]["message"]
    run_cli("delete", "crowded", "--yes")


async def test_a_consumer_that_vaultstream_did_not_configure_is_a_failure(
    run_cli: RunCli, cli_services: Services
) -> None:
    address = BusAddress(cli_services.nats_url, cli_services.nats_user, cli_services.nats_password)
    configs = {
        "once": ConsumerConfig(durable_name="once", filter_subject="records.once.*", max_deliver=1),
        "other": ConsumerConfig(durable_name="other", filter_subject="records.victim.*"),
        "fleeting": ConsumerConfig(
            name="fleeting", filter_subject="records.fleeting.*", headers_only=True, inactive_threshold=3600
        ),
    }
    async with connect_bus(address, role="test") as bus:
        await RecordsStream(bus).ensure()
        for config in configs.values():
            config.ack_policy = AckPolicy.EXPLICIT
            config.max_waiting = 4096
            await bus.jetstream.add_consumer(RECORDS_STREAM, config)
        findings = examine(run_cli, code=5)
        for name in configs:
            await bus.jetstream.delete_consumer(RECORDS_STREAM, name)

    said = {name: findings[f"consumer {name}"][0]["message"] for name in configs}
    assert said["once"] == "Its max_deliver is not what VaultStream sets."
    assert said["other"] == "Its filter_subject is not what VaultStream sets."
    assert said["fleeting"].startswith("Its durable_name, headers_only, inactive_threshold are not")


async def test_a_consumer_of_no_job_is_named_and_not_called_removable(
    run_cli: RunCli, cli_services: Services
) -> None:
    address = BusAddress(cli_services.nats_url, cli_services.nats_user, cli_services.nats_password)
    async with connect_bus(address, role="test") as bus:
        await RecordsStream(bus).ensure()
        await RecordsStream(bus).ensure_consumer("left-12345678", ack_wait_seconds=30, max_ack_pending=10)

        findings = examine(run_cli)
        await RecordsStream(bus).remove("left-12345678")

    [found] = findings["consumer left-12345678"]
    assert "no job of this database" in found["message"] or "does not belong to a job" in found["message"]
    assert "consumer rm" not in found["hint"]  # it may be that of another installation
