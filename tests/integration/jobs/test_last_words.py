"""A worker that fails for good tells its pool why, over the last line of its log."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from vaultstream.crypto.keyring import create_keyring, load_keyring
from vaultstream.errors import CustodyError, ProcessError
from vaultstream.keys.worker import make_missing_keys
from vaultstream.last_words import read_last_words
from vaultstream.local.pool import WorkerPool

if TYPE_CHECKING:
    from pathlib import Path

    from support.lab import Lab

pytestmark = pytest.mark.integration


async def tend_until_it_fails(pool: WorkerPool) -> None:
    while True:
        await pool.tend()
        await asyncio.sleep(0.1)


async def test_a_signer_that_can_not_unwrap_its_key_ends_its_pool_with_the_error_and_the_fix(
    lab: Lab, tmp_path: Path
) -> None:
    await lab.table((n, f"record {n}") for n in range(1, 101))
    job = await lab.open()
    await make_missing_keys(lab.pool, job, load_keyring(lab.services.kek_file))
    other = tmp_path / "another-kek"
    create_keyring(other)
    async with WorkerPool(replace(lab.services, kek_file=other), job) as pool:
        await pool.scale(1)
        with pytest.raises(CustodyError) as failed:
            await asyncio.wait_for(tend_until_it_fails(pool), 60)
    log = await asyncio.to_thread((pool.logs / "signing-1.log").read_text)
    words = read_last_words(log.splitlines())
    assert words is not None
    assert (words.code, words.message, words.hint) == (6, failed.value.message, failed.value.hint)
    assert load_keyring(lab.services.kek_file).primary.kek_id in words.message, "which key is missing"
    assert words.hint
    secrets = [lab.services.nats_password, *other.read_text().split()]
    assert not [secret for secret in secrets if len(secret) > 20 and secret in log]


async def test_a_worker_that_can_not_be_started_is_reported_in_a_sentence(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a user may have no more processes."""
    await lab.table([(1, "record 1")])
    job = await lab.open()
    async with WorkerPool(lab.services, job) as pool:
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(ProcessError, match=r"A worker can't be started: No such file") as failed:
            await pool.scale(1)
    assert "ulimit -u" in (failed.value.hint or "")
