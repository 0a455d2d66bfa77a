"""What commands print as JSON has the fields that docs/json-output.md names, with their types."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from integration.cli.conftest import manifest
from support.json_page import assert_documented
from vaultstream.store.jobs import get_job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import asyncpg

    from integration.cli.conftest import RunCli
    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration


@pytest.fixture
def compare(run_cli: RunCli) -> Callable[..., Any]:
    """Runs a command with --json, compares what it prints with the page, and returns it."""

    def compared(section: str, *arguments: str, code: int = 0, **options: Any) -> Any:
        words = section.split(" --", maxsplit=1)[0].split()
        ran = run_cli(*words, *arguments, "--json", check=False, **options)
        assert ran.returncode == code, ran.stderr
        shown = json.loads(ran.stdout)
        assert_documented(section, shown)
        return shown

    return compared


def test_what_shows_a_job(
    compare: Callable[..., Any], run_cli: RunCli, small_job: str, tmp_path: Path
) -> None:
    (shown,) = [job for job in compare("jobs") if job["name"] == small_job]
    assert yaml.safe_load(run_cli("status", small_job, "-o", "yaml").stdout)["token"] == shown["token"]
    assert run_cli("keys", "list", small_job, "-o", "name").stdout.count("\n") == 5
    compare("status", small_job)
    compare("dead", small_job)
    compare("audit-log", small_job)
    assert compare("explain", small_job)["decisions"]
    assert compare("keys list", small_job)
    compare("run", small_job)
    compare("retry", small_job)
    assert compare("verify", small_job)["ok"] is True
    compare("extract", small_job, "1", "--to", str(tmp_path / "extracted"))
    compare("doctor", "--no-start")
    compare("migrate")
    compare("debug streams")
    compare("accept-source", small_job)


def test_what_a_log_has(compare: Callable[..., Any], run_cli: RunCli, small_job: str, tmp_path: Path) -> None:
    (tmp_path / "older").write_text(run_cli("log", "checkpoint").stdout)
    compare("log key")
    compare("log checkpoint")
    compare("log verify", "--since", str(tmp_path / "older"))
    compare("log seal", small_job)
    proof, extracted, keys, seal = (str(tmp_path / name) for name in ("proof", "extracted", "keys", "seal"))
    compare("prove", small_job, "1", "--out", proof)
    run_cli("extract", small_job, "1", "--to", extracted)
    run_cli("keys", "export", small_job, "--output", keys)
    (tmp_path / "seal").write_text(run_cli("log", "key").stdout)
    given = ("--payload", f"{extracted}/payload.bin", "--keys", keys, "--seal-key", seal)
    compare("verify --proof", "--proof", proof, *given)
    run_cli("export", small_job, "--bundle", str(tmp_path / "bundle"))
    compare("verify --bundle", "--bundle", str(tmp_path / "bundle"), "--seal-key", seal)


async def test_what_changes_a_job(
    compare: Callable[..., Any],
    make_job: Callable[..., Awaitable[Job]],
    connection: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    file = str(manifest(tmp_path, "changed", keys={"count": 1}))
    compare("submit", "-f", file)
    compare("suspend", "changed")
    compare("resume", "changed")
    compare("cancel", "changed")
    job = await make_job("changed-too", keys=3)
    first, second = (await get_job(connection, job.token)).name, compare("keys list", job.token)
    compare("keys add", first)
    compare("keys retire", first, second[0]["key_id"])
    compare("keys revoke", first, second[1]["key_id"])
    compare("keys rewrap", first, "--no-rotate")
    compare("delete", str(compare("submit", "-f", file)["job"]), "--yes")
    compare("lint", file)
    (tmp_path / "in.csv").write_text("id,a\n1,x\n,y\n")
    compare("lint", str(tmp_path / "in.csv"), code=2)
    compare("import", str(tmp_path / "in.csv"), "--table", "of_json_fields", "--id-column", "id")
    seal_key = {"VAULTSTREAM_SEAL_KEY_FILE": str(tmp_path / "a-seal-key")}
    compare("seal-key create", env=seal_key)
    compare("seal-key rotate", env=seal_key)
