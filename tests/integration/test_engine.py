"""The public interface: a job run and read by a Python program."""

from __future__ import annotations

from pathlib import Path

import pytest

import vaultstream
from support.as_user import connect
from support.engine import add_table, make_spec, new_name
from vaultstream.errors import InvalidJobError, UnknownJobError
from vaultstream.local.services import Services

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def seals_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seal key is that of other databases, too."""
    monkeypatch.setenv("VAULTSTREAM_SEALS_DIR", str(tmp_path / "seals"))


def manifest(table: str, **spec: object) -> vaultstream.SigningJob:
    return vaultstream.SigningJob.model_validate(
        {
            "apiVersion": "vaultstream.dev/v1alpha1",
            "kind": "SigningJob",
            "metadata": {"name": new_name("job").replace("_", "-")},
            "spec": make_spec(table, **spec).dump(),
        }
    )


async def test_a_job_is_run_verified_and_read(
    services: Services, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULTSTREAM_NATS_USER", services.nats_user)
    monkeypatch.setenv("VAULTSTREAM_NATS_PASSWORD", services.nats_password)
    async with connect(migrated_url) as db:
        table = await add_table(db, range(1, 26))
        await db.execute(f"UPDATE {table} SET payload = NULL WHERE id = 7")
    job = manifest(table, records={"table": table, "maxPayloadBytes": 1024})
    name = job.metadata.name
    async with vaultstream.open_engine(
        data_dir=services.data_dir,
        database_url=migrated_url,
        nats_url=services.nats_url,
        kek_file=services.kek_file,
    ) as engine:
        result = await engine.run(job, max_signers=1)
        assert (result.name, result.state, result.ok) == (name, vaultstream.JobState.COMPLETE, False)
        assert (result.records, result.signed, result.dead) == (25, 24, 1)
        assert result.seconds
        assert await engine.run(job) == result == await engine.result(result.token)

        report = await engine.verify(name)
        assert (report.ok, report.valid, report.dead) == (True, 24, 1)
        [dead] = await engine.dead_letters(name)
        assert dead.record_id == "7"
        found = [signature async for signature in engine.signatures(name)]
        assert [signature.record_id for signature in found] == [str(i) for i in range(1, 26) if i != 7]
        wanted = [each async for each in engine.signatures(name, records=["7", "9"])]
        assert wanted == [each for each in found if each.record_id == "9"]

        changed = job.model_copy(update={"spec": job.spec.model_copy(update={"batch_size": 3})})
        with pytest.raises(InvalidJobError, match="batchSize"):
            await engine.run(changed)
        with pytest.raises(UnknownJobError):
            await engine.verify("no-such-job")
