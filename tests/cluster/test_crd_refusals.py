"""What a real API server refuses: the message names the field and the fix, and the loader refuses the same."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from support.signingjobs import install_definition, manifest, refusal
from vaultstream.api.loader import parse_signing_job
from vaultstream.errors import InvalidJobError

if TYPE_CHECKING:
    from kube.apiserver import ApiServer
    from kube.client import Client

pytestmark = pytest.mark.cluster


class Bad(NamedTuple):
    """Lines of a spec, the path of the invalid field, and what the API server says about it.

    In the error of a CEL rule, the API server writes the path of a map's value as `map[key]`; the loader writes `map.key`.
    """

    spec: str
    field: str
    says: str
    records: str = "records: {table: t}"


def least(number: object) -> str:
    return f"should be greater than or equal to {number}"


def most(number: object) -> str:
    return f"should be less than or equal to {number}"


def above(number: object) -> str:
    return f"should be greater than {number}"


def kind(name: str) -> str:
    return f"must be of type {name}"


UNKNOWN = "unknown field"
REQUIRED = "Required value"
TIMESTAMP = "must be a timestamp with a time zone, such as 2026-12-01T06:00:00Z"
WORDS = "at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
KEYS = f"has an invalid key: use {WORDS}, optionally after a domain (example.com/team)"
QUANTITY = 'must be a quantity of 0 or more, such as 500m, "0.5" or 4Gi'
RESOURCE = "has an unknown resource: use cpu, memory, ephemeral-storage"
UP, DOWN = "scaling.behavior.scaleUp", "scaling.behavior.scaleDown"


def policy(text: str) -> str:
    return f"scaling: {{behavior: {{scaleUp: {{policies: [{text}]}}}}}}"


BAD = [
    # what is signed
    Bad("", "records", REQUIRED, records=""),
    Bad("", "records.table", REQUIRED, records="records: {}"),
    Bad("", "records", kind("object"), records="records: t"),
    Bad("", "records.table", "should be at least 1 chars long", records='records: {table: ""}'),
    Bad("", "records.table", kind("string"), records="records: {table: 12}"),
    Bad("", "records.table", "may not be more than 127", records=f"records: {{table: {'x' * 128}}}"),
    Bad("", "records.idColumn", "should be at least 1 chars long", records='records: {table: t, idColumn: ""}'),
    Bad(
        "",
        "records.idColumn",
        "may not be more than 63",
        records=f"records: {{table: t, idColumn: {'x' * 64}}}",
    ),
    Bad(
        "",
        "records.payloadColumn",
        "may not be more than 63",
        records=f"records: {{table: t, payloadColumn: {'x' * 64}}}",
    ),
    Bad("", "records.maxPayloadBytes", least(1), records="records: {table: t, maxPayloadBytes: 0}"),
    Bad("", "records.maxPayloadBytes", most(67108864), records="records: {table: t, maxPayloadBytes: 67108865}"),
    Bad("", "records.idColum", UNKNOWN, records="records: {table: t, idColum: x}"),
    Bad(
        "",
        "records.payloadColumn",
        "payloadColumn must differ from idColumn: set it to the column whose bytes are signed",
        records="records: {table: t, idColumn: a, payloadColumn: a}",
    ),
    Bad(
        "",
        "records.payloadColumn",
        "must differ from idColumn",
        records="records: {table: t, idColumn: payload}",
    ),
    Bad("", "records.payloadColumns", "should have at least 1 items", records="records: {table: t, payloadColumns: []}"),
    Bad(
        "",
        "records.payloadColumns",
        "must not name a column twice",
        records="records: {table: t, payloadColumns: [a, b, a]}",
    ),
    Bad(
        "",
        "records.payloadColumns",
        "are mutually exclusive",
        records="records: {table: t, payloadColumn: a, payloadColumns: [b]}",
    ),
    Bad("batchSize: 0", "batchSize", least(1)),
    Bad("batchSize: -1", "batchSize", least(1)),
    Bad("batchSize: 20001", "batchSize", most(20000)),
    Bad('batchSize: "500"', "batchSize", kind("integer")),
    Bad("batchSize: 1.5", "batchSize", kind("integer")),
    Bad("batchSize: true", "batchSize", kind("integer")),
    Bad("batchSize: [5]", "batchSize", kind("integer")),
    Bad("batchsize: 5", "batchsize", UNKNOWN),
    Bad("batch_size: 5", "batch_size", UNKNOWN),
    # with what
    Bad("keys: 5", "keys", kind("object")),
    Bad("keys: {count: 0}", "keys.count", least(1)),
    Bad("keys: {count: 10001}", "keys.count", most(10000)),
    Bad("keys: {count: many}", "keys.count", kind("integer")),
    Bad("keys: {size: 5}", "keys.size", UNKNOWN),
    Bad("keys: {algorithm: RSA}", "keys.algorithm", 'supported values: "ECDSA_P256_SHA256", "ED25519"'),
    Bad("keys: {algorithm: ed25519}", "keys.algorithm", 'supported values: "ECDSA_P256_SHA256", "ED25519"'),
    Bad("keys: {deterministic: 1}", "keys.deterministic", kind("boolean")),
    Bad(
        "keys: {algorithm: ED25519, deterministic: true}",
        "keys.deterministic",
        "deterministic requires ECDSA_P256_SHA256 and does not apply to this algorithm: remove it",
    ),
    # how many signers
    Bad("scaling: fast", "scaling", kind("object")),
    Bad("scaling: {minReplicas: 1}", "scaling.minReplicas", UNKNOWN),
    Bad("scaling: {pollingInterval: 0}", "scaling.pollingInterval", least(1)),
    Bad("scaling: {pollingInterval: 5s}", "scaling.pollingInterval", kind("integer")),
    Bad("scaling: {cooldownPeriod: -1}", "scaling.cooldownPeriod", least(0)),
    Bad("scaling: {cooldownPeriod: 2147483648}", "scaling.cooldownPeriod", most(2147483647)),
    Bad("scaling: {initialCooldownPeriod: -1}", "scaling.initialCooldownPeriod", least(0)),
    Bad("scaling: {minReplicaCount: -1}", "scaling.minReplicaCount", least(0)),
    Bad("scaling: {minReplicaCount: 1001}", "scaling.minReplicaCount", most(1000)),
    Bad("scaling: {maxReplicaCount: 0}", "scaling.maxReplicaCount", least(1)),
    Bad("scaling: {maxReplicaCount: 1001}", "scaling.maxReplicaCount", most(1000)),
    Bad(
        "scaling: {minReplicaCount: 3, maxReplicaCount: 2}",
        "scaling.minReplicaCount",
        "minReplicaCount must not exceed maxReplicaCount: lower one or raise the other",
    ),
    Bad(
        "scaling: {minReplicaCount: 3, idleReplicaCount: 3}",
        "scaling.idleReplicaCount",
        "idleReplicaCount must be less than minReplicaCount: raise minReplicaCount, or remove idleReplicaCount",
    ),
    Bad(
        "scaling: {idleReplicaCount: 0}",
        "scaling.idleReplicaCount",
        "idleReplicaCount must be less than minReplicaCount",
    ),
    Bad("scaling: {lagThreshold: 0}", "scaling.lagThreshold", least(1)),
    Bad("scaling: {activationLagThreshold: -1}", "scaling.activationLagThreshold", least(0)),
    Bad("scaling: {fallback: {replicas: 1}}", "scaling.fallback.failureThreshold", REQUIRED),
    Bad("scaling: {fallback: {failureThreshold: 1}}", "scaling.fallback.replicas", REQUIRED),
    Bad(
        "scaling: {fallback: {failureThreshold: -1, replicas: 1}}",
        "scaling.fallback.failureThreshold",
        least(0),
    ),
    Bad(
        "scaling: {fallback: {failureThreshold: 3, replicas: 1001}}",
        "scaling.fallback.replicas",
        most(1000),
    ),
    Bad(
        "scaling: {fallback: {failureThreshold: 3, replicas: 1, behavior: hold}}",
        "scaling.fallback.behavior",
        'supported values: "static", "currentReplicas"',
    ),
    Bad("scaling: {behavior: {scaleup: {}}}", "scaling.behavior.scaleup", UNKNOWN),
    Bad(
        "scaling: {behavior: {scaleUp: {stabilizationWindowSeconds: 3601}}}",
        f"{UP}.stabilizationWindowSeconds",
        most(3600),
    ),
    Bad(
        "scaling: {behavior: {scaleDown: {stabilizationWindowSeconds: -1}}}",
        f"{DOWN}.stabilizationWindowSeconds",
        least(0),
    ),
    Bad(
        "scaling: {behavior: {scaleDown: {selectPolicy: max}}}",
        f"{DOWN}.selectPolicy",
        'supported values: "Max", "Min", "Disabled"',
    ),
    Bad("scaling: {behavior: {scaleUp: {tolerance: -0.1}}}", f"{UP}.tolerance", least(0)),
    Bad("scaling: {behavior: {scaleUp: {tolerance: 10%}}}", f"{UP}.tolerance", kind("number")),
    Bad(policy(""), f"{UP}.policies", "should have at least 1 items"),
    Bad(policy("{value: 1, periodSeconds: 15}"), f"{UP}.policies[0].type", REQUIRED),
    Bad(policy("{type: Pods, periodSeconds: 15}"), f"{UP}.policies[0].value", REQUIRED),
    Bad(policy("{type: Pods, value: 1}"), f"{UP}.policies[0].periodSeconds", REQUIRED),
    Bad(
        policy("{type: Pod, value: 1, periodSeconds: 15}"),
        f"{UP}.policies[0].type",
        'supported values: "Pods", "Percent"',
    ),
    Bad(policy("{type: Pods, value: 0, periodSeconds: 15}"), f"{UP}.policies[0].value", least(1)),
    Bad(policy("{type: Pods, value: 1, periodSeconds: 0}"), f"{UP}.policies[0].periodSeconds", least(1)),
    Bad(policy("{type: Pods, value: 1, periodSeconds: 1801}"), f"{UP}.policies[0].periodSeconds", most(1800)),
    Bad(
        policy("{type: Pods, value: 1, periodSeconds: 15, seconds: 1}"), f"{UP}.policies[0].seconds", UNKNOWN
    ),
    # what can't be signed
    Bad("retries: {maxAttempts: 0}", "retries.maxAttempts", least(1)),
    Bad("retries: {maxAttempts: 101}", "retries.maxAttempts", most(100)),
    Bad("retries: {backoff: {initialSeconds: 0}}", "retries.backoff.initialSeconds", above(0)),
    Bad("retries: {backoff: {initialSeconds: 3601, maxSeconds: 4000}}", "retries.backoff.initialSeconds", most(3600)),
    Bad("retries: {backoff: {maxSeconds: 86401}}", "retries.backoff.maxSeconds", most(86400)),
    Bad("retries: {backoff: {maxSeconds: 60s}}", "retries.backoff.maxSeconds", kind("number")),
    Bad(
        "retries: {backoff: {initialSeconds: 61}}",
        "retries.backoff.initialSeconds",
        "initialSeconds must not exceed maxSeconds: lower one or raise the other",
    ),
    # the signer
    Bad("signer: {concurrency: 0}", "signer.concurrency", least(1)),
    Bad("signer: {concurrency: 65}", "signer.concurrency", most(64)),
    Bad("signer: {podLabels: {team: 7}}", "signer.podLabels.team", kind("string")),
    Bad("signer: {podAnnotations: [a]}", "signer.podAnnotations", kind("object")),
    Bad("signer: {nodeSelector: amd64}", "signer.nodeSelector", kind("object")),
    Bad("signer: {tolerations: all}", "signer.tolerations", kind("array")),
    Bad("signer: {tolerations: {key: a}}", "signer.tolerations", UNKNOWN),
    Bad("signer: {tolerations: [a]}", "signer.tolerations[0]", kind("object")),
    Bad("signer: {resources: [a]}", "signer.resources", kind("object")),
    Bad("signer: {affinity: near}", "signer.affinity", kind("object")),
    Bad("signer: {topologySpreadConstraints: {}}", "signer.topologySpreadConstraints", kind("array")),
    Bad("signer: {priorityClassName: 7}", "signer.priorityClassName", kind("string")),
    Bad(f"signer: {{priorityClassName: {'x' * 254}}}", "signer.priorityClassName", "may not be more than 253"),
    Bad("signer: {image: mine}", "signer.image", UNKNOWN),
    Bad("signer: {priorityClassName: High}", "signer.priorityClassName", "must be lower-case letters, digits"),
    # labels and annotations
    Bad("signer: {podLabels: {-team: a}}", "signer.podLabels", f"podLabels {KEYS}"),
    Bad('signer: {podLabels: {"": a}}', "signer.podLabels", f"podLabels {KEYS}"),
    Bad("signer: {podLabels: {a/b/c: a}}", "signer.podLabels", f"podLabels {KEYS}"),
    Bad("signer: {podLabels: {Example.com/team: a}}", "signer.podLabels", f"podLabels {KEYS}"),
    Bad(f"signer: {{podLabels: {{{'x' * 64}: a}}}}", "signer.podLabels", f"podLabels {KEYS}"),
    Bad(f"signer: {{podLabels: {{{'x' * 254}/team: a}}}}", "signer.podLabels", f"podLabels {KEYS}"),
    Bad("signer: {podLabels: {team: a b}}", "signer.podLabels[team]", f"must be {WORDS}"),
    Bad("signer: {podLabels: {team: a-}}", "signer.podLabels[team]", f"must be {WORDS}"),
    Bad(f"signer: {{podLabels: {{team: {'x' * 64}}}}}", "signer.podLabels.team", "may not be more than 63"),
    Bad("signer: {nodeSelector: {zone one: a}}", "signer.nodeSelector", f"nodeSelector {KEYS}"),
    Bad("signer: {nodeSelector: {zone: a/b}}", "signer.nodeSelector[zone]", f"must be {WORDS}"),
    Bad("signer: {podAnnotations: {my annotation: a}}", "signer.podAnnotations", f"podAnnotations {KEYS}"),
    Bad(
        f"signer: {{podLabels: {{{', '.join(f'l{number}: a' for number in range(65))}}}}}",
        "signer.podLabels",
        "must have at most 64 items",
    ),
    # resources
    Bad("signer: {resources: {limits: {cpu: banana}}}", "signer.resources.limits[cpu]", QUANTITY),
    Bad("signer: {resources: {limits: {memory: 1 Gi}}}", "signer.resources.limits[memory]", QUANTITY),
    Bad("signer: {resources: {limits: {memory: 1GB}}}", "signer.resources.limits[memory]", QUANTITY),
    Bad('signer: {resources: {requests: {cpu: "-1"}}}', "signer.resources.requests[cpu]", QUANTITY),
    Bad("signer: {resources: {requests: {cpu: -1}}}", "signer.resources.requests[cpu]", QUANTITY),
    Bad("signer: {resources: {requests: {cpu: [1]}}}", "signer.resources.requests.cpu", "must be of type integer,string"),
    Bad("signer: {resources: {requests: {cpu: 0.5}}}", "signer.resources.requests.cpu", "must be of type integer,string"),
    Bad("signer: {resources: {requests: {cpus: 1}}}", "signer.resources.requests", f"requests {RESOURCE}"),
    Bad("signer: {resources: {limits: {Memory: 1Gi}}}", "signer.resources.limits", f"limits {RESOURCE}"),
    Bad(
        "signer: {resources: {requests: {memory: 1Gi}, limits: {memory: 1G}}}",
        "signer.resources.requests",
        "requests must not exceed the limits of the same resources: lower requests or raise limits",
    ),
    Bad("signer: {resources: {request: {cpu: 1}}}", "signer.resources.request", UNKNOWN),
    Bad("signer: {resources: {cpu: 1}}", "signer.resources.cpu", UNKNOWN),
    # tolerations
    Bad("signer: {tolerations: [{key: a, effect: Never}]}", "signer.tolerations[0].effect", 'supported values: "NoSchedule"'),
    Bad("signer: {tolerations: [{key: a, operator: In}]}", "signer.tolerations[0].operator", 'supported values: "Equal"'),
    Bad("signer: {tolerations: [{key: a b}]}", "signer.tolerations[0].key", f"must be {WORDS}"),
    Bad("signer: {tolerations: [{key: a, value: b c}]}", "signer.tolerations[0].value", f"must be {WORDS}"),
    Bad("signer: {tolerations: [{keys: a}]}", "signer.tolerations[0].keys", UNKNOWN),
    Bad(
        "signer: {tolerations: [{}]}",
        "signer.tolerations[0].operator",
        "operator must be Exists if key is unset: set key, or set operator to Exists",
    ),
    Bad(
        "signer: {tolerations: [{key: a, operator: Exists, value: b}]}",
        "signer.tolerations[0].value",
        "value requires operator Equal: remove value, or set operator to Equal",
    ),
    Bad(
        "signer: {tolerations: [{key: a, effect: NoSchedule, tolerationSeconds: 60}]}",
        "signer.tolerations[0].tolerationSeconds",
        "tolerationSeconds requires effect NoExecute: set effect to NoExecute, or remove tolerationSeconds",
    ),
    Bad(
        "signer: {tolerations: [{key: a, effect: NoExecute, tolerationSeconds: -1}]}",
        "signer.tolerations[0].tolerationSeconds",
        least(0),
    ),
    Bad(
        f"signer: {{tolerations: [{', '.join(['{operator: Exists}'] * 33)}]}}",
        "signer.tolerations",
        "must have at most 32 items",
    ),
    # when
    Bad("suspend: maybe", "suspend", kind("boolean")),
    Bad("suspend: 1", "suspend", kind("boolean")),
    Bad("activeDeadlineSeconds: 0", "activeDeadlineSeconds", least(1)),
    Bad("activeDeadlineSeconds: 1.5", "activeDeadlineSeconds", kind("integer")),
    Bad('finishBy: "2030-01-01"', "finishBy", TIMESTAMP),
    Bad('finishBy: "2030-01-01T00:00:00"', "finishBy", TIMESTAMP),
    Bad('finishBy: "2030-01-01 00:00:00Z"', "finishBy", TIMESTAMP),
    Bad('finishBy: "2030-13-01T00:00:00Z"', "finishBy", TIMESTAMP),
    Bad('finishBy: "2030-02-30T00:00:00Z"', "finishBy", TIMESTAMP),
    Bad("finishBy: tomorrow", "finishBy", TIMESTAMP),
    Bad("finishBy: 1893456000", "finishBy", kind("string")),
    Bad(
        '{finishBy: "2030-01-01T00:00:00Z", finishWithin: 60}',
        "finishWithin",
        "finishBy and finishWithin are mutually exclusive: remove one of them",
    ),
    Bad("finishWithin: 0", "finishWithin", least(1)),
    Bad(
        "{finishWithin: 61, activeDeadlineSeconds: 60}",
        "finishWithin",
        "finishWithin must not exceed activeDeadlineSeconds, after which the job fails: lower one or raise",
    ),
    Bad("ttlSecondsAfterFinished: -1", "ttlSecondsAfterFinished", least(0)),
    Bad("deletionPolicy: Keep", "deletionPolicy", 'supported values: "Retain", "Delete"'),
    Bad("algorithm: ED25519", "algorithm", UNKNOWN),
]  # fmt: skip


@pytest.fixture(scope="module")
def client(api_server: ApiServer) -> Client:
    """A client of a server that knows SigningJobs."""
    asyncio.run(install_definition(api_server.client))
    return api_server.client


def _lines(spec: str) -> str:
    """Splits fields in braces into lines, to put them next to the records."""
    return "\n".join(spec.strip("{}").split(", ")) if spec.startswith("{") else spec


def _loader_says(job: dict[str, Any]) -> str:
    with pytest.raises(InvalidJobError) as caught:
        parse_signing_job(json.dumps(job), source="job.json")
    return caught.value.message


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len(BAD) >= 60
    assert len({(bad.spec, bad.records) for bad in BAD}) == len(BAD)


@pytest.mark.parametrize("bad", BAD, ids=[(bad.spec or bad.records)[:60] for bad in BAD])
async def test_an_invalid_manifest_is_refused_with_the_field_and_the_fix(client: Client, bad: Bad) -> None:
    job = manifest(_lines(bad.spec), records=bad.records)
    answer = await refusal(client, "default", job)
    assert answer is not None
    assert f"spec.{bad.field}" in answer
    assert bad.says in answer
    field = re.sub(r"\[([a-z]+)\]", r".\1", bad.field)
    assert f"spec.{field}" in _loader_says(job)


@pytest.mark.parametrize(
    ("name", "says"), [("My_Job", "lowercase RFC 1123 subdomain"), ("x" * 201, "may not be more than 200")]
)
async def test_an_invalid_name_is_refused(client: Client, name: str, says: str) -> None:
    job = manifest(name=name)
    answer = await refusal(client, "default", job)
    assert answer is not None
    assert "metadata.name" in answer
    assert says in answer
    assert "metadata.name" in _loader_says(job)


async def test_a_job_without_a_spec_is_refused(client: Client) -> None:
    job = manifest()
    del job["spec"]
    answer = await refusal(client, "default", job)
    assert answer is not None
    assert "spec: Required value" in answer
    assert "spec is required" in _loader_says(job)


async def test_all_problems_are_reported_at_once(client: Client) -> None:
    answer = await refusal(client, "default", manifest("batchSize: 0\nkeys: {count: 0}\nsuspend: maybe"))
    assert answer is not None
    assert all(field in answer for field in ("spec.batchSize", "spec.keys.count", "spec.suspend"))
