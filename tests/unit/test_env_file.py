"""What `.env` in the working directory may do: it is read only if no other user could have written it, and it is named."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import Command
from vaultstream.env_file import MOST_BYTES, read_env_file
from vaultstream.errors import ExitCode, UsageError
from vaultstream.settings import Settings, load_settings

pytestmark = pytest.mark.unit

SECRET = "postgresql://me:hidden-word@nowhere/db"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name in ALIASES]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ".env"
    path.write_text(f"DATABASE_URL={SECRET}\nVAULTSTREAM_NATS_URL=\nBATCH_SIZE=7\nHOME=/nowhere\n")
    path.chmod(0o600)
    return path


ALIASES = {str(field.alias) for field in Settings.model_fields.values()}


def load(**options: object) -> Settings:
    return load_settings(read_env_file(), **options)


def test_what_is_taken_from_the_file_is_named_and_never_shown(env: Path) -> None:
    settings = load()
    assert settings.batch_size == 7
    assert settings.origin == f"Settings from .env in {env.parent}: DATABASE_URL, BATCH_SIZE"
    assert "hidden-word" not in f"{settings.origin} {settings!r} {read_env_file()!r}"
    assert settings.taken == {"DATABASE_URL": SECRET, "BATCH_SIZE": "7"}


def test_what_the_environment_or_an_option_sets_is_not_taken(
    env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCH_SIZE", "9")
    settings = load(database_url="postgresql://mine/db")
    assert (settings.batch_size, settings.taken, settings.origin) == (9, {}, None)
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://mine/db"


def test_an_empty_variable_counts_as_not_set(env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_SIZE", "")
    assert load().batch_size == 7


def test_names_are_found_in_any_case_and_with_a_byte_order_mark(env: Path) -> None:
    env.write_text("\ufeffbatch_size=8\n", "utf-8")
    assert load().taken == {"BATCH_SIZE": "8"}


def test_no_value_reads_the_environment_of_the_command(env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes the file names the server as well, which would get it. Names of names would double at each line."""
    monkeypatch.setenv("SECRET_OF_OTHERS", "hidden-word")
    doubled = "".join(f"A{n}=${{A{n - 1}}}${{A{n - 1}}}\n" for n in range(1, 60))
    env.write_text(f"A0=1234\n{doubled}VAULTSTREAM_NATS_URL=nats://${{SECRET_OF_OTHERS}}@nowhere\n")
    assert load().taken == {"VAULTSTREAM_NATS_URL": "nats://${SECRET_OF_OTHERS}@nowhere"}


def test_workers_take_nothing_from_the_file(env: Path) -> None:
    assert load_settings().database_url is None
    assert load_settings().origin is None


def test_a_file_that_every_user_may_write_is_refused(env: Path) -> None:
    env.chmod(0o602)
    with pytest.raises(UsageError, match="written by every user") as refused:
        load()
    assert "chmod 600" in str(refused.value.hint)


def test_a_file_that_its_group_may_write_is_named_as_such(env: Path) -> None:
    env.chmod(0o660)
    assert "which its group may write: DATABASE_URL" in str(load().origin)


@as_root
def test_a_file_of_another_user_is_refused(env: Path) -> None:
    os.chown(env, 65534, 65534)
    with pytest.raises(UsageError, match="belongs to another user"):
        load()


@as_root
def test_a_link_that_another_user_made_is_refused(env: Path) -> None:
    target = env.rename(env.with_name("elsewhere"))
    env.symlink_to(target)
    assert load().batch_size == 7
    os.lchown(env, 65534, 65534)
    with pytest.raises(UsageError, match="belongs to another user"):
        load()


@pytest.mark.parametrize("content", [b"\xff\xfe=1\n", b"BATCH_SIZE=\xe9\n", b"BATCH_SIZE=1\0\n"])
def test_what_is_no_text_is_refused(env: Path, content: bytes) -> None:
    env.write_bytes(content)
    with pytest.raises(UsageError, match="not UTF-8"):
        load()


def test_a_file_that_is_too_large_for_settings_is_refused(env: Path) -> None:
    """Read whole, one of some hundred megabytes would take all memory."""
    env.write_text("BATCH_SIZE=7\n" + "#" * (MOST_BYTES - 13))
    assert load().batch_size == 7
    env.write_text("BATCH_SIZE=7\n" + "#" * (MOST_BYTES - 12))
    with pytest.raises(UsageError, match="more than 65,536 bytes"):
        load()


def test_a_hint_that_is_pasted_runs_no_name_of_a_directory(
    env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = env.parent / "x;touch PWNED;#"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / ".env").touch()
    (folder / ".env").chmod(0o666)
    with pytest.raises(UsageError) as caught:
        load()
    assert f"chmod 600 {shlex.quote(str(folder / '.env'))}`" in (caught.value.hint or "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_can_not_be_read_is_refused(env: Path) -> None:
    env.chmod(0)
    with pytest.raises(UsageError, match="Permission denied"):
        load()


def test_a_loop_of_links_is_refused(env: Path) -> None:
    env.unlink()
    env.symlink_to(env)
    with pytest.raises(UsageError, match="can't be read"):
        load()


def test_a_directory_a_pipe_and_no_file_mean_no_settings(env: Path) -> None:
    env.unlink()
    assert load().origin is None
    os.mkfifo(env)
    assert load().origin is None
    env.unlink()
    env.mkdir()
    assert load().origin is None


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=Command(folder).environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_command_names_what_it_takes_apart_from_its_data(env: Path) -> None:
    done = run(env.parent, "-m", "vaultstream_cli", "doctor", "--json", "--no-start")
    assert done.stderr == f"Settings from .env in {env.parent}: DATABASE_URL, BATCH_SIZE\n"
    assert done.stdout.startswith("{")
    assert "hidden-word" not in done.stdout


def test_a_program_that_has_set_up_no_logs_shows_what_it_takes(env: Path) -> None:
    program = (
        "import asyncio, vaultstream\n"
        "async def main():\n    async with vaultstream.open_engine(): pass\n"
        "asyncio.run(main())"
    )
    done = run(env.parent, "-c", program)
    assert f"Settings from .env in {env.parent}: DATABASE_URL, BATCH_SIZE\n" in done.stderr
    assert "hidden-word" not in done.stderr


@pytest.mark.parametrize("module", ["vaultstream", "vaultstream_cli"])
def test_a_worker_that_starts_beside_the_file_is_not_redirected(env: Path, module: str) -> None:
    done = run(env.parent, "-m", module, "worker", "signing", "receipts")
    assert done.returncode == ExitCode.USAGE
    assert "A worker needs DATABASE_URL" in done.stdout
    assert "nowhere" not in done.stdout + done.stderr


def test_a_file_that_is_no_text_gives_an_error_and_no_traceback(env: Path) -> None:
    env.write_bytes(b"\xff\n")
    done = run(env.parent, "-m", "vaultstream_cli", "jobs")
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.startswith(
        f"error: The settings in {env} are not used: it is not UTF-8 text.\n  try: "
    )
