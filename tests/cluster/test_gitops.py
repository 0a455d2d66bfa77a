"""docs/gitops.md: what its health checks make of a SigningJob in each state, and that applying it again changes nothing."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from kube import binaries
from kube.commands import run
from support.signingjobs import manifest
from vaultstream_operator.api.conditions import (
    COMPLETED,
    FAILED,
    PROGRESSING,
    SETTLED,
    STALLED,
    set_conditions,
)
from vaultstream_operator.api.status import ConditionType, JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.operating import Site
    from vaultstream_operator.api.conditions import States

pytestmark = pytest.mark.cluster

PAGE = Path(__file__).parents[2] / "docs" / "gitops.md"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
SAID: dict[str, Any] = {"reason": "Reason", "message": "What it does.", "generation": 1, "now": NOW}
SUSPENDED: States = {**SETTLED, ConditionType.SUSPENDED: True}

Verdict = tuple[str, str, str]
"""Status and message by Argo CD, and status by Flux."""


def documented(kind: str) -> dict[str, Any]:
    """The only example of this kind on the page."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [found] = [each for each in map(yaml.safe_load, blocks) if each["kind"] == kind]
    return dict(found)


@pytest.fixture(scope="module")
def program() -> Path:
    found = binaries.find("health", pinned=True)
    assert found
    return found


@pytest.fixture
def checks(tmp_path: Path) -> tuple[Path, Path]:
    """The health checks of the page, as files."""
    script, expressions = tmp_path / "check.lua", tmp_path / "expressions.json"
    [(name, text)] = documented("ConfigMap")["data"].items()
    assert name == "resource.customizations.health.vaultstream.dev_SigningJob"
    script.write_text(text)
    [check] = documented("Kustomization")["spec"]["healthCheckExprs"]
    assert (check["apiVersion"], check["kind"]) == ("vaultstream.dev/v1alpha1", "SigningJob")
    expressions.write_text(json.dumps(check))
    return script, expressions


async def verdict(program: Path, checks: tuple[Path, Path], body: dict[str, Any]) -> Verdict:
    found = json.loads((await run(program, *checks, stdin=json.dumps(body))).stdout)
    return found["argo"]["status"], found["argo"]["message"], found["flux"]


def with_status(states: States, generation: int = 1) -> dict[str, Any]:
    """A SigningJob of generation 1 that has gone through other states before."""
    conditions = set_conditions(set_conditions((), STALLED, **SAID), PROGRESSING, **SAID)
    status = JobStatus(observed_generation=generation, conditions=set_conditions(conditions, states, **SAID))
    body = manifest()
    return body | {"metadata": body["metadata"] | {"generation": 1}, "status": status.dump()}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (PROGRESSING, ("Progressing", "What it does.", "Current")),
        (STALLED, ("Degraded", "What it does.", "Failed")),
        (FAILED, ("Degraded", "What it does.", "Failed")),
        (COMPLETED, ("Healthy", "What it does.", "Current")),
        (SUSPENDED, ("Suspended", "What it does.", "Current")),
    ],
    ids=["progressing", "stalled", "failed", "completed", "suspended"],
)
async def test_both_health_checks_read_each_state_as_documented(
    program: Path, checks: tuple[Path, Path], states: States, expected: Verdict
) -> None:
    assert await verdict(program, checks, with_status(states)) == expected


@pytest.mark.parametrize(
    "body", [manifest, lambda: with_status(COMPLETED, generation=0)], ids=["new", "changed"]
)
async def test_what_the_operator_has_not_seen_is_in_progress(
    program: Path, checks: tuple[Path, Path], body: Callable[[], dict[str, Any]]
) -> None:
    argo, message, flux = await verdict(program, checks, body())
    assert (argo, message) == ("Progressing", "The operator has not seen this SigningJob yet.")
    assert flux in ("Unknown", "InProgress")


async def test_a_job_that_is_applied_again_stays_as_it_is(
    site: Site, program: Path, checks: tuple[Path, Path]
) -> None:
    body = manifest(records="records: {table: nowhere}")
    body["metadata"]["namespace"] = site.namespace

    async def apply() -> None:
        words = ("apply", "--server-side", "--field-manager=flux", "--filename=-")
        await site.server.kubectl(*words, stdin=json.dumps(body))

    await apply()
    await site.operator()
    await site.becomes("job", "Stalled")
    before = await site.job("job")
    assert before["metadata"]["finalizers"]
    assert (await verdict(program, checks, before))[::2] == ("Degraded", "Failed")
    await apply()
    after = await site.job("job")
    assert after["metadata"]["generation"] == before["metadata"]["generation"] == 1
    assert after["metadata"]["finalizers"] == before["metadata"]["finalizers"]
    owners = {
        each["manager"]: each["fieldsV1"]
        for each in after["metadata"]["managedFields"]
        if "f:spec" in each["fieldsV1"]
    }
    assert set(owners) == {"flux"}, "the operator owns no field of the spec"
