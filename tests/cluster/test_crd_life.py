"""SigningJobs on a real API server: which specs it accepts, their defaults, what may change, and what kubectl shows."""

from __future__ import annotations

import asyncio
import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings

from kube.client import RefusedError
from support.odd_manifests import manifests
from support.signingjobs import install_definition, manifest, path_of, refusal, try_out
from vaultstream.api import JobState, SigningJobSpec
from vaultstream.api.loader import parse_signing_job
from vaultstream.errors import InvalidJobError
from vaultstream_operator.api.conditions import COMPLETED, FAILED, PROGRESSING, set_conditions
from vaultstream_operator.api.crd import spec_schema
from vaultstream_operator.api.schema import leaves
from vaultstream_operator.api.status import JobStatus, ScalingStatus, SealStatus

if TYPE_CHECKING:
    from kube.apiserver import ApiServer
    from kube.client import Client

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def client(api_server: ApiServer) -> Client:
    """A client of a server that knows SigningJobs."""
    asyncio.run(install_definition(api_server.client))
    return api_server.client


@pytest.fixture
async def job(client: Client, namespace: str) -> dict[str, Any]:
    """A SigningJob that exists."""
    return await client.call("POST", path_of(namespace), manifest("keys: {count: 7}"))


async def changed(client: Client, job: dict[str, Any], path: str, value: object) -> str | None:
    """Returns why the server refuses to change the spec's field at `path`; None: it accepts the change."""
    new = copy.deepcopy(job)
    *parents, field = path.split(".")
    place = new["spec"]
    for parent in parents:
        place = place.setdefault(parent, {})
    place[field] = value
    try:
        await client.call("PUT", path_of(job["metadata"]["namespace"], "job") + "?dryRun=All", new)
    except RefusedError as error:
        return str(error.body["message"])
    return None


async def set_status(client: Client, job: dict[str, Any], status: JobStatus) -> dict[str, Any]:
    """Writes the status, and returns the job as the server stored it."""
    path = path_of(job["metadata"]["namespace"], "job", "status")
    current = await client.call("GET", path)
    return await client.call("PUT", path + "?fieldValidation=Strict", current | {"status": status.dump()})


GOOD = {
    "shortest": "",
    "empty parts": "keys: {}\nscaling: {behavior: {scaleUp: {}, scaleDown: {}}}\nretries: {backoff: {}}\nsigner: {}",
    "least": "batchSize: 1\nkeys: {count: 1}\nsigner: {concurrency: 1}\nscaling: {pollingInterval: 1, lagThreshold: 1}",
    "most": "batchSize: 20000\nkeys: {count: 10000}\nsigner: {concurrency: 64}\nretries: {maxAttempts: 100}",
    "min is max": "scaling: {minReplicaCount: 5, maxReplicaCount: 5}",
    "min without max": "scaling: {minReplicaCount: 1000}",
    "idle is zero": "scaling: {minReplicaCount: 1, idleReplicaCount: 0}",
    "deterministic": "keys: {deterministic: true}",
    "each algorithm": "keys: {algorithm: ML_DSA_65}",
    "short backoff": "retries: {backoff: {initialSeconds: 0.01, maxSeconds: 0.01}}",
    "whole backoff": "retries: {backoff: {initialSeconds: 60, maxSeconds: 60}}",
    "no tolerance": "scaling: {behavior: {scaleUp: {tolerance: 0}, scaleDown: {selectPolicy: Disabled}}}",
    "fallback": "scaling: {fallback: {failureThreshold: 0, replicas: 0}}",
    "zone": 'finishBy: "2030-01-01T06:00:00.5+05:30"',
    "within": "finishWithin: 60\nactiveDeadlineSeconds: 60",
    "at once": "ttlSecondsAfterFinished: 0\ndeletionPolicy: Delete\nsuspend: true",
    "free form": 'signer: {resources: {limits: {cpu: 1, memory: 1Gi, "x.io/gpu": "2"}}, affinity: {podAffinity: {a: [1]}}}',
    "labels": "signer: {podLabels: {a.b/c: d}, nodeSelector: {}, tolerations: [{operator: Exists}]}",
    "odd labels": f"signer: {{podLabels: {{{'d.' * 126}d/x: ''}}, nodeSelector: {{A_b.c-1: '{'9' * 63}'}}}}",
    "any annotation": 'signer: {podAnnotations: {a.b/c: "any text: {}"}}',
    "quantities": 'signer: {resources: {requests: {cpu: 500m, memory: "0.5Gi"}, limits: {cpu: 5e-1, memory: 1Gi}}}',
    "more quantities": 'signer: {resources: {limits: {cpu: ".5", memory: "5.", ephemeral-storage: 1E, hugepages-2Mi: 0}}}',
    "tolerations": "signer: {tolerations: [{key: a.b/c, operator: Equal, value: d, effect: NoExecute, tolerationSeconds: 0}]}",
}


@pytest.mark.parametrize("spec", GOOD.values(), ids=GOOD)
async def test_a_valid_manifest_gets_the_same_defaults_from_the_server_as_from_the_loader(
    client: Client, spec: str
) -> None:
    job = manifest(spec)
    stored = await try_out(client, "default", job)
    assert (
        SigningJobSpec.model_validate(stored["spec"]) == parse_signing_job(json.dumps(job), source="x").spec
    )


EXAMPLES = {path.name: path.read_text() for path in sorted((ROOT / "examples").glob("*.yaml"))}


@pytest.mark.parametrize("text", EXAMPLES.values(), ids=EXAMPLES)
async def test_every_example_is_accepted(client: Client, text: str) -> None:
    stored = await try_out(client, "default", yaml.safe_load(text))
    assert SigningJobSpec.model_validate(stored["spec"]) == parse_signing_job(text, source="x").spec


async def test_the_server_fills_in_all_defaults(client: Client) -> None:
    stored = await try_out(client, "default", manifest())
    given_none = {"finishBy", "finishWithin", "activeDeadlineSeconds", "ttlSecondsAfterFinished"}
    written = SigningJobSpec.model_validate(stored["spec"]).dump().keys() | {"signature"}
    assert stored["spec"].keys() == written - given_none
    assert stored["spec"]["signature"] == {"format": "Raw", "refuseTokens": False}
    assert stored["spec"]["scaling"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300


@given(manifests())
@settings(max_examples=120, deadline=None)
def test_the_server_and_the_loader_accept_the_same_manifests(
    client: Client, manifest: dict[str, Any]
) -> None:
    try:
        parse_signing_job(json.dumps(manifest), source="x")
        by_loader = None
    except InvalidJobError as error:
        by_loader = error.message
    by_server = asyncio.run(refusal(client, "default", manifest))
    assert (by_loader is None) == (by_server is None), (by_loader, by_server)


FIXED = {
    "records.table": "other",
    "records.idColumn": "other",
    "records.payloadColumn": "other",
    "records.payloadColumns": ["other"],
    "records.maxPayloadBytes": 7,
    "batchSize": 501,
    "keys.count": 8,
    "keys.algorithm": "ED25519",
    "keys.deterministic": True,
}


def test_the_table_of_immutable_fields_is_complete() -> None:
    fields = spec_schema()["properties"]
    fixed = {path for name in ("records", "batchSize", "keys") for path, _ in leaves(fields[name], name)}
    assert fixed == FIXED.keys()


@pytest.mark.parametrize(("path", "value"), FIXED.items())
async def test_an_immutable_field_can_not_be_changed(
    client: Client, job: dict[str, Any], path: str, value: object
) -> None:
    answer = await changed(client, job, path, value)
    assert answer is not None
    assert f"spec.{path}" in answer
    assert f"{path} is immutable: restore its value, or create another job" in answer


async def test_an_omitted_immutable_field_gets_its_default_and_is_refused(
    client: Client, job: dict[str, Any]
) -> None:
    assert "keys.count is immutable" in str(await changed(client, job, "keys", {}))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("scaling.maxReplicaCount", 3),
        ("retries.maxAttempts", 1),
        ("signer.concurrency", 2),
        ("suspend", True),
        ("finishBy", "2030-01-01T00:00:00Z"),
        ("activeDeadlineSeconds", 60),
        ("ttlSecondsAfterFinished", 0),
        ("deletionPolicy", "Delete"),
    ],
)
async def test_other_fields_may_change(client: Client, job: dict[str, Any], path: str, value: object) -> None:
    assert await changed(client, job, path, value) is None


FULL_SCALING = ScalingStatus.model_validate(
    {
        "replicas": 3,
        "desired": 5,
        "ready": 3,
        "reason": "Lag",
        "limit": {"name": "MaxReplicaCount", "value": 5},
        "formula": "ceil(100 / 10) = 10",
        "inputs": {"lag": 100, "ratePerSigner": 1.5, "holdState": "x", "planned": True},
        "hold": False,
        "message": "Scaled from 3 to 5 signers.",
        "changes": [{"at": "2027-01-15T08:00:00Z", "before": 3, "after": 5, "reason": "Lag", "limit": ""}],
    }
)
RUNNING = JobStatus(
    observed_generation=1,
    state=JobState.RUNNING,
    message="Records are being signed.",
    conditions=set_conditions((), PROGRESSING, reason="Signing", message="It signs.", generation=1, now=NOW),
    token="job-0123abcd",
    records=500_000,
    planned=True,
    signed=239_000,
    dead=1_000,
    progress="48% (240000/500000)",
    signers="3/5",
    lag=520,
    records_per_second=1230.0,
    eta=NOW,
    start_time=NOW,
    scaling=FULL_SCALING,
    seal=SealStatus(
        origin="example.com/sign",
        size=7,
        checkpoint="example.com/sign\n7\nAAAA\n\n— example.com/sign AAAA\n",
        job_checkpoint="example.com/sign/jobs/job-0123abcd\n3\nAAAA\n\n— example.com/sign AAAA\n",
        signed=239_000,
        dead=1_000,
        sealed_at=NOW,
    ),
)


async def test_a_full_status_is_stored_completely(client: Client, job: dict[str, Any]) -> None:
    assert all(value is not None for name, value in RUNNING if name != "completion_time")
    stored = await set_status(client, job, RUNNING)
    assert stored["status"] == RUNNING.dump()
    assert JobStatus.model_validate(stored["status"]) == RUNNING


async def test_a_status_change_does_not_change_the_generation(client: Client, job: dict[str, Any]) -> None:
    assert (await set_status(client, job, RUNNING))["metadata"]["generation"] == 1


def ended(state: JobState) -> JobStatus:
    end = COMPLETED if state is JobState.COMPLETE else FAILED
    conditions = set_conditions(
        RUNNING.conditions, end, reason="AllSigned", message="Done.", generation=1, now=NOW
    )
    return RUNNING.model_copy(update={"state": state, "conditions": conditions, "completion_time": NOW})


@pytest.mark.parametrize("state", [JobState.COMPLETE, JobState.FAILED])
async def test_kubectl_waits_for_the_end(
    api_server: ApiServer, client: Client, namespace: str, job: dict[str, Any], state: JobState
) -> None:
    waiting = asyncio.create_task(
        api_server.kubectl("wait", "-n", namespace, f"--for=condition={state}", "sj/job", "--timeout=30s")
    )
    await set_status(client, job, RUNNING)
    assert not waiting.done()
    await set_status(client, job, ended(state))
    assert "condition met" in (await waiting).stdout


async def test_kubectl_get_shows_the_progress_of_a_job(
    api_server: ApiServer, client: Client, namespace: str, job: dict[str, Any]
) -> None:
    await set_status(client, job, RUNNING)
    for kind in ("sj", "signingjob", "vaultstream", "all"):
        head, line = (await api_server.kubectl("get", "-n", namespace, kind)).stdout.splitlines()
        assert head.split() == ["NAME", "STATE", "PROGRESS", "SIGNERS", "LAG", "RATE", "ETA", "AGE"]
        shown = line.split("   ")
        assert shown[0].endswith("job")
        assert [text.strip() for text in shown if text.strip()][1:-1] == [
            "Running",
            "48% (240000/500000)",
            "3/5",
            "520",
            "1230",
            "2030-01-01T00:00:00Z",
        ]
