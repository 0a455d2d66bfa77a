"""The embedded services as commands see them: started by the first, stopped by the last, back after a crash."""

# ruff: noqa: ASYNC220, ASYNC221, ASYNC240 - these tests may block: nothing else runs on their loop

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg
import nats
import psutil  # type: ignore[import-untyped]
import pytest
from nats.js.api import StreamConfig

from vaultstream.crypto.keyring import load_keyring
from vaultstream.errors import LocalServiceError, UsageError
from vaultstream.local.services import (
    LocalServices,
    Services,
    inspect_services,
    local_services,
    open_services,
    stop_services,
)
from vaultstream.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nats.js import JetStreamContext

pytestmark = pytest.mark.integration

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk or become another user")

USER = """
import asyncio, concurrent.futures.thread, json, os, pathlib, sys
from vaultstream.local.services import local_services

async def main():
    async with local_services(pathlib.Path(sys.argv[1])) as services:
        print(json.dumps([services.postgres_pid, services.nats_pid, services.database_url]), flush=True)
        await asyncio.to_thread(sys.stdin.read)

if len(sys.argv) > 2:  # after the imports, since the interpreter may lie where that user can't go
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
asyncio.run(main())
"""


class OtherCommand:
    """A second process that uses the services of a data directory until it is told to leave, or is killed."""

    def __init__(self, data_dir: Path, *, user: int | None = None) -> None:
        self.process = subprocess.Popen(
            (sys.executable, "-c", USER, str(data_dir), *([str(user)] if user else [])),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "it did not start"
        self.postgres_pid, self.nats_pid, self.database_url = json.loads(line)

    def leave(self) -> int:
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)


@asynccontextmanager
async def jetstream(services: Services) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(
        services.nats_url, user=services.nats_user, password=services.nats_password, allow_reconnect=False
    )
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def use(services: Services) -> None:
    connection = await asyncpg.connect(services.database_url)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
    await connection.execute("INSERT INTO kept VALUES (1)")
    await connection.close()
    async with jetstream(services) as js:
        await js.add_stream(StreamConfig(name="KEPT", subjects=["kept"]))
        await js.publish("kept", b"1")


async def kept(services: Services) -> tuple[int, int]:
    """How many rows and messages are there."""
    connection = await asyncpg.connect(services.database_url)
    rows = await connection.fetchval("SELECT count(*) FROM kept")
    await connection.close()
    async with jetstream(services) as js:
        return rows, (await js.stream_info("KEPT")).state.messages


def fill(filler: Path) -> None:
    """Takes all the space left on a disk."""
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


def kill(pid: int | None) -> None:
    assert pid
    process = psutil.Process(pid)
    process.kill()


def runs(data_dir: Path) -> tuple[bool, bool]:
    found = inspect_services(data_dir)
    return found.postgres is not None, found.nats is not None


async def test_they_start_work_stop_and_keep_what_they_were_given(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with local_services(data_dir) as services:
        await use(services)
        found = inspect_services(data_dir)
        assert found.postgres
        assert found.nats
        assert (found.postgres.pid, found.nats.pid) == (services.postgres_pid, services.nats_pid)
        assert (found.postgres.url, found.nats.url) == (services.database_url, services.nats_url)
        load_keyring(services.kek_file)
    assert runs(data_dir) == (False, False)
    async with local_services(data_dir) as again:
        assert await kept(again) == (1, 1)
        assert again.nats_url == services.nats_url
        assert again.nats_password == services.nats_password
        assert again.kek_file.read_bytes() == services.kek_file.read_bytes()


async def test_a_lost_key_encryption_key_is_not_replaced_in_silence(tmp_path: Path) -> None:
    async with local_services(tmp_path / "data") as services:
        kek = services.kek_file.read_bytes()
    services.kek_file.unlink()
    async with local_services(tmp_path / "data") as again:
        assert not again.kek_file.exists()
    services.kek_file.write_bytes(kek)


async def test_postgres_takes_our_settings_and_nothing_from_the_users_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "6543")
    monkeypatch.setenv("PGOPTIONS", "")
    monkeypatch.setenv("LC_ALL", "xx_XX.nonsense")
    async with local_services(tmp_path) as services:
        connection = await asyncpg.connect(services.database_url)
        rows = await connection.fetch(
            "SELECT name, current_setting(name) AS value FROM pg_settings WHERE name = ANY($1)",
            [
                "max_connections",
                "fsync",
                "synchronous_commit",
                "jit",
                "max_wal_size",
                "listen_addresses",
                "port",
            ],
        )
        assert {row["name"]: row["value"] for row in rows} == {
            "max_connections": "200",
            "fsync": "on",
            "synchronous_commit": "on",
            "jit": "off",
            "max_wal_size": "2GB",
            "listen_addresses": "",
            "port": "5432",
        }
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        assert await connection.fetchval("SELECT 'Z' < 'a' AND upper('ß→ü') = 'ß→Ü'")
        await connection.close()


async def test_the_last_of_two_commands_stops_them(tmp_path: Path) -> None:
    async with local_services(tmp_path) as services:
        other = OtherCommand(tmp_path)
        assert (other.postgres_pid, other.nats_pid) == (services.postgres_pid, services.nats_pid)
    assert runs(tmp_path) == (True, True)
    assert other.leave() == 0
    assert runs(tmp_path) == (False, False)


async def test_two_commands_that_start_at_once_share_one_pair(tmp_path: Path) -> None:
    first, second = await asyncio.gather(
        asyncio.to_thread(OtherCommand, tmp_path), asyncio.to_thread(OtherCommand, tmp_path)
    )
    assert (first.postgres_pid, first.nats_pid) == (second.postgres_pid, second.nats_pid)
    assert first.leave() == 0
    assert runs(tmp_path) == (True, True)
    assert second.leave() == 0
    assert runs(tmp_path) == (False, False)


async def test_what_a_killed_command_left_running_is_adopted_and_stopped(tmp_path: Path) -> None:
    killed = OtherCommand(tmp_path)
    killed.kill()
    assert runs(tmp_path) == (True, True)
    async with local_services(tmp_path) as services:
        assert (services.postgres_pid, services.nats_pid) == (killed.postgres_pid, killed.nats_pid)
        await use(services)
    assert runs(tmp_path) == (False, False)


async def test_ctrl_c_in_the_terminal_does_not_reach_them(tmp_path: Path) -> None:
    async with local_services(tmp_path) as services:
        for pid in (services.postgres_pid, services.nats_pid):
            assert pid
            assert os.getsid(pid) != os.getsid(0)


@pytest.mark.parametrize("victim", ["postgres", "nats"])
async def test_one_that_is_killed_comes_back_with_its_data(tmp_path: Path, victim: str) -> None:
    async with local_services(tmp_path) as services:
        await use(services)
        kill(services.postgres_pid if victim == "postgres" else services.nats_pid)
        back = await services.ensure_running()
        assert (back.database_url, back.nats_url) == (services.database_url, services.nats_url)
        assert (back.postgres_pid == services.postgres_pid) is (victim != "postgres")
        assert (back.nats_pid == services.nats_pid) is (victim != "nats")
        assert await kept(back) == (1, 1)
        assert await back.ensure_running() == back


async def test_a_command_that_enters_starts_again_what_died_before(tmp_path: Path) -> None:
    killed = OtherCommand(tmp_path)
    killed.kill()
    kill(killed.postgres_pid)
    kill(killed.nats_pid)
    async with local_services(tmp_path) as services:
        await use(services)
        assert services.postgres_pid != killed.postgres_pid
        assert services.nats_pid != killed.nats_pid


async def test_a_connected_client_finds_nats_again_after_it_was_killed(tmp_path: Path) -> None:
    async with local_services(tmp_path) as services:
        client = await nats.connect(
            services.nats_url,
            user=services.nats_user,
            password=services.nats_password,
            reconnect_time_wait=0.1,
        )
        kill(services.nats_pid)
        await services.ensure_running()
        async with asyncio.timeout(20):
            while True:
                try:
                    await client.jetstream().account_info()
                    break
                except nats.errors.Error:
                    await asyncio.sleep(0.05)
        await client.close()


async def test_a_taken_port_is_left_to_its_owner_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with local_services(tmp_path) as services:
        port = int(services.nats_url.rsplit(":", 1)[1])
    with socket.create_server(("127.0.0.1", port)), caplog.at_level(logging.WARNING):
        async with local_services(tmp_path) as moved:
            assert moved.nats_url != services.nats_url
            await use(moved)
    assert f"Port {port} of the embedded NATS is taken" in caplog.text


@pytest.mark.parametrize(
    "name", ["/".join(["a-rather-deep-directory"] * 12), "with space/ünï-漢字", 'it\'s, "$x" 100%']
)
async def test_any_data_directory_will_do(tmp_path: Path, name: str) -> None:
    async with local_services(tmp_path / name) as services:
        await use(services)
        assert await kept(services) == (1, 1)
    assert runs(tmp_path / name) == (False, False)


async def test_a_relative_data_directory_is_the_same_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_services(Settings(_env_file=None)) as services:
        assert services.data_dir == tmp_path / ".vaultstream"
        monkeypatch.chdir("/")
        assert runs(tmp_path / ".vaultstream") == (True, True)
        assert await services.ensure_running() == services


async def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with local_services(data_dir):
        modes = {
            name: stat.S_IMODE((data_dir / name).stat().st_mode)
            for name in (
                "kek",
                "nats/password",
                "nats/nats.conf",
                "nats.log",
                "postgres.log",
                "nats",
                "postgres",
            )
        }
        assert set(modes.values()) == {0o600, 0o700}
        assert {name for name, mode in modes.items() if mode == 0o700} == {"nats", "postgres"}
        # Root's Postgres runs as another user, which must be able to pass through, but not to list.
        expected = 0o700 if os.geteuid() else 0o711
        assert stat.S_IMODE(data_dir.stat().st_mode) == expected


async def test_the_password_is_in_no_arguments_environment_log_or_representation(tmp_path: Path) -> None:
    async with local_services(tmp_path) as services:
        await use(services)
        secret = services.nats_password
        for process in psutil.process_iter():
            try:
                seen = [*process.cmdline(), *process.environ().values()]
            except psutil.Error:
                continue
            assert not any(secret in text for text in seen)
        for log in tmp_path.glob("*.log*"):
            assert secret not in log.read_text()
        assert secret not in repr(services)
        assert services.database_url not in repr(services)


async def test_nobody_gets_in_without_the_password(tmp_path: Path) -> None:
    async def ignore(_: Exception) -> None:
        pass

    async with local_services(tmp_path) as services:
        with pytest.raises((nats.errors.Error, OSError)):
            await nats.connect(
                services.nats_url,
                user="vaultstream",
                password="wrong",
                allow_reconnect=False,
                error_cb=ignore,
            )


async def test_a_stale_pid_file_with_somebody_elses_number_is_seen_through(tmp_path: Path) -> None:
    async with local_services(tmp_path) as services:
        await use(services)
        kill(services.postgres_pid)
        kill(services.nats_pid)
        bystander = subprocess.Popen(("/bin/sleep", "600"), user=_owner_of_postgres(services))
        postmaster = tmp_path / "postgres" / "data" / "postmaster.pid"
        lines = postmaster.read_text().splitlines()
        postmaster.write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")
        (tmp_path / "nats" / "nats.pid").write_text(str(bystander.pid))
        assert runs(tmp_path) == (False, False)
        assert await kept(await services.ensure_running()) == (1, 1)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def _owner_of_postgres(services: Services) -> int:
    return (services.data_dir / "postgres").stat().st_uid


async def test_a_server_whose_starter_died_before_its_pid_file_is_adopted_not_doubled(tmp_path: Path) -> None:
    async with local_services(tmp_path) as services:
        (tmp_path / "nats" / "nats.pid").unlink()
        assert (await services.ensure_running()).nats_pid == services.nats_pid
    assert not psutil.pid_exists(services.nats_pid or 0)


async def test_a_half_made_cluster_is_made_anew(tmp_path: Path) -> None:
    killed = subprocess.Popen((sys.executable, "-c", USER, str(tmp_path)), stdin=subprocess.PIPE, cwd="/")
    while not (left := list(tmp_path.glob("postgres/data.new-*/PG_VERSION"))):
        assert killed.poll() is None
    killed.kill()
    killed.wait()
    async with local_services(tmp_path) as services:
        await use(services)
        assert not left[0].exists()


async def test_data_of_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    cluster = tmp_path / "postgres" / "data"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("16\n")
    with pytest.raises(LocalServiceError, match="is of Postgres 16") as caught:
        await LocalServices(tmp_path).__aenter__()
    assert caught.value.hint
    assert runs(tmp_path) == (False, False)


async def test_a_server_that_cant_start_shows_its_last_words(tmp_path: Path) -> None:
    async with local_services(tmp_path):
        pass
    (tmp_path / "postgres" / "data" / "pg_hba.conf").write_text("nonsense\n")
    with pytest.raises(LocalServiceError, match=r"(?s)Postgres does not start.*pg_hba.conf") as caught:
        await LocalServices(tmp_path).__aenter__()
    assert str(tmp_path / "postgres.log") in (caught.value.hint or "")
    assert runs(tmp_path) == (False, False)


async def test_stopping_is_refused_while_a_command_uses_them_unless_forced(tmp_path: Path) -> None:
    other = OtherCommand(tmp_path)
    with pytest.raises(UsageError, match="uses the services"):
        await stop_services(tmp_path)
    assert runs(tmp_path) == (True, True)
    assert await stop_services(tmp_path, force=True)
    assert runs(tmp_path) == (False, False)
    assert other.leave() == 0
    assert not await stop_services(tmp_path)
    assert not await stop_services(tmp_path / "nowhere")


async def test_stopping_ends_what_a_killed_command_left(tmp_path: Path) -> None:
    OtherCommand(tmp_path).kill()
    assert await stop_services(tmp_path)
    assert runs(tmp_path) == (False, False)


async def test_only_what_has_no_url_is_embedded(tmp_path: Path, services: Services) -> None:
    settings = Settings(
        _env_file=None,
        database_url=services.database_url,
        data_dir=tmp_path / "data",
    )
    async with open_services(settings) as opened:
        assert opened.database_url == services.database_url
        assert opened.postgres_pid is None
        assert opened.nats_pid
        assert opened.kek_file.exists()
        assert runs(tmp_path / "data") == (False, True)
        assert await opened.ensure_running() == opened
        await use(opened)
    assert runs(tmp_path / "data") == (False, False)


async def test_with_both_urls_nothing_is_started_or_made(tmp_path: Path) -> None:
    settings = Settings(
        _env_file=None,
        database_url="postgresql://u:p@db/x",
        nats_url="nats://bus:4222",
        nats_password="hidden",
        data_dir=tmp_path / "data",
    )
    async with open_services(settings) as opened:
        assert (opened.postgres_pid, opened.nats_pid) == (None, None)
        assert (opened.nats_user, opened.nats_password) == ("vaultstream", "hidden")
        assert await opened.ensure_running() == opened
        assert "hidden" not in repr(opened)
    assert not (tmp_path / "data").exists()


@AS_ROOT
@pytest.mark.parametrize("filled", ["before the first start", "after a stop"])
async def test_a_full_disk_is_named_and_once_freed_all_is_well(tmp_path: Path, filled: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(disk)), check=True)
    try:
        if filled == "after a stop":
            async with local_services(disk / "data") as services:
                await use(services)
        filler = disk / "filler"
        fill(filler)
        with pytest.raises(LocalServiceError, match=r"disk of .* is full") as caught:
            await LocalServices(disk / "data").__aenter__()
        assert "Free some space" in (caught.value.hint or "")
        assert runs(disk / "data") == (False, False)
        filler.unlink()
        async with local_services(disk / "data") as services:
            await use(services)
    finally:
        subprocess.run(("umount", str(disk)), check=True)


@AS_ROOT
async def test_an_ordinary_user_needs_no_other(tmp_path: Path, services: Services) -> None:
    user = _owner_of_postgres(services)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, user, user)
    for directory in tmp_path.parents[:2]:
        directory.chmod(directory.stat().st_mode | 0o001)
    tmp_path.chmod(0o711)
    other = OtherCommand(home / "data", user=user)
    assert (home / "data" / "postgres" / "data").stat().st_uid == user
    assert stat.S_IMODE((home / "data").stat().st_mode) == 0o700
    assert psutil.Process(other.nats_pid).uids().real == user
    assert other.leave() == 0
    assert runs(home / "data") == (False, False)


async def test_a_command_ended_by_ctrl_c_stops_them(tmp_path: Path) -> None:
    other = OtherCommand(tmp_path)
    other.process.send_signal(signal.SIGINT)
    other.leave()
    assert runs(tmp_path) == (False, False)


async def test_nothing_is_started_again_after_leaving(tmp_path: Path) -> None:
    async with local_services(tmp_path) as services:
        pass
    with pytest.raises(LocalServiceError, match="not in use"):
        await services.ensure_running()
    assert runs(tmp_path) == (False, False)


async def test_they_start_quickly(tmp_path: Path) -> None:
    seconds = []
    for _ in range(2):
        begun = time.monotonic()
        async with local_services(tmp_path):
            seconds.append(time.monotonic() - begun)
    cold, warm = seconds
    assert cold < 20
    assert warm < 5
