"""A job that was run and sealed by the workers is what `verify` takes it for, until somebody removes a batch."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import vaultstream
from support.as_user import connect
from support.engine import add_table, make_spec, new_name
from vaultstream.crypto.seal_keys import create_seal_keys
from vaultstream.local.services import Services
from vaultstream.store.jobs import get_job

pytestmark = pytest.mark.integration


async def test_a_job_is_verified_against_what_its_workers_sealed(
    services: Services, migrated_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULTSTREAM_NATS_USER", services.nats_user)
    monkeypatch.setenv("VAULTSTREAM_NATS_PASSWORD", services.nats_password)
    shutil.copy(services.kek_file, tmp_path / "kek")
    keys = create_seal_keys(tmp_path / "seal-key")
    async with (
        connect(migrated_url) as connection,
        vaultstream.open_engine(
            data_dir=tmp_path,
            database_url=migrated_url,
            nats_url=services.nats_url,
            kek_file=tmp_path / "kek",
        ) as engine,
    ):
        table = await add_table(connection, range(1, 26))
        job = vaultstream.SigningJob.model_validate(
            {
                "apiVersion": "vaultstream.dev/v1alpha1",
                "kind": "SigningJob",
                "metadata": {"name": new_name("job").replace("_", "-")},
                "spec": make_spec(table).dump(),
            }
        )
        result = await engine.run(job, max_signers=1)
        report = await engine.verify(result.token)
        assert report.ok, report.examples
        assert report.notes == ()
        assert report.seal is not None
        assert (report.seal.origin, report.seal.state, report.seal.pinned) == (keys.origin, "Complete", True)

        found = await get_job(connection, result.token)
        last = await connection.fetchval("SELECT max(batch_no) FROM vaultstream.statements")
        await connection.execute("ALTER TABLE vaultstream.jobs DISABLE TRIGGER USER")
        await connection.execute(
            f"DELETE FROM {found.signatures_table} s USING vaultstream.leases l "
            "WHERE (l.key_no, l.epoch) = (s.key_no, s.epoch) AND l.batch_no = $1",
            last,
        )
        for name in ("leases", "statements", "batches"):
            await connection.execute(f"DELETE FROM vaultstream.{name} WHERE batch_no = $1", last)
        await connection.execute("UPDATE vaultstream.jobs SET next_batch_no = $1", last)
        report = await engine.verify(result.token)
        assert report.removed_batches == 1, report.examples
        assert not report.ok
