"""Upgrades, rollbacks and reinstallations, while jobs run."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest
import yaml

from kube.commands import run
from kube.images import FOLDER, PRODUCT, ROOT
from support.e2e.release import CHART, NAME, values
from support.e2e.site import HOME, NAMESPACES, TOOLBOX
from support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from support.e2e.site import Site

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

RECORDS = 200_000
"""Four signers read them for minutes, which the upgrade and the rollback take a part of; the rest is then read at once."""
NEXT = "localhost/vaultstream:next"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/signingjobs.vaultstream.dev"


@pytest.fixture(scope="module")
def next_image(site: Site) -> str:
    """The image of a later version, loaded."""
    archive = FOLDER / "vaultstream-next.tar"
    asyncio.run(run(ROOT / "hack/image", ROOT / "tests/e2e/next", NEXT, archive, cwd=ROOT))
    asyncio.run(site.cluster.load(archive))
    return NEXT


@pytest.fixture
def next_chart(tmp_path: Path) -> Path:
    """The chart of a later version: its CRD shows one more column."""
    chart = tmp_path / "vaultstream"
    shutil.copytree(CHART, chart)
    definition = next(chart.rglob("signingjobs.vaultstream.dev.yaml"))
    document = yaml.safe_load(definition.read_text())
    document["spec"]["versions"][0]["additionalPrinterColumns"].append(
        {"name": "Remark", "type": "string", "jsonPath": ".metadata.annotations.remark", "priority": 1}
    )
    definition.write_text(yaml.safe_dump(document, sort_keys=False))
    return chart


async def columns(site: Site) -> set[str]:
    definition = await site.client.call("GET", CRD)
    return {column["name"] for column in definition["spec"]["versions"][0]["additionalPrinterColumns"]}


async def images_of_signers(site: Site, name: str) -> set[str]:
    pods = await site.pods(job=name, component="signing")
    return {pod["spec"]["containers"][0]["image"] for pod in pods}


async def outcomes(site: Site, name: str) -> dict[str, int]:
    """How the leases of a job ended."""
    token = (await site.status(name))["token"]
    async with site.database() as db:
        rows = await db.fetch(
            "SELECT l.outcome, count(*) FROM vaultstream.leases l JOIN vaultstream.keys k USING (key_no) "
            "JOIN vaultstream.jobs j USING (job_no) WHERE j.token = $1 GROUP BY l.outcome",
            token,
        )
    return {row["outcome"]: row["count"] for row in rows}


async def has_next_schema(site: Site) -> bool:
    """Whether the later version's migration was applied."""
    async with site.database() as db:
        return bool(
            await db.fetchval(
                "SELECT EXISTS (SELECT FROM information_schema.columns "
                "WHERE table_schema = 'vaultstream' AND table_name = 'jobs' AND column_name = 'remark')"
            )
        )


async def test_an_upgrade_of_image_crd_and_schema_and_its_rollback_disturb_no_running_job(
    site: Site, next_image: str, next_chart: Path
) -> None:
    name = "rolling"
    await site.slow_view(name, RECORDS)
    await site.apply(name, keys={"count": 12, "algorithm": "ED25519"})
    await site.has_signed(name, 1)

    await site.release.upgrade(values(next_image, namespaces=NAMESPACES), chart=next_chart)

    async def rolled_to(image: str) -> bool:
        assert (await site.status(name))["state"] == "Running", (
            f"the job ended before its signers ran {image}"
        )
        return await images_of_signers(site, name) == {image}

    await eventually(lambda: rolled_to(next_image), seconds=120, what="signers of the new image")
    assert await has_next_schema(site)
    assert "Remark" in await columns(site)
    assert (await site.status(name))["signed"] < RECORDS, "the job ended before the rollback began"

    await site.release.rollback()
    await eventually(lambda: rolled_to(PRODUCT.name), seconds=120, what="signers of the former image")
    assert "Remark" not in await columns(site)
    assert (await site.status(name))["signed"] < RECORDS, "the job ended before its signers were rolled back"

    await site.hurry(name)
    await site.completes(name)
    assert (await site.verify(name))["valid"] == RECORDS
    assert await outcomes(site, name) == {"committed": RECORDS // 40}, (
        "signers drained: no lease was lost or released early"
    )


async def test_an_uninstall_keeps_jobs_and_data_and_a_new_installation_uses_them(site: Site) -> None:
    records = 2_000
    name = "kept"
    await site.table(name, records)
    await site.apply(name)
    await site.completes(name)
    kek = await site.secret(f"{NAME}-kek", "kek")
    uid = (await site.job(name))["metadata"]["uid"]
    await site.kubectl("delete", "pod", TOOLBOX, "--ignore-not-found", "--force", "--grace-period=0")

    await site.uninstall()
    assert (await site.job(name))["metadata"]["uid"] == uid
    claims = await site.client.call("GET", f"/api/v1/namespaces/{HOME}/persistentvolumeclaims")
    assert len(claims["items"]) == 2

    await site.release.upgrade(values(PRODUCT.name, namespaces=NAMESPACES))
    assert await site.secret(f"{NAME}-kek", "kek") == kek
    assert (await site.verify(name))["valid"] == records
    await site.table("after", records)
    await site.apply("after")
    await site.completes("after")
    assert (await site.verify("after"))["valid"] == records
