"""The embedded services belong to their user: settings, folders, passwords, keys."""

# ruff: noqa: ASYNC240 - these tests may block: nothing else runs on their loop

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import asyncpg
import nats
import psutil  # type: ignore[import-untyped]
import pytest

from support.embedded import AS_ROOT, OtherCommand, kept, owner_of_postgres, runs, use
from support.local_services import local_services
from vaultstream.local.services import (
    Services,
    open_services,
)
from vaultstream.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


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
    async with open_services(Settings()) as services:
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


async def test_only_what_has_no_url_is_embedded(tmp_path: Path, services: Services) -> None:
    settings = Settings(
        database_url=services.database_url,
        data_dir=tmp_path / "data",
    )
    async with open_services(settings) as opened:
        assert opened.database_url == services.database_url
        assert opened.postgres_pid is None
        assert opened.nats_pid
        assert not opened.kek_file.exists()  # the keys of a database of one's own are provided
        assert runs(tmp_path / "data") == (False, True)
        assert await opened.ensure_running() == opened
        await use(opened)
    assert runs(tmp_path / "data") == (False, False)


async def test_with_both_urls_nothing_is_started_or_made(tmp_path: Path) -> None:
    settings = Settings(
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
async def test_an_ordinary_user_needs_no_other(tmp_path: Path, services: Services) -> None:
    user = owner_of_postgres(services)
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
