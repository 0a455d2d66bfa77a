"""The manifests of a job's children: their owner, their permissions, and their settings."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from support.planning import OPTIONS, OWNER, TOKEN, spec_of
from vaultstream.records.portions import PORTION_BYTES
from vaultstream.telemetry.health import START_SECONDS
from vaultstream.telemetry.server import HELD_SECONDS, WAIT_SECONDS
from vaultstream_operator.core.children import (
    JOB_LABEL,
    KEYS,
    RECORDS,
    ROLE_LABEL,
    SIGNING,
    TOKEN_LABEL,
    UID_LABEL,
    Owner,
    WorkerOptions,
    child_name,
    deletion_job,
    signing_deployment,
    template_of,
    worker_job,
)
from vaultstream_operator.settings import WorkerSettings

pytestmark = pytest.mark.unit

ROLES = (KEYS, RECORDS, SIGNING)


def child(role: str, owner: Owner = OWNER, options: WorkerOptions = OPTIONS, **signer: Any) -> dict[str, Any]:
    spec = spec_of(signer=signer)
    if role == SIGNING:
        return signing_deployment(owner, TOKEN, spec, options, replicas=3)
    return worker_job(owner, role, TOKEN, spec, options)


def pod(role: str, options: WorkerOptions = OPTIONS, **signer: Any) -> dict[str, Any]:
    found: dict[str, Any] = child(role, options=options, **signer)["spec"]["template"]["spec"]
    return found


def environment(role: str, options: WorkerOptions = OPTIONS) -> dict[str, Any]:
    (container,) = pod(role, options)["containers"]
    names = [entry["name"] for entry in container["env"]]
    assert len(names) == len(set(names))
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


@pytest.mark.parametrize("role", ROLES)
def test_a_child_belongs_to_its_job_and_goes_with_it(role: str) -> None:
    metadata = child(role)["metadata"]
    assert metadata["ownerReferences"] == [
        {
            "apiVersion": "vaultstream.dev/v1alpha1",
            "kind": "SigningJob",
            "name": "receipts",
            "uid": OWNER.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    assert (metadata["namespace"], metadata["name"]) == ("shop", f"receipts-{role}")


@pytest.mark.parametrize("role", ROLES)
def test_a_child_and_its_pods_carry_the_standard_labels(role: str) -> None:
    made = child(role)
    for labels in (made["metadata"]["labels"], made["spec"]["template"]["metadata"]["labels"]):
        assert labels == {
            "app.kubernetes.io/name": "vaultstream",
            "app.kubernetes.io/managed-by": "vaultstream-operator",
            "app.kubernetes.io/part-of": "vaultstream",
            ROLE_LABEL: role,
            JOB_LABEL: "receipts",
            TOKEN_LABEL: TOKEN,
            UID_LABEL: OWNER.uid,
        }


def test_the_deployment_selects_the_signers_of_this_very_job() -> None:
    made = child(SIGNING)
    selected = made["spec"]["selector"]["matchLabels"]
    assert selected == {UID_LABEL: OWNER.uid, ROLE_LABEL: SIGNING}
    assert selected.items() <= made["spec"]["template"]["metadata"]["labels"].items()
    assert made["spec"]["replicas"] == 3


@pytest.mark.parametrize("role", ROLES)
def test_a_pod_meets_the_restricted_pod_security_standard(role: str) -> None:
    made = pod(role)
    (container,) = made["containers"]
    assert made["securityContext"]["runAsNonRoot"] is True
    assert made["securityContext"]["runAsUser"] > 0
    assert made["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {kind for volume in made["volumes"] for kind in volume} <= {
        "name",
        "emptyDir",
        "secret",
        "configMap",
    }
    assert made["automountServiceAccountToken"] is False
    assert "hostNetwork" not in made


@pytest.mark.parametrize("role", ROLES)
def test_a_pod_has_resources_probes_and_time_to_drain(role: str) -> None:
    made = pod(role)
    (container,) = made["containers"]
    assert container["resources"]["requests"]["cpu"]
    assert container["resources"]["limits"]["memory"]
    live, ready = container["livenessProbe"], container["readinessProbe"]
    assert live["httpGet"] == {"path": "/livez", "port": "metrics"}
    assert live["initialDelaySeconds"] >= 2 * START_SECONDS  # a slow start is not ended
    assert ready["httpGet"] == {"path": "/readyz?wait", "port": "metrics"}
    assert ready["timeoutSeconds"] > HELD_SECONDS > WAIT_SECONDS
    assert "initialDelaySeconds" not in ready
    assert ready["periodSeconds"] < WAIT_SECONDS  # at each moment of a start, an answer is waited for
    assert container["lifecycle"]["postStart"] == {
        "sleep": {"seconds": 1}
    }  # no probe before the port is open
    assert "startupProbe" not in container  # readiness would be asked for later
    assert made["terminationGracePeriodSeconds"] == OPTIONS.grace_seconds
    assert container["args"] == ["worker", role, TOKEN]


@pytest.mark.parametrize(("mebibytes", "memory"), [(1, "256Mi"), (16, "256Mi"), (17, "260Mi"), (64, "448Mi")])
def test_a_signers_default_memory_grows_with_the_largest_payload_beyond_a_portion(
    mebibytes: int, memory: str
) -> None:
    spec = spec_of(records={"table": "records", "maxPayloadBytes": mebibytes * PORTION_BYTES // 16})
    pod = signing_deployment(OWNER, TOKEN, spec, OPTIONS, replicas=1)["spec"]["template"]["spec"]
    resources = pod["containers"][0]["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"] == memory


@pytest.mark.parametrize("role", ROLES)
def test_the_grace_period_covers_the_start_the_drain_and_a_margin(role: str) -> None:
    options = WorkerSettings(grace_seconds=100, pre_stop_seconds=7)
    made = pod(role, options)
    (container,) = made["containers"]
    assert made["terminationGracePeriodSeconds"] == 100
    assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": 7}}
    assert environment(role, options)["VAULTSTREAM_DRAIN_SECONDS"] == "88"
    (at_once,) = pod(role, WorkerSettings(pre_stop_seconds=0))["containers"]
    assert "preStop" not in at_once["lifecycle"]


@pytest.mark.parametrize("role", ROLES)
def test_a_pod_gets_no_service_variables_and_its_last_log_line_is_kept(role: str) -> None:
    made = pod(role)
    assert made["enableServiceLinks"] is False
    assert made["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_credentials_of_its_own_and_none_is_held(role: str) -> None:
    env = environment(role)
    keys = {
        "DATABASE_URL": "database-url",
        "VAULTSTREAM_NATS_URL": "nats-url",
        "VAULTSTREAM_NATS_USER": "nats-user",
        "VAULTSTREAM_NATS_PASSWORD": "nats-password",
    }
    if role != KEYS:
        keys["VAULTSTREAM_SOURCE_DATABASE_URL"] = "source-database-url"
    assert ("VAULTSTREAM_SOURCE_DATABASE_URL" in env) is (role != KEYS)
    for name, key in keys.items():
        # A login of NATS may be a key or a certificate.
        optional = {"optional": True} if key in ("nats-user", "nats-password") else {}
        assert env[name] == {"secretKeyRef": {"name": f"vaultstream-{role}", "key": key, **optional}}
    others = json.dumps(child(role))
    assert all(f"vaultstream-{other}" not in others for other in ROLES if other != role)
    named = environment(role, WorkerSettings(secret_prefix="shop"))
    assert named["DATABASE_URL"]["secretKeyRef"]["name"] == f"shop-{role}"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_its_credentials_again_from_a_whole_folder(role: str) -> None:
    made, env = pod(role), environment(role)
    [volume] = [each for each in made["volumes"] if each["name"] == "credentials"]
    [mount] = [each for each in made["containers"][0]["volumeMounts"] if each["name"] == "credentials"]
    assert volume["secret"] == {"secretName": f"vaultstream-{role}", "defaultMode": 0o440, "optional": True}
    assert mount == {"name": "credentials", "mountPath": env["VAULTSTREAM_CREDENTIALS_DIR"], "readOnly": True}
    assert env["VAULTSTREAM_CREDENTIALS_SECRET"] == f"vaultstream-{role}"


@pytest.mark.parametrize("role", ROLES)
def test_an_authority_is_mounted_without_its_private_key_and_made_known(role: str) -> None:
    made = pod(role, options := WorkerSettings(ca_secret="our-ca"))
    volume = next(volume for volume in made["volumes"] if volume["name"] == "ca")
    assert volume["secret"]["secretName"] == "our-ca"
    assert volume["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    mount = next(mount for mount in made["containers"][0]["volumeMounts"] if mount["name"] == "ca")
    assert (mount["mountPath"], mount["readOnly"]) == ("/etc/vaultstream/ca", True)
    env = environment(role, options)
    assert env["VAULTSTREAM_NATS_CA_FILE"] == env["PGSSLROOTCERT"] == "/etc/vaultstream/ca/ca.crt"
    assert not {"VAULTSTREAM_NATS_CA_FILE", "PGSSLROOTCERT"} & environment(role).keys()


@pytest.mark.parametrize("role", ROLES)
def test_the_operators_settings_for_workers_reach_all_of_them(role: str) -> None:
    options = WorkerSettings(
        extra_env={"VAULTSTREAM_LEASE_SECONDS": "20"},
        image_pull_secrets=("one", "two"),
        log_level="debug",
    )
    assert (
        environment(role, options).items()
        >= {
            "VAULTSTREAM_LEASE_SECONDS": "20",
            "VAULTSTREAM_LOG_LEVEL": "debug",
        }.items()
    )
    assert pod(role, options)["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]


@pytest.mark.parametrize("role", ROLES)
def test_workers_that_create_streams_get_the_number_of_replicas(role: str) -> None:
    told = environment(role, WorkerSettings(nats_replicas="3")).get("VAULTSTREAM_NATS_REPLICAS")
    assert told == ("3" if role in {KEYS, RECORDS} else None)


@pytest.mark.parametrize("role", [KEYS, RECORDS])
def test_a_workers_job_records_what_it_was_created_from(role: str) -> None:
    assert template_of(child(role)) == template_of(child(role)) != ""
    assert template_of(child(role)) != template_of(child(role, options=WorkerSettings(image="vaultstream:2")))
    assert template_of(child(role)) == template_of(child(role, podLabels={"team": "billing"}))


@pytest.mark.parametrize("role", ROLES)
def test_only_workers_that_wrap_or_unwrap_keys_get_the_key_encryption_key(role: str) -> None:
    text = json.dumps(child(role))
    assert ("vaultstream-kek" in text) is (role in {KEYS, SIGNING})
    assert ("VAULTSTREAM_KEK_FILE" in text) is (role in {KEYS, SIGNING})
    mounts = {mount["name"]: mount for mount in pod(role)["containers"][0]["volumeMounts"]}
    if role in {KEYS, SIGNING}:
        assert mounts["kek"]["readOnly"] is True


@pytest.mark.parametrize("role", ROLES)
def test_workers_that_wrap_or_unwrap_keys_find_the_file_of_revocations_if_there_is_one(role: str) -> None:
    made = pod(role, WorkerSettings(revocations_config_map="revoked"))
    volumes = [volume for volume in made["volumes"] if "configMap" in volume]
    mounts = {mount["name"]: mount for mount in made["containers"][0]["volumeMounts"]}
    file = environment(role, WorkerSettings()).get("VAULTSTREAM_REVOCATIONS_FILE")
    if role == RECORDS:
        assert (volumes, file) == ([], None)
        return
    [volume] = volumes
    source = volume["configMap"]
    assert (source["name"], source["optional"]) == ("revoked", True)
    [item] = source["items"]
    assert f"{mounts[volume['name']]['mountPath']}/{item['path']}" == file
    assert mounts[volume["name"]]["readOnly"] is True
    assert "subPath" not in mounts[volume["name"]], "the kubelet would not update it"


@pytest.mark.parametrize("role", ROLES)
def test_only_records_workers_get_the_seal_key_and_start_without_it(role: str) -> None:
    made = pod(role, WorkerSettings(seal_key_secret="sealing"))
    volumes = [
        volume for volume in made["volumes"] if volume.get("secret", {}).get("secretName") == "sealing"
    ]
    mounts = {mount["name"]: mount for mount in made["containers"][0]["volumeMounts"]}
    told = environment(role, WorkerSettings())
    file, folder = told.get("VAULTSTREAM_SEAL_KEY_FILE"), told.get("VAULTSTREAM_SEALS_DIR")
    if role != RECORDS:
        assert (volumes, file, folder) == ([], None, None)
        return
    [volume] = volumes
    assert volume["secret"]["optional"] is True
    [item] = volume["secret"]["items"]
    assert f"{mounts[volume['name']]['mountPath']}/{item['path']}" == file
    assert mounts[volume["name"]]["readOnly"] is True
    assert str(folder).startswith(f"{mounts['tmp']['mountPath']}/"), "the rest of the container is read-only"


def test_the_fields_of_spec_signer_affect_only_signers() -> None:
    fields: dict[str, Any] = {
        "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "1Gi"}},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "batch", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "priorityClassName": "bulk",
        "podLabels": {"team": "billing"},
        "podAnnotations": {"note": "x"},
    }
    made = pod(SIGNING, **fields)
    assert made["nodeSelector"] == fields["nodeSelector"]
    assert made["tolerations"] == fields["tolerations"]
    assert made["affinity"] == fields["affinity"]
    assert made["priorityClassName"] == "bulk"
    assert made["containers"][0]["resources"] == fields["resources"]
    (constraint,) = made["topologySpreadConstraints"]
    assert constraint["labelSelector"] == {"matchLabels": {UID_LABEL: OWNER.uid, ROLE_LABEL: SIGNING}}
    metadata = child(SIGNING, **fields)["spec"]["template"]["metadata"]
    assert (metadata["labels"]["team"], metadata["annotations"]) == ("billing", {"note": "x"})
    assert child(KEYS, **fields) == child(KEYS)
    assert json.loads(json.dumps(child(SIGNING, **fields))) == child(SIGNING, **fields)


def test_a_spread_constraint_keeps_its_own_selector() -> None:
    own = {"maxSkew": 1, "topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}
    assert pod(SIGNING, topologySpreadConstraints=[own])["topologySpreadConstraints"] == [own]


@pytest.mark.parametrize("role", [KEYS, RECORDS])
def test_a_namespace_that_becomes_a_tenant_replaces_its_pods(role: str) -> None:
    options = WorkerSettings(tenants=(OWNER.namespace, "other"))
    made = child(role, options=options)
    assert made["spec"]["template"]["metadata"]["labels"]["vaultstream.dev/tenant"] == OWNER.namespace
    assert template_of(made) != template_of(child(role))
    assert template_of(child(role, options=WorkerSettings(tenants=("other",)))) == template_of(child(role))


def test_labels_of_the_user_do_not_override_ours() -> None:
    made = child(SIGNING, podLabels={ROLE_LABEL: "keys", UID_LABEL: "other"})
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert (labels[ROLE_LABEL], labels[UID_LABEL]) == (SIGNING, OWNER.uid)


@pytest.mark.parametrize("name", ["x", "a" * 38, "a" * 39, "a" * 63, "a" * 253, ".".join(["ab"] * 60)])
@pytest.mark.parametrize("role", ROLES)
def test_a_pod_of_a_child_has_a_name_that_fits_a_host(name: str, role: str) -> None:
    made = child(role, owner=replace(OWNER, name=name))
    of_pod = f"{made['metadata']['name']}-0123456789-01234"
    assert len(of_pod) <= 63
    assert all(len(value) <= 63 for value in made["metadata"]["labels"].values())
    assert "." not in of_pod
    assert "--" not in of_pod


@pytest.mark.parametrize(("one", "other"), [("a" * 60, "a" * 61), ("a.b", "a-b"), ("a.b", "a.b")])
def test_children_of_different_jobs_have_different_names(one: str, other: str) -> None:
    another = Owner("shop", other, "7c9e6679-7425-40de-944b-e07fc1f90ae7")
    assert child_name(replace(OWNER, name=one), KEYS) != child_name(another, KEYS)


def test_a_pod_that_seals_a_deletion_and_ends_at_once_has_no_probe_to_fail() -> None:
    template = deletion_job(OWNER, TOKEN, spec_of(), OPTIONS)["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["args"] == ["worker", "records", TOKEN, "--deleted"]
    assert [name for name in container if name.endswith("Probe")] == []
