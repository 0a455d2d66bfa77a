"""A job that was sealed, and given to a tenant later, is compared with what was sealed before and with what was sealed since."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from integration.audit.seal_of import Sealer
from integration.audit.sealed_job import FREE, findings
from integration.audit.signed_job import commit
from integration.audit.tampering import reason
from vaultstream.audit.seals.log_history import examine_log, open_kept
from vaultstream.audit.seals.seal_trust import SealTrust
from vaultstream.audit.verify import verify_job
from vaultstream.errors import UnknownJobError
from vaultstream.proof.note import NoteSigningKey
from vaultstream.store.jobs import adopt_job, complete_job_if_settled, delete_job, get_job

if TYPE_CHECKING:
    from integration.audit.conftest import MakeJob
    from integration.audit.signed_job import SignedJob
    from vaultstream.audit.report import AuditReport

pytestmark = pytest.mark.integration


class Adopted:
    """A job of three batches: two were sealed before it was given to the tenant, and the rest is sealed in the tenant's log."""

    def __init__(self, signed: SignedJob, former: Sealer, earlier: list[bytes]) -> None:
        self.signed = signed
        self.earlier = earlier
        """Checkpoints of both logs from before."""
        self.sealer = replace(former, tenant="shop")

    @classmethod
    async def make(cls, make: MakeJob) -> Adopted:
        signed = await make(
            name="shop/receipts", dead=frozenset({3}), waiting=frozenset({9, 10, 11, 12}), keys=2
        )
        former = Sealer()
        await former.plan(signed)
        await former.seal(signed)
        earlier = [await former.checkpoint(signed, of_job=of_job) for of_job in (False, True)]
        await adopt_job(signed.connection, signed.job.job_no, "shop")
        adopted = replace(signed, job=await get_job(signed.connection, signed.job.token))
        assert adopted.job.tenant == "shop"
        return cls(adopted, former, earlier)

    @classmethod
    async def altered(cls, make: MakeJob, statement: str) -> Adopted:
        """Makes one in which a statement of the database's owner ran between the two seals, and finishes it."""
        adopted = await cls.make(make)
        await adopted.signed.execute(FREE)
        await adopted.signed.execute(statement)
        await adopted.finish()
        return adopted

    async def finish(self, sealer: Sealer | None = None) -> None:
        """Signs and seals the rest, in the tenant's log."""
        sealer, connection = sealer or self.sealer, self.signed.connection
        payloads = dict(await connection.fetch("SELECT id, payload FROM receipts"))
        await commit(connection, self.signed.job, 3, [9, 10, 11, 12], payloads, dead=[])
        await sealer.plan(self.signed)
        await complete_job_if_settled(connection, self.signed.job.job_no)
        await sealer.seal(self.signed)

    async def verify(self, trust: SealTrust) -> AuditReport:
        return await verify_job(self.signed.url, self.signed.job.token, processes=1, seal_trust=trust)


async def test_a_job_that_was_given_to_a_tenant_after_its_first_seal_verifies(make: MakeJob) -> None:
    adopted = await Adopted.make(make)
    await adopted.finish()
    report = await adopted.verify(adopted.sealer.against(*adopted.earlier))
    assert report.ok, report.examples
    assert report.notes == ()
    assert report.seal is not None
    assert report.seal.origin == f"{adopted.sealer.key.name}/tenants/shop"


async def test_what_was_altered_between_the_seals_of_both_logs_is_named(make: MakeJob) -> None:
    """The tenant's log has it as it was altered; the former log has it as it was."""
    adopted = await Adopted.altered(make, "UPDATE vaultstream.dead_letters SET reason = 'PayloadNotText'")
    report = await adopted.verify(adopted.sealer.trust)
    assert findings(report) == {"altered_dead_letters": 1}, report.examples


async def test_what_was_planned_before_is_compared_with_how_the_job_ended(make: MakeJob) -> None:
    adopted = await Adopted.altered(make, "UPDATE vaultstream.jobs SET upper_id = '13'")
    report = await adopted.verify(adopted.sealer.trust)
    assert findings(report) == {"plan_broken": 1}, report.examples
    assert "the upper id was '12' and is '13'" in reason(report, "plan_broken")


async def test_a_former_log_under_a_key_that_was_not_given_is_a_note(make: MakeJob) -> None:
    adopted = await Adopted.make(make)
    own = Sealer(NoteSigningKey("shop.example/seals", Ed25519PrivateKey.generate()), tenant="shop")
    await adopted.finish(own)
    report = await adopted.verify(own.trust)
    assert report.ok, report.examples
    assert (
        "was sealed in the log 'example.com/seals' before it was given to the tenant 'shop'"
        in report.notes[0]
    )
    both = SealTrust(keys=(*own.trust.keys, adopted.sealer.key.public_key), asked=True)
    report = await adopted.verify(both)
    assert report.ok, report.examples
    assert report.notes == ()


async def test_a_former_log_that_was_altered_is_named(make: MakeJob) -> None:
    adopted = await Adopted.make(make)
    await adopted.finish()
    await adopted.signed.execute(FREE)
    await adopted.signed.execute(
        "DELETE FROM vaultstream.log_entries e USING vaultstream.logs l WHERE l.log_no = e.log_no AND l.tenant IS NULL "
        "AND l.job_no IS NOT NULL AND e.index = 0"
    )
    report = await adopted.verify(adopted.sealer.trust)
    assert findings(report) == {"bad_seals": 1}, report.examples


async def test_a_deletion_that_the_tenants_log_has_is_one_for_the_former_log(make: MakeJob) -> None:
    adopted = await Adopted.make(make)
    await adopted.finish()
    sealer, url = adopted.sealer, adopted.signed.url
    since = open_kept(adopted.earlier[0], sealer.trust.keys)

    async def problems() -> list[str]:
        history = await examine_log(url, since, sealer.trust.keys)
        return [finding.problem.value for finding in history.findings]

    await delete_job(adopted.signed.connection, adopted.signed.job.job_no, "Retain")
    assert await problems() == ["JobNotSealed"]
    await sealer.seal(adopted.signed)
    assert await problems() == []
    with pytest.raises(UnknownJobError) as raised:
        await verify_job(url, "shop/receipts", processes=1, seal_trust=sealer.trust)
    assert "which is kept" in str(raised.value.hint)
