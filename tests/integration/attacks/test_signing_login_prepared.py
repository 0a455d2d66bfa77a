"""What someone who has the login of the signers tries where Postgres has prepared transactions: they keep locks without a session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from support.as_user import connect
from support.engine import claim_one, new_name
from support.guarded import GuardedDatabase, guarded_database
from support.signing_login import ANN
from vaultstream.doctor import transactions
from vaultstream.doctor.held_back import examine_held_back
from vaultstream.errors import LockedError, UsageError
from vaultstream.keys.changes import KEK_LOCK, making_keys
from vaultstream.local.services import LocalServices
from vaultstream.store.jobs import Job
from vaultstream.store.keys import end_keys

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

NAME = "it's mine"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedDatabase]:
    """A database on a server of its own that allows prepared transactions, which the default does not."""
    with asyncio.Runner() as runner:
        folder = tmp_path_factory.mktemp("prepared")
        for setting in ("ALTER SYSTEM SET max_prepared_transactions = 4", None):
            local = LocalServices(folder, nats=False)
            runner.run(local.__aenter__())
            url = runner.run(local.services()).database_url
            if setting:
                runner.run(_execute(url, setting))
                runner.run(local.__aexit__(None, None, None))
        guarded = guarded_database(url, new_name("shop"))
        yield runner.run(guarded.__aenter__())
        runner.run(guarded.__aexit__(None, None, None))
        runner.run(local.__aexit__(None, None, None))


async def _execute(url: str, statement: str) -> None:
    async with connect(url) as connection:
        await connection.execute(statement)


@pytest.fixture
async def prepared(database: GuardedDatabase, signer: asyncpg.Connection, job: Job) -> AsyncIterator[str]:
    """A prepared transaction that has leased a key and has the advisory lock of key-encryption keys; how it is named."""
    await signer.execute("BEGIN")
    await claim_one(signer, job, ANN, 1)
    await signer.execute("SELECT pg_advisory_xact_lock($1::bigint)", KEK_LOCK)
    quoted = NAME.replace("'", "''")
    await signer.execute(f"PREPARE TRANSACTION '{quoted}'")
    yield f'the prepared transaction "{NAME}" of the user {database.logins["signing"]}'
    async with connect(database.admin_url) as admin:
        if await admin.fetchval("SELECT count(*) FROM pg_prepared_xacts"):
            await admin.execute(f"ROLLBACK PREPARED '{quoted}'")


async def test_the_doctor_names_a_prepared_transaction_that_nobody_ends(
    owner: asyncpg.Connection, prepared: str
) -> None:
    [finding] = [each for each in await examine_held_back(owner, left=0.0) if "prepared" in each.check]
    assert prepared in finding.message
    assert "ROLLBACK PREPARED 'it''s mine'" in (finding.hint or "")


async def test_what_waits_for_a_prepared_transaction_names_it_and_how_to_end_it(
    database: GuardedDatabase, owner: asyncpg.Connection, job: Job, prepared: str
) -> None:
    await owner.execute("ALTER FUNCTION vaultstream.end_keys SET lock_timeout = '500ms'")
    async with connect(database.urls["keys"]) as keys, connect(database.admin_url) as admin:
        with pytest.raises(LockedError) as caught:
            await end_keys(keys, job.job_no, [f"{job.token}-1", f"{job.token}-2"], state="revoked")
        assert prepared in caught.value.message
        with pytest.raises(UsageError) as refused:
            async with making_keys(keys, job):
                pass
        assert prepared in refused.value.message
        end = "ROLLBACK PREPARED 'it''s mine'"
        assert end in (caught.value.hint or "")
        assert end in (refused.value.hint or "")
        await admin.execute(end)
        await end_keys(keys, job.job_no, [f"{job.token}-1", f"{job.token}-2"], state="revoked")


async def test_doctor_names_a_prepared_transaction_that_a_signer_leaves(
    database: GuardedDatabase, prepared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "OPEN_SECONDS", 0.0)
    async with connect(database.admin_url) as admin:
        [finding] = await transactions.examine_transactions(admin)
    assert prepared in finding.message
