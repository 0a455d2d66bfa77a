"""How a job may end, or stand still, other than by being signed to the last record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vaultstream.errors import InvalidJobError, SourceError
from vaultstream.local.deletion import seal_deletion
from vaultstream.store import jobs

if TYPE_CHECKING:
    from support.lab import Lab

pytestmark = pytest.mark.integration


async def test_a_job_past_its_active_deadline_fails_and_keeps_what_is_signed(lab: Lab) -> None:
    await lab.table((n, f"record {n}") for n in range(1, 101))
    job = await lab.open(activeDeadlineSeconds=3600)
    await lab.plan(job)
    await lab.execute("UPDATE vaultstream.jobs SET started_at = started_at - interval '2 hours'")
    ended = await lab.finish(job)
    assert ended.job.state == "Failed"
    assert "activeDeadlineSeconds (3600 s)" in (ended.job.message or "")
    assert (await lab.verify(job)).invalid == 0


async def test_a_suspended_job_is_idle_until_it_is_resumed(lab: Lab) -> None:
    await lab.table((n, f"record {n}") for n in range(1, 101))
    still = await lab.run(suspend=True)
    assert (still.job.state, still.progress.signed) == ("Suspended", 0)
    ended = await lab.run(suspend=False)
    assert (ended.job.state, ended.progress.signed) == ("Complete", 100)
    assert ended.job.token == still.job.token


async def test_a_name_in_use_is_refused_to_another_job_and_says_which_fields_differ(lab: Lab) -> None:
    await lab.table([(1, "one")])
    await lab.run()
    with pytest.raises(InvalidJobError, match="batchSize") as refused:
        await lab.open(batchSize=51)
    assert "keys" not in refused.value.message
    assert "vaultstream delete job" in (refused.value.hint or "")


async def test_a_name_is_free_again_after_deletion_and_old_signatures_stay_verifiable(lab: Lab) -> None:
    await lab.table((n, f"record {n}") for n in range(1, 101))
    old = (await lab.run()).job
    async with lab.pool.acquire() as connection:
        await jobs.delete_job(connection, old.job_no, "Retain")
        await seal_deletion(
            connection,
            old,
            key_file=lab.services.kek_file.with_name("seal-key"),
            folder=lab.services.data_dir / "seals",
        )
    new = await lab.run(batchSize=10)
    assert new.job.job_no != old.job_no
    assert new.progress.signed == 100
    assert (await lab.verify(old)).ok
    assert (await lab.verify(new.job)).ok


async def test_an_unusable_source_ends_the_run_with_the_field_and_the_fix(lab: Lab) -> None:
    await lab.execute("CREATE TABLE records (id bigint, payload text)")
    await lab.execute("INSERT INTO records VALUES (1, 'a'), (2, 'b'), (2, 'c'), (3, 'd')")
    with pytest.raises(SourceError, match=r"spec\.records\.table.*recrods") as missing:
        await lab.open(records={"table": "recrods"})
    assert "records" in (missing.value.hint or "")
    with pytest.raises(SourceError, match=r"spec\.records\.payloadColumn.*pyaload"):
        await lab.open(records={"table": "records", "payloadColumn": "pyaload"})


async def test_an_id_that_occurs_twice_stops_the_run_and_the_job_continues_once_it_is_fixed(lab: Lab) -> None:
    await lab.execute("CREATE TABLE records (id bigint, payload text)")
    await lab.execute("INSERT INTO records VALUES (1, 'a'), (2, 'b'), (2, 'c'), (3, 'd')")
    job = await lab.open()
    with pytest.raises(Exception, match="more than one row whose \"id\" is '2'"):
        await lab.finish(job)
    assert "more than one row" in (await lab.value("SELECT message FROM vaultstream.jobs"))
    await lab.execute("DELETE FROM records WHERE payload = 'c'")
    ended = await lab.finish(job)
    assert (ended.job.state, ended.progress.signed, ended.job.message) == ("Complete", 3, None)
