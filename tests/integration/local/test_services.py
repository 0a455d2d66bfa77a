"""The embedded services as commands see them: started by the first, stopped by the last, back after a crash."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import nats
import pytest

from support.embedded import OtherCommand, kept, kill, runs, use
from support.local_services import local_services
from vaultstream.crypto.keyring import load_keyring
from vaultstream.errors import LocalServiceError, UsageError
from vaultstream.local.services import (
    inspect_services,
    stop_services,
)

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.integration


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


async def test_a_command_ended_by_ctrl_c_stops_them(tmp_path: Path) -> None:
    other = OtherCommand(tmp_path)
    other.process.send_signal(signal.SIGINT)
    other.leave()
    assert runs(tmp_path) == (False, False)


async def test_nothing_is_started_again_after_leaving(tmp_path: Path) -> None:
    async with local_services(tmp_path) as services:
        pass
    with pytest.raises(LocalServiceError, match="no longer in use"):
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
