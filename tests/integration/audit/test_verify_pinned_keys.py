"""`verify --keys`: signatures count only under the keys that somebody has kept, whatever the database says of its keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from integration.audit.audits import audit, found
from integration.audit.tampering import reason, resign
from vaultstream.api import Algorithm
from vaultstream.audit.checks.pinned_keys import PinnedKeys
from vaultstream.crypto.algorithms import generate_private_key, public_key_to_bytes
from vaultstream.store.keys import list_keys
from vaultstream_cli.key_export import KeyFormat, render_keys

if TYPE_CHECKING:
    from integration.audit.conftest import MakeJob
    from integration.audit.signed_job import SignedJob

pytestmark = pytest.mark.integration

FREE_KEYS = "ALTER TABLE vaultstream.keys DISABLE TRIGGER USER"


async def exported(signed: SignedJob, **changes: Any) -> PinnedKeys:
    """Returns the job's keys as the command exports them, with other members in the first one."""
    text = render_keys(await list_keys(signed.connection, signed.job.job_no), KeyFormat.JWKS)
    keys = json.loads(text)
    keys["keys"][0] |= changes
    return PinnedKeys.parse(json.dumps(keys).encode())


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_a_job_under_the_exported_keys_passes(make: MakeJob, algorithm: Algorithm) -> None:
    signed = await make(algorithm=algorithm, ids=[1, 2, 3, 4])
    report = await audit(signed, pinned_keys=await exported(signed))
    assert report.ok, report.examples


async def test_a_key_replaced_under_its_name_with_all_that_it_signed(make: MakeJob) -> None:
    """Nothing in the database shows it: records, statements and the key fit together."""
    signed = await make(keys=1)
    pinned = await exported(signed)
    planted = generate_private_key(Algorithm.ECDSA_P256_SHA256)
    await signed.execute("UPDATE vaultstream.keys SET public_key = $1", public_key_to_bytes(planted))
    await resign(signed, planted)
    assert (await audit(signed)).ok
    report = await audit(signed, pinned_keys=pinned)
    assert found(report) == {"rekeyed": 1}
    assert "another public half" in reason(report, "rekeyed")
    assert "signed 12 records" in reason(report, "rekeyed")


async def test_one_of_two_keys_replaced(make: MakeJob) -> None:
    signed = await make()
    pinned = await exported(signed)
    planted = generate_private_key(Algorithm.ECDSA_P256_SHA256)
    key_no = await signed.connection.fetchval("SELECT min(key_no) FROM vaultstream.keys")
    await signed.execute(
        "UPDATE vaultstream.keys SET public_key = $1 WHERE key_no = $2", public_key_to_bytes(planted), key_no
    )
    await resign(signed, planted, batches=f"key_no = {key_no}")
    report = await audit(signed, pinned_keys=pinned)
    assert found(report) == {"rekeyed": 1}
    assert signed.job.token in reason(report, "rekeyed")


async def test_everything_signed_again_under_new_keys(make: MakeJob) -> None:
    signed = await make(keys=1)
    pinned = await exported(signed)
    planted = generate_private_key(Algorithm.ECDSA_P256_SHA256)
    await signed.execute(FREE_KEYS)
    await signed.execute(
        "UPDATE vaultstream.keys SET public_key = $1, key_id = 'new'", public_key_to_bytes(planted)
    )
    await resign(signed, planted, name="new")
    assert (await audit(signed)).ok
    report = await audit(signed, pinned_keys=pinned)
    assert found(report) == {"rekeyed": 1}
    assert "no key that signed is among the pinned keys" in reason(report, "rekeyed")


async def test_a_batch_signed_by_a_key_that_was_added(make: MakeJob) -> None:
    signed = await make()
    pinned = await exported(signed)
    planted = generate_private_key(Algorithm.ECDSA_P256_SHA256)
    key_no = await signed.connection.fetchval(
        "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key) "
        "SELECT job_no, 99, 'planted', algorithm, $1 FROM vaultstream.keys LIMIT 1 RETURNING key_no",
        public_key_to_bytes(planted),
    )
    where = "(key_no, epoch) = (SELECT key_no, epoch FROM vaultstream.leases WHERE batch_no = 2)"
    for table in (signed.signatures, "vaultstream.statements"):
        await signed.execute(f"UPDATE {table} SET key_no = $1 WHERE {where}", key_no)
    await signed.execute("UPDATE vaultstream.leases SET key_no = $1 WHERE batch_no = 2", key_no)
    await resign(signed, planted, batches="batch_no = 2", name="planted")
    assert (await audit(signed)).ok
    report = await audit(signed, pinned_keys=pinned)
    assert found(report) == {"unknown_keys": 1}
    assert reason(report, "unknown_keys") == "key planted is not among the pinned keys, and signed 4 records"


@pytest.mark.parametrize("mark", [{"state": "revoked"}, {"revoked": {"revoked_at": 1}}, {"revoked": {}}])
async def test_a_key_that_is_revoked_in_the_set(make: MakeJob, mark: dict[str, Any]) -> None:
    """Though the database does not say so: it may be a restored backup, or somebody took the revocation back."""
    signed = await make(keys=1)
    report = await audit(signed, pinned_keys=await exported(signed, **mark))
    assert found(report) == {"distrusted_keys": 1}


async def test_a_key_set_of_another_job(make: MakeJob) -> None:
    signed = await make()
    report = await audit(signed, pinned_keys=PinnedKeys.parse(b'{"keys": []}'))
    assert found(report) == {"rekeyed": 2}


async def test_a_key_that_has_signed_nothing_need_not_be_pinned(make: MakeJob) -> None:
    signed = await make(keys=3, ids=[1, 2, 3, 4])
    keys = (await exported(signed)).keys
    used = await signed.connection.fetchval(
        "SELECT key_id FROM vaultstream.leases JOIN vaultstream.keys USING (key_no)"
    )
    assert (await audit(signed, pinned_keys=PinnedKeys({used: keys[used]}))).ok
