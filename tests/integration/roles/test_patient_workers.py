"""Workers in a pod that can't work yet, or have nothing more to do: they wait inside, where the kubelet would let them wait for minutes."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import asyncpg
import pytest

from support.engine import add_job
from support.guarded import GuardedDatabase, GuardedNats, start_worker
from support.scraping import ask
from support.waiting import eventually
from vaultstream.crypto.keyring import create_keyring
from vaultstream.errors import ExitCode
from vaultstream.last_words import read_last_words
from vaultstream.local.ports import choose_port
from vaultstream.patience import LEAVES
from vaultstream.store.jobs import Job

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


class Pod:
    """The environment of one worker's container, which outlives its processes."""

    def __init__(self, database: GuardedDatabase, nats: GuardedNats, part: str, folder: Path) -> None:
        create_keyring(folder / "kek")
        self.part, self.log, self.port = part, folder / "log", choose_port()
        self._environment = {
            **database.environment(part),
            **nats.environment(part),
            "VAULTSTREAM_KEK_FILE": str(folder / "kek"),
            "VAULTSTREAM_LAST_WORDS_FILE": str(folder / "last-words.json"),
            "VAULTSTREAM_METRICS_PORT": str(self.port),
        }

    async def start(self, job: Job) -> asyncio.subprocess.Process:
        return await start_worker(self.part, job.token, self._environment, self.log)

    async def waits(self) -> set[str]:
        """The failing checks of its readiness, once it serves them; it is alive meanwhile."""
        try:
            ready, live = [await asyncio.to_thread(ask, self.port, path) for path in ("/readyz", "/livez")]
        except OSError:
            return set()
        return ready.failing() if live.status == 200 else set()


async def test_a_worker_that_lacks_a_grant_is_reported_and_then_waits_until_it_has_it(
    database: GuardedDatabase, nats: GuardedNats, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    admin = await asyncpg.connect(database.admin_url)
    login = database.logins["keys"]
    pod, job = Pod(database, nats, "keys", tmp_path), await add_job(owner, keys=3)
    await owner.execute("DELETE FROM vaultstream.keys WHERE job_no = $1", job.job_no)
    await admin.execute(f"REVOKE vaultstream_keys FROM {login}")
    try:
        for _ in range(LEAVES):
            process = await pod.start(job)
            assert await asyncio.wait_for(process.wait(), 30) == ExitCode.SERVICE
            told = read_last_words(pod.log.read_text().splitlines()[-1:])
            assert told is not None
            assert "GRANT vaultstream_keys" in (told.hint or "")
        process = await pod.start(job)
        await eventually(pod.waits, what="it waits inside")
        await eventually(lambda: "trying again" in pod.log.read_text())
        assert process.returncode is None
    finally:
        await admin.execute(f"GRANT vaultstream_keys TO {login}")
        await admin.close()

    async def made() -> bool:
        count = "SELECT count(*) FROM vaultstream.keys WHERE job_no = $1"
        return int(await owner.fetchval(count, job.job_no)) == 3

    await eventually(made, seconds=15)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 15) == ExitCode.OK


async def test_a_signer_whose_job_has_ended_stays_ready_until_its_pod_is_deleted(
    database: GuardedDatabase, nats: GuardedNats, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    pod, job = Pod(database, nats, "signing", tmp_path), await add_job(owner, keys=1)
    await owner.execute(
        "UPDATE vaultstream.jobs SET state = 'Failed', finished_at = now() WHERE job_no = $1", job.job_no
    )
    process = await pod.start(job)

    async def rests() -> bool:
        try:
            ready = await asyncio.to_thread(ask, pod.port, "/readyz")
        except OSError:
            return False
        return "work" in ready.document["checks"] and ready.status == 200

    await eventually(rests, what="it rests")
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 15) == ExitCode.OK
