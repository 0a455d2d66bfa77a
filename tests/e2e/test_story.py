"""What a user sees: install, apply, Complete, verified, and no signers left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from support.e2e.release import NAME
from support.e2e.timeline import draw, watching
from support.waiting import eventually
from vaultstream.crypto.seal_keys import parse_seal_keys
from vaultstream.proof.checkpoint import open_checkpoint
from vaultstream.proof.seal import job_origin

if TYPE_CHECKING:
    from pathlib import Path

    from support.e2e.site import Site

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

RECORDS = 12_000
WORKER = "spec.containers{worker}"


async def test_a_job_scales_from_zero_to_all_signers_in_one_step_and_back(
    site: Site, artifacts: Path
) -> None:
    await site.table("story", RECORDS)
    async with watching(site, "story") as timeline:
        await site.apply("story")
        ran = await site.kubectl("wait", "--for=condition=Complete", "sj/story", "--timeout=240s")
        assert "condition met" in ran.stdout

        def seen_to_the_end() -> bool:
            """Whether the last sample began after the job had ended: it reads the state first, and then the signers."""
            last = timeline.samples[-1]
            return last.state == "Complete" and not last.desired and not last.ready

        await eventually(seen_to_the_end, seconds=60)
    (artifacts / "timeline.svg").write_text(
        draw(timeline, f"{RECORDS:,} records, RSA-PSS 3072, at most 4 signers")
    )

    assert timeline.counts()[:2] == [0, 4], "one step"
    assert timeline.samples[-1].ready == 0
    assert [state for state in timeline.states() if state != "Pending"] == ["Running", "Complete"]
    assert max(sample.ready for sample in timeline.samples) == 4

    status = await site.status("story")
    assert (status["records"], status["signed"], status["dead"], status["lag"]) == (RECORDS, RECORDS, 0, 0)
    assert status["observedGeneration"] == 1
    assert status["progress"] == f"100% ({RECORDS}/{RECORDS})"
    reasons = [event["reason"] for event in await site.events("story")]
    assert {"MakingKeys", "Signing", "ScaledOut", "AllSigned"} <= set(reasons)
    assert (await site.condition("story", "Complete"))["reason"] == "AllSigned"

    report = await site.verify("story")
    assert report["valid"] == RECORDS, report

    seal = status["seal"]
    keys = parse_seal_keys((await site.secret(f"{NAME}-seal-key", "seal-key")).encode(), NAME)
    of_job = job_origin(seal["origin"], status["token"])
    for note, origin in ((seal["checkpoint"], seal["origin"]), (seal["jobCheckpoint"], of_job)):
        assert open_checkpoint(note.encode(), keys.known, origin=origin).checkpoint.size > 0
    assert seal["origin"].startswith(keys.origin)
    assert (seal["signed"], seal["dead"]) == (RECORDS, 0)


async def test_no_probe_ends_a_worker_that_starts(site: Site) -> None:
    """A probe in the first moments of a container may find its port closed, by chance; it must have no consequence."""
    events = json.loads((await site.kubectl("get", "events", "--output=json")).stdout)["items"]
    workers = [event for event in events if event["involvedObject"].get("fieldPath") == WORKER]
    started = {event["involvedObject"]["uid"] for event in workers if event["reason"] == "Started"}
    assert len(started) >= 6, "those of the keys and the records, and four signers"
    ended = [event for event in workers if event["reason"] == "Killing" and "probe" in event["message"]]
    assert not ended, ended


async def test_the_releases_own_test_passes(site: Site) -> None:
    ran = await site.release.helm("test", NAME, "--timeout", "120s")
    assert "Phase:          Succeeded" in ran.stdout
