"""Scales in again and again while there is work for every signer: no work is done twice."""

from __future__ import annotations

import json
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats
import pytest
from nats.js.errors import NotFoundError

from support.e2e.release import NAME
from support.e2e.site import HOME
from support.waiting import eventually
from vaultstream.bus.permissions import BusRole, inbox_prefix
from vaultstream.bus.subjects import RECORDS_STREAM
from vaultstream.bus.tenants import api_prefix

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.js import JetStreamContext

    from support.e2e.site import Site

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

RECORDS = 220_000
"""Five signers read them for minutes, which the scale-ins take a part of; the rest is then read at once."""
SCALE_INS = 20
MOST = 5


@asynccontextmanager
async def jetstream(site: Site) -> AsyncIterator[JetStreamContext]:
    """The JetStream of the jobs' tenant, from the node, with the permissions of an auditor."""
    service = await site.client.call("GET", f"/api/v1/namespaces/{HOME}/services/{NAME}-nats")
    context = ssl.create_default_context(cadata=await site.secret(f"{NAME}-ca", "ca.crt"))
    context.check_hostname = False
    connection = await nats.connect(
        f"tls://{service['spec']['clusterIP']}:4222",
        tls=context,
        user=await site.secret(f"{NAME}-auditor", "nats-user"),
        password=await site.secret(f"{NAME}-auditor", "nats-password"),
        inbox_prefix=inbox_prefix(BusRole.AUDITOR).encode(),
    )
    try:
        yield connection.jetstream(prefix=api_prefix(HOME))
    finally:
        await connection.close()


async def test_twenty_scale_ins_under_load_cause_no_redelivery(site: Site) -> None:
    name = "shrinking"
    await site.slow_view(name, RECORDS)
    async with jetstream(site) as js:
        try:
            first = (await js.stream_info(RECORDS_STREAM)).state.last_seq
        except NotFoundError:
            first = 0  # no job has run yet
        await site.apply(
            name,
            batchSize=50,
            keys={"count": 30, "algorithm": "ED25519"},
        )
        token = ""
        done, signers = 0, 0
        while done < SCALE_INS:
            if signers <= 1:
                await scale(site, name, signers := MOST)
                await site.has_signed(name, 1)
                token = (await site.status(name))["token"]
            await scale(site, name, signers := signers - 1)
            done += 1
        status = await site.status(name)
        assert status["signed"] < RECORDS, "the job ended before all signers were removed"

        info = await js.consumer_info(RECORDS_STREAM, token)
        assert info.delivered is not None
        assert info.num_redelivered == 0
        assert info.delivered.consumer_seq == info.delivered.stream_seq - first, (
            f"each batch was delivered once; leases ended so far: {await outcomes(site, token)}"
        )

    await site.hurry(name)
    await site.completes(name)
    assert await outcomes(site, token) == {"committed": RECORDS // 50}
    assert (await site.verify(name))["valid"] == RECORDS


async def outcomes(site: Site, token: str) -> dict[str, int]:
    """How the leases of a job ended."""
    async with site.database() as db:
        rows = await db.fetch(
            "SELECT l.outcome, count(*) FROM vaultstream.leases l JOIN vaultstream.keys k USING (key_no) "
            "JOIN vaultstream.jobs j USING (job_no) WHERE j.token = $1 GROUP BY l.outcome",
            token,
        )
    return {row["outcome"]: row["count"] for row in rows}


def limit(signers: int) -> str:
    return json.dumps({"spec": {"scaling": {"maxReplicaCount": signers}}})


async def scale(site: Site, name: str, signers: int) -> None:
    """Limits the signers, and waits until exactly this many run."""
    await site.kubectl("patch", "sj", name, "--type=merge", "-p", limit(signers))

    async def so() -> bool:
        found = await site.client.call(
            "GET", f"/api/v1/namespaces/{HOME}/pods?labelSelector=vaultstream.dev/job%3D{name}"
        )
        signing = [
            p for p in found["items"] if p["metadata"]["labels"]["app.kubernetes.io/component"] == "signing"
        ]
        ready = [
            p
            for p in signing
            if p["status"].get("phase") == "Running" and not p["metadata"].get("deletionTimestamp")
        ]
        return len(signing) == len(ready) == signers

    await eventually(so, seconds=90, what=f"{signers} signers: {await site.status(name)}")
