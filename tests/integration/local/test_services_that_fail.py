"""Half-created data, taken ports, full disks and other versions are handled or reported."""

# ruff: noqa: ASYNC220, ASYNC240 - these tests may block: nothing else runs on their loop

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
import pytest

from support.disks import small_disk
from support.embedded import AS_ROOT, USER, fill, kept, kill, owner_of_postgres, runs, use
from support.local_services import local_services
from vaultstream.errors import LocalServiceError
from vaultstream.local.nats import EmbeddedNats
from vaultstream.local.services import (
    LocalServices,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


async def test_a_taken_port_is_left_to_its_owner_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with local_services(tmp_path) as services:
        port = int(services.nats_url.rsplit(":", 1)[1])
    with socket.create_server(("127.0.0.1", port)), caplog.at_level(logging.WARNING):
        async with local_services(tmp_path) as moved:
            assert moved.nats_url != services.nats_url
            await use(moved)
    assert f"port {port} of the embedded NATS is taken" in caplog.text


async def test_a_port_that_is_left_in_a_moment_is_kept(tmp_path: Path) -> None:
    """A server that was killed leaves its port when its last thread has ended, and looks ended before."""
    server = EmbeddedNats(tmp_path)
    url = (await server.ensure()).url
    await server.stop()
    taken = socket.create_server(("127.0.0.1", int(url.rsplit(":", 1)[1])))
    asyncio.get_running_loop().call_later(0.3, taken.close)
    try:
        assert (await server.ensure()).url == url
    finally:
        await server.stop()


async def test_a_stale_pid_file_with_somebody_elses_number_is_seen_through(tmp_path: Path) -> None:
    async with local_services(tmp_path) as services:
        await use(services)
        kill(services.postgres_pid)
        kill(services.nats_pid)
        bystander = subprocess.Popen(("/bin/sleep", "600"), user=owner_of_postgres(services))
        postmaster = tmp_path / "postgres" / "data" / "postmaster.pid"
        lines = postmaster.read_text().splitlines()
        postmaster.write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")
        (tmp_path / "nats" / "nats.pid").write_text(str(bystander.pid))
        assert runs(tmp_path) == (False, False)
        assert await kept(await services.ensure_running()) == (1, 1)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


async def test_a_server_whose_starter_died_before_its_pid_file_is_adopted_not_doubled(tmp_path: Path) -> None:
    async with local_services(tmp_path) as services:
        (tmp_path / "nats" / "nats.pid").unlink()
        assert (await services.ensure_running()).nats_pid == services.nats_pid
    assert not psutil.pid_exists(services.nats_pid or 0)


async def test_a_half_initialized_cluster_is_created_again(tmp_path: Path) -> None:
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
    (tmp_path / "users.lock").touch()  # services ran there
    with pytest.raises(LocalServiceError, match="is from Postgres 16") as caught:
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


@AS_ROOT
@pytest.mark.parametrize("filled", ["before the first start", "after a stop"])
async def test_a_full_disk_is_named_and_once_freed_all_is_well(tmp_path: Path, filled: str) -> None:
    with small_disk(tmp_path / "disk", "160m") as disk:
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
