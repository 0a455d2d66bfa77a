"""Jobs of every shape end with each record signed once."""

from __future__ import annotations

import asyncio
import uuid
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from vaultstream.store.keys import count_keys

if TYPE_CHECKING:
    from support.lab import Lab

pytestmark = pytest.mark.integration


async def test_a_job_without_records_completes_at_once(lab: Lab) -> None:
    await lab.table([])
    ended = await lab.run()
    assert (ended.job.state, ended.progress.records) == ("Complete", 0)
    assert (await lab.verify(ended.job)).ok


async def test_a_job_that_is_faster_than_its_keys_are_made_is_sealed_with_all_of_them(lab: Lab) -> None:
    """Keys made after the seal would be others than the sealed ones."""
    await lab.table([])
    ended = await lab.run(keys={"count": 2000})
    assert ended.job.state == "Complete"
    async with lab.pool.acquire() as connection:
        assert (await count_keys(connection, ended.job.job_no)).made == 2000
    assert (await lab.verify(ended.job)).ok


async def test_a_single_record_is_signed(lab: Lab) -> None:
    await lab.table([(7, "the only one")])
    ended = await lab.run()
    assert await lab.signed_ids(ended.job) == {7}
    assert (await lab.verify(ended.job)).ok


async def test_one_key_serves_a_full_pool_and_is_never_used_twice_at_a_time(lab: Lab) -> None:
    await lab.table((n, f"record {n}") for n in range(1, 601))
    job = await lab.open(batchSize=20, keys={"count": 1})
    # more signers than the product would start: three processes fight over one key
    ended = await lab.finish(job, max_signers=3)
    assert ended.progress.signed == 600
    report = await lab.verify(ended.job)
    assert report.ok
    assert report.lease_overlaps == 0
    spans = await lab.rows(
        "SELECT lower(during), upper(during) FROM vaultstream.leases WHERE outcome = 'committed' ORDER BY 1"
    )
    assert len(spans) == 30
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


async def test_there_are_never_more_signers_than_keys_or_batches(lab: Lab) -> None:
    await lab.table((n, f"record {n}") for n in range(1, 401))
    assert (await lab.run("few-keys", keys={"count": 1}, max_signers=4)).signers == 1
    assert (await lab.run("few-batches", batchSize=400, max_signers=4)).signers <= 4
    assert len(list((lab.services.data_dir / "logs").glob("few-keys-*/signing-*.log"))) == 1


async def test_a_batch_may_be_larger_than_the_job(lab: Lab) -> None:
    await lab.table((n, f"record {n}") for n in range(1, 31))
    ended = await lab.run(batchSize=20_000)
    assert (ended.progress.signed, ended.progress.batches) == (30, 1)
    assert (await lab.verify(ended.job)).ok


async def test_ids_may_lie_billions_apart_and_below_zero(lab: Lab) -> None:
    ids = [-(2**63), -5_000_000_000, -1, 0, 1, 2, 3, 7_000_000_000, 2**63 - 1]
    await lab.table((n, f"record {n}") for n in ids)
    ended = await lab.run(batchSize=4)
    assert await lab.signed_ids(ended.job) == set(ids)
    assert (await lab.verify(ended.job)).ok


async def test_ids_may_be_text_in_any_script(lab: Lab) -> None:
    ids = [
        "Ünïcode",
        "数字",
        "данные",
        "עברית",
        "🔑",
        "a'b\"c\\",
        "A",
        "a",
        " ",
        "ß",
        "\u0131",
        "e\u0301",
        "é",
        "%s",
        "{}",
    ]
    await lab.table(((name, f"payload of {name}") for name in ids), id_type="text")
    ended = await lab.run(batchSize=4)
    assert await lab.signed_ids(ended.job) == set(ids)
    assert (await lab.verify(ended.job)).ok


async def test_ids_may_be_uuids_and_payloads_jsonb(lab: Lab) -> None:
    ids = [uuid.uuid4() for _ in range(120)]
    await lab.table(((each, f'{{"b": 1, "a": "{each}"}}') for each in ids), id_type="uuid", payload="jsonb")
    ended = await lab.run()
    assert {str(each) for each in await lab.signed_ids(ended.job)} == {str(each) for each in ids}
    assert (await lab.verify(ended.job)).ok


async def test_two_jobs_at_once_sign_one_table_each_for_itself(lab: Lab) -> None:
    await lab.table((n, f"record {n}") for n in range(1, 1001))
    first, second = await asyncio.gather(
        lab.run("first", max_signers=1),
        lab.run("second", max_signers=1, keys={"count": 2, "algorithm": "ED25519"}),
    )
    for ended in (first, second):
        assert ended.progress.signed == 1000
        assert (await lab.verify(ended.job)).ok


@pytest.mark.parametrize("algorithm", ["ECDSA_P256_SHA256", "ED25519", "RSA_PSS_3072_SHA256", "ML_DSA_65"])
async def test_every_algorithm_signs_and_verifies(lab: Lab, algorithm: str) -> None:
    await lab.table((n, f"record {n}") for n in range(1, 201))
    ended = await lab.run(keys={"count": 2, "algorithm": algorithm})
    report = await lab.verify(ended.job)
    assert (report.ok, report.valid) == (True, 200)


async def test_deterministic_ecdsa_gives_a_payload_the_same_signature_under_one_key(lab: Lab) -> None:
    await lab.table((n, "the same payload") for n in range(1, 41))
    ended = await lab.run(batchSize=10, keys={"count": 2, "deterministic": True})
    signatures = await lab.rows(f"SELECT DISTINCT key_no, signature FROM {ended.job.signatures_table}")
    assert len(signatures) == 2
    assert (await lab.verify(ended.job)).ok
