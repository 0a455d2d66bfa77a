"""How many logs someone who has the records login of a tenant may open: none is ever removed, and audits read all logs of seals."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job
from support.guarded import GuardedDatabase
from support.guarded_fixtures import TENANTS
from support.sealing import new_seal_key
from vaultstream.errors import ProofError
from vaultstream.sealing.sealer import Sealer
from vaultstream.store.logs import lock_log

pytestmark = pytest.mark.integration

SHOP, BANK = TENANTS


async def test_a_tenant_has_a_limited_number_of_logs_of_seals_and_leaves_others_theirs(
    tenants_database: GuardedDatabase, tmp_path: Path
) -> None:
    async with (
        connect(tenants_database.urls["owner"]) as owner,
        connect(tenants_database.urls[f"records-{SHOP}"]) as shop,
        connect(tenants_database.urls[f"records-{BANK}"]) as bank,
    ):
        await owner.execute(
            "INSERT INTO vaultstream.logs (origin, tenant) SELECT n || '/tenants/' || $1, $1 FROM generate_series(2, 5000) AS n",
            SHOP,
        )
        await lock_log(shop, f"1/tenants/{SHOP}", tenant=SHOP)
        with pytest.raises(asyncpg.ConfigurationLimitExceededError, match="5,000 logs of seals"):
            await lock_log(shop, f"0/tenants/{SHOP}", tenant=SHOP)
        sealer = Sealer(new_seal_key(), tmp_path, await add_job(owner, tenant=SHOP))
        with pytest.raises(ProofError, match=f"too many logs of seals of the tenant '{SHOP}'"):
            await sealer.seal(shop)  # which the message of the job is; Postgres is not called unreachable
        await lock_log(shop, f"1/tenants/{SHOP}", tenant=SHOP)
        await lock_log(bank, f"1/tenants/{BANK}", tenant=BANK)
