from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from support.log_of_seals import LogOfSeals
from vaultstream.crypto.seal_keys import create_seal_keys, rotate_seal_keys
from vaultstream.proof.seal import job_origin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import asyncpg

    from integration.cli.conftest import RunCli
    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "seal-key"


@pytest.fixture
def env(key_file: Path) -> dict[str, str]:
    return {"VAULTSTREAM_SEAL_KEY_FILE": str(key_file)}


@pytest.fixture
async def log(
    connection: asyncpg.Connection, key_file: Path, make_job: Callable[..., Awaitable[Job]]
) -> tuple[LogOfSeals, Job]:
    """A log with a sealed job."""
    log = LogOfSeals(connection, create_seal_keys(key_file).signing)
    job = await make_job("logged", keys=1)
    await log.plan(job)
    await log.seal(job, "one")
    return log, job


def test_the_verifier_keys_are_printed_newest_first_without_a_database(
    run_cli: RunCli, key_file: Path, env: dict[str, str]
) -> None:
    create_seal_keys(key_file, "example.com/sign")
    keys = rotate_seal_keys(key_file)
    away = env | {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    expected = [key.vkey for key in keys.known]
    assert run_cli("log", "key", env=away).stdout.split() == expected
    told = json.loads(run_cli("log", "key", "--json", env=away).stdout)
    assert told == {"origin": "example.com/sign", "keys": expected}


def test_without_a_seal_key_the_error_says_how_to_create_one(run_cli: RunCli, env: dict[str, str]) -> None:
    for words in (("key",), ("checkpoint",)):
        refused = run_cli("log", *words, env=env, check=False)
        assert refused.returncode == 6
        assert "vaultstream seal-key create" in refused.stderr


async def test_a_checkpoint_that_was_kept_is_verified_later(
    run_cli: RunCli, env: dict[str, str], log: tuple[LogOfSeals, Job], tmp_path: Path
) -> None:
    sealed, job = log
    kept, of_job = tmp_path / "kept", tmp_path / "of-job"
    kept.write_text(run_cli("log", "checkpoint", env=env).stdout)
    of_job.write_text(run_cli("log", "checkpoint", job.name, env=env).stdout)
    assert kept.read_text().splitlines()[:2] == [sealed.origin, "2"]
    assert of_job.read_text().splitlines()[:2] == [job_origin(sealed.origin, job.token), "1"]
    trusted = tmp_path / "trusted"
    trusted.write_text(sealed.key.public_key.vkey)
    env = env | {"VAULTSTREAM_SEAL_KEY_FILE": str(tmp_path / "none")}
    await sealed.seal(job, "two")
    for file, size in ((kept, 3), (of_job, 2)):
        words = ("log", "verify", "--since", str(file), "--seal-key", str(trusted), "--json")
        told = json.loads(run_cli(*words, env=env).stdout)
        assert (told["ok"], told["now"]["size"], told["findings"]) == (True, size, [])


async def test_a_log_that_was_altered_fails_and_says_what_is_wrong(
    run_cli: RunCli, env: dict[str, str], log: tuple[LogOfSeals, Job], tmp_path: Path
) -> None:
    sealed, job = log
    kept = tmp_path / "kept"
    kept.write_bytes(await sealed.seal(job, "two"))
    assert "3 entries and continues" in run_cli("log", "verify", "--since", str(kept), env=env).stdout
    await sealed.tamper(
        "UPDATE vaultstream.log_entries SET body = replace(body, '\"dead\":0', '\"dead\":1') WHERE kind = 'seal' AND job_no = $1",
        job.job_no,
    )
    failed = run_cli("log", "verify", "--since", str(kept), env=env, check=False)
    assert failed.returncode == 4
    assert [line.split(":")[0] for line in failed.stdout.splitlines()] == ["EntryAltered"] * 2
    assert "2 problems" in failed.stderr
    failed = run_cli("log", "verify", "--since", str(kept), "--json", env=env, check=False)
    assert failed.returncode == 4
    assert [each["index"] for each in json.loads(failed.stdout)["findings"]] == [1, 2]


async def test_what_can_not_be_trusted_or_read_has_an_exit_code_of_its_own(
    run_cli: RunCli, env: dict[str, str], key_file: Path, log: tuple[LogOfSeals, Job], tmp_path: Path
) -> None:
    sealed, job = log
    kept = tmp_path / "kept"
    kept.write_bytes(await sealed.seal(job, "two"))
    known = sealed.key.public_key.vkey
    other = create_seal_keys(tmp_path / "other", sealed.origin).signing.public_key.vkey
    for words, code, why in (
        (("verify", "--since", str(kept), "--seal-key", other), 4, "signed by no known key"),
        (("checkpoint", "--seal-key", other), 4, "signed by no known key"),
        (("verify", "--since", str(key_file)), 2, f"{key_file} is no checkpoint"),
        (("verify", "--since", str(kept), "--seal-key", other, "--seal-key", known), 0, ""),
        (("verify", "--since", str(kept), "--seal-key", f"{other}\n{known}"), 0, ""),
        (("verify", "--since", str(tmp_path / "none")), 2, "can't be read"),
        (("verify", "--since", str(kept), "--seal-key", "no key"), 2, "can't be read"),
        (("checkpoint", "--tenant", "team-a"), 2, "There is no log"),
        (("checkpoint", "no-such-job"), 2, "no job named"),
    ):
        refused = run_cli("log", *words, env=env, check=False)
        assert (refused.returncode, why in refused.stderr) == (code, True), (words, refused.stderr)
        assert sealed.key.skey not in refused.stderr


def test_a_job_is_sealed_at_its_end_and_its_checkpoint_is_printed(
    run_cli: RunCli, small_job: str, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.write_text(run_cli("log", "checkpoint", small_job).stdout)
    told = json.loads(run_cli("log", "verify", "--since", str(kept), "--json").stdout)
    assert told["ok"] is True
    assert told["now"]["size"] >= 40, "a statement for each batch"


async def test_what_happened_after_a_seal_is_sealed_once(
    run_cli: RunCli, env: dict[str, str], key_file: Path, make_job: Callable[..., Awaitable[Job]]
) -> None:
    create_seal_keys(key_file, "example.com/after")
    job = await make_job("sealed-later", keys=2)
    env = env | {"VAULTSTREAM_SEALS_DIR": str(key_file.with_name("seals"))}
    first = json.loads(run_cli("log", "seal", job.name, "--json", env=env).stdout)
    assert (first["sealed"], first["state"], first["signed"], first["dead"]) == (True, "Pending", 0, 0)
    again = run_cli("log", "seal", job.name, env=env)
    assert (again.stdout, "Nothing happened" in again.stderr) == ("", True)
    away = {
        "VAULTSTREAM_SEAL_KEY_FILE": str(key_file.with_name("none"))
    }  # as on a machine without the seal key
    run_cli("delete", job.name, "--yes", env=away)
    refused = run_cli("log", "seal", job.token, env=env, check=False)
    assert (refused.returncode, "no seal does" in refused.stderr) == (2, True)
    second = json.loads(run_cli("log", "seal", job.token, "--deleted", "--json", env=env).stdout)
    assert (second["state"], second["entries"] > first["entries"]) == ("Deleted", True)
    assert second["checkpoint"] == run_cli("log", "checkpoint", env=env).stdout
    assert "Nothing happened" in run_cli("log", "seal", job.token, env=env).stderr
    kept = key_file.with_name("kept")
    kept.write_text(first["checkpoint"])
    of_job = run_cli("log", "checkpoint", job.token, env=env).stdout
    run_cli("delete", job.token, "--policy", "Delete", "--yes", env=away)
    assert run_cli("log", "checkpoint", job.token, env=env).stdout == of_job
    for words in (("log", "seal", job.token), ("export", job.token), ("prove", job.token, "1")):
        refused = run_cli(*words, env=env, check=False)
        assert (refused.returncode, "was deleted, as a seal of" in refused.stderr) == (2, True), (
            refused.stderr
        )
    assert (
        "continues the older checkpoint of 1"
        in run_cli("log", "verify", "--since", str(kept), env=env).stdout
    )


async def test_what_was_retained_without_a_seal_is_sealed_as_deleted_before_it_goes(
    run_cli: RunCli, env: dict[str, str], key_file: Path, make_job: Callable[..., Awaitable[Job]]
) -> None:
    create_seal_keys(key_file, "example.com/retained")
    job = await make_job("retained", keys=2)
    env = env | {"VAULTSTREAM_SEALS_DIR": str(key_file.with_name("seals"))}
    run_cli("log", "seal", job.name, env=env)
    away = {"VAULTSTREAM_SEAL_KEY_FILE": str(key_file.with_name("none"))}
    assert "No seal says" in run_cli("delete", job.name, "--yes", env=away).stderr
    run_cli("delete", job.token, "--policy", "Delete", "--yes", env=env)
    gone = run_cli("log", "seal", job.token, env=env, check=False)
    assert (gone.returncode, "was deleted, as a seal of" in gone.stderr) == (2, True), gone.stderr


def test_sealing_needs_the_seal_key_and_a_job(run_cli: RunCli, env: dict[str, str], key_file: Path) -> None:
    assert run_cli("log", "seal", "no-such-job", env=env, check=False).returncode == 6
    create_seal_keys(key_file)
    assert run_cli("log", "seal", "no-such-job", env=env, check=False).returncode == 2
