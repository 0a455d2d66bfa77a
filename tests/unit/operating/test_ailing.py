"""What Kubernetes reports about pods that don't run, and how a job's status shows it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.planning import NOW, OPTIONS, OWNER
from vaultstream_operator.adapters.ailing import of_deployment, of_pod, of_refusal, of_set_up, of_worker_job
from vaultstream_operator.adapters.pod_events import note_of_set_up
from vaultstream_operator.core.pod_problems import Ailment, Cause, statement
from vaultstream_operator.core.pods import KEYS, RECORDS, SIGNING
from vaultstream_operator.settings import WorkerSettings

pytestmark = pytest.mark.unit

THEN = "2027-01-15T07:00:00Z"
BEFORE = datetime(2027, 1, 15, 7, 0, 0, tzinfo=UTC)


def pod(
    container: dict[str, Any] | None = None, *, conditions: list[dict[str, Any]] | None = None, **status: Any
) -> dict[str, Any]:
    containers = [container] if container else []
    return {
        "metadata": {},
        "status": {
            "phase": "Pending",
            "containerStatuses": containers,
            "conditions": conditions or [],
            **status,
        },
    }


def waiting(reason: str, message: str = "", **given: Any) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}, **given}


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "message": message, "reason": reason}}


def condition(kind: str, status: str, message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "message": message, "lastTransitionTime": THEN}


SCHEDULED = condition("PodScheduled", "True")
NOT_SET_UP = [SCHEDULED, condition("PodReadyToStartContainers", "False")]


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (pod(waiting("CreateContainerConfigError", 'secret "x" not found')), Cause.NOT_CONFIGURED),
        (pod(waiting("ErrImagePull", "no such image")), Cause.IMAGE),
        (pod(waiting("ImagePullBackOff")), Cause.IMAGE),
        (pod(waiting("InvalidImageName")), Cause.IMAGE),
        (pod(waiting("RunContainerError", "no such file")), Cause.NOT_STARTED),
        (pod(waiting("CrashLoopBackOff")), Cause.CRASHING),
        (pod({"state": {"running": {}}, "restartCount": 2, "lastState": ended(1)}), Cause.CRASHING),
        (pod({"state": ended(1), "restartCount": 2}), Cause.CRASHING),
        (pod(conditions=[condition("PodScheduled", "False", "0/3 nodes.")]), Cause.NO_NODE),
        (pod(waiting("ContainerCreating"), conditions=NOT_SET_UP), Cause.NOT_SET_UP),
    ],
)
def test_the_problem_of_a_pod_is_recognized(body: dict[str, Any], cause: Cause) -> None:
    found = of_pod(body)
    assert found is not None
    assert found.cause is cause
    assert of_pod(body | {"metadata": {"deletionTimestamp": THEN}}) is None


@pytest.mark.parametrize(
    "body",
    [
        pod(),
        pod(waiting("ContainerCreating"), conditions=[SCHEDULED]),
        pod(waiting("PodInitializing")),
        pod({"state": {"running": {}}, "ready": True, "restartCount": 9, "lastState": ended(1)}),
        pod({"state": {"running": {}}, "restartCount": 1, "lastState": ended(1)}),
        pod({"state": {"running": {}}, "restartCount": 3, "lastState": ended(0, reason="Completed")}),
        pod({"state": ended(0)}, phase="Succeeded", conditions=NOT_SET_UP),
        pod(
            waiting("ContainerCreating"),
            conditions=[SCHEDULED, condition("PodReadyToStartContainers", "True")],
        ),
    ],
)
def test_a_pod_that_starts_runs_or_has_succeeded_has_no_problem(body: dict[str, Any]) -> None:
    assert of_pod(body) is None


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (
            (
                '{"message": "worker started"}\n{"event": "exit", "code": 6, "message": "There is no key-encryption key at /etc/kek.", '
                '"hint": "Put it there."}\n{"message": "telemetry stopped"}\n'
            ),
            "it exited with code 6. There is no key-encryption key at /etc/kek. Put it there.",
        ),
        (json.dumps({"message": "It broke."}), "it exited with code 6. It broke."),
        (
            "Traceback (most recent call last):\nValueError: x",
            "it exited with code 6. ValueError: x.",
        ),
        (
            json.dumps({"event": "exit", "message": "postgresql://u:hunter2@db/d is unreachable."}),
            "it exited with code 6. postgresql://u:***@db/d is unreachable.",
        ),
        ("", "it exited with code 6."),
    ],
)
def test_a_crashing_worker_is_reported_with_its_last_log_line(log: str, words: str) -> None:
    found = of_pod(pod(waiting("CrashLoopBackOff", "back-off 20s", lastState=ended(6, log))))
    assert found == Ailment(Cause.CRASHING, words, exit_code=6)


def test_a_worker_killed_for_its_memory_is_reported() -> None:
    found = of_pod(pod(waiting("CrashLoopBackOff", lastState=ended(137, reason="OOMKilled"))))
    assert found is not None
    assert found.words == "it exited with code 137 (OOMKilled)."


def test_a_long_message_of_a_pod_is_shortened() -> None:
    found = of_pod(pod(waiting("ErrImagePull", "x" * 5000)))
    assert found is not None
    assert len(found.words) <= 600


def test_refused_pods_are_reported_without_the_name_that_changes_in_each_attempt() -> None:
    said = 'pods "job-signing-1-x7" is forbidden: exceeded quota: few'
    failure = {"type": "ReplicaFailure", "status": "True", "message": said}
    body = {"metadata": {}, "status": {"conditions": [failure]}}
    assert of_deployment(body) == Ailment(Cause.REFUSED, "exceeded quota: few.")
    failure["status"] = "False"
    assert of_deployment(body) is None


@pytest.mark.parametrize("aggregated", ["", "(combined from similar events): "])
@pytest.mark.parametrize("refused", ['pods "job-keys-x7" is forbidden', 'Pod "job-keys-x7" is invalid'])
def test_the_event_of_a_refused_pod_is_reported_without_what_changes_in_each_attempt(
    aggregated: str, refused: str
) -> None:
    note = f"{aggregated}Error creating: {refused}: failed quota: few: must specify limits.cpu"
    assert of_refusal(note) == Ailment(Cause.REFUSED, "failed quota: few: must specify limits.cpu.")


def test_a_long_answer_to_a_refused_pod_is_shortened() -> None:
    assert of_refusal("x" * 5000).words.endswith("…")


@pytest.mark.parametrize("count", ["active", "failed", "succeeded", "terminating"])
def test_a_job_without_any_pod_is_reported_after_a_while(count: str) -> None:
    body: dict[str, Any] = {"metadata": {"creationTimestamp": THEN}, "status": {}}
    found = of_worker_job(body)
    assert found == Ailment(Cause.NOT_MADE, since=BEFORE)
    assert found is not None
    assert not found.ripe(BEFORE + timedelta(seconds=9))
    assert found.ripe(BEFORE + timedelta(seconds=11))
    assert of_worker_job(body | {"status": {count: 1}}) is None


# -- how it is reported


@pytest.mark.parametrize(
    ("ailment", "role", "reason", "parts"),
    [
        (
            Ailment(
                Cause.NOT_CONFIGURED, 'CreateContainerConfigError: secret "vaultstream-records" not found.'
            ),
            RECORDS,
            "SecretMissing",
            (
                "vaultstream-records in namespace shop",
                "database-url, nats-url, nats-user, nats-password and source-database-url",
            ),
        ),
        (
            Ailment(
                Cause.NOT_CONFIGURED,
                "couldn't find key source-database-url in Secret shop/vaultstream-signing.",
            ),
            SIGNING,
            "SecretIncomplete",
            ("vaultstream-signing in namespace shop lacks the key source-database-url",),
        ),
        (
            Ailment(Cause.NOT_CONFIGURED, "couldn't find key nats-user in Secret shop/vaultstream-signing."),
            SIGNING,
            "SecretIncomplete",
            ("vaultstream-signing in namespace shop lacks the key nats-user",),
        ),
        (
            Ailment(Cause.NOT_CONFIGURED, 'secret "somebody-elses" not found.'),
            RECORDS,
            "PodsNotStarting",
            ('secret "somebody-elses" not found.',),
        ),
        (
            Ailment(Cause.NOT_SET_UP, since=BEFORE),
            KEYS,
            "VolumesNotMounted",
            (
                "since 2027-01-15T07:00:00Z",
                "the Secret vaultstream-kek with the key kek",
                "kubectl describe pod",
            ),
        ),
        (
            Ailment(Cause.NOT_SET_UP, since=BEFORE),
            RECORDS,
            "PodsNotStarting",
            ("their node has not set them up since 2027-01-15T07:00:00Z.",),
        ),
        (
            of_set_up(
                Ailment(Cause.NOT_SET_UP, since=BEFORE, pod="receipts-keys-x"),
                'MountVolume.SetUp failed for volume "kek" : secret "vaultstream-kek" not found',
            ),
            KEYS,
            "VolumesNotMounted",
            ('failed for volume "kek" : secret "vaultstream-kek" not found. Most likely the Secret',),
        ),
        (
            of_set_up(
                Ailment(Cause.NOT_SET_UP, since=BEFORE),
                f'Failed to create pod sandbox: failed to setup network for sandbox "{"0a" * 32}": no address.',
            ),
            KEYS,
            "PodsNotStarting",
            (
                '07:00:00Z. Failed to create pod sandbox: failed to setup network for sandbox "…": no address. Run',
            ),
        ),
        (
            Ailment(Cause.NOT_MADE, since=BEFORE),
            KEYS,
            "PodsRefused",
            ("since 2027-01-15T07:00:00Z", "`kubectl describe job -n shop receipts-keys`"),
        ),
        (Ailment(Cause.REFUSED, "exceeded quota: few."), SIGNING, "PodsRefused", ("exceeded quota: few.",)),
        (Ailment(Cause.NO_NODE, "0/3 nodes."), SIGNING, "PodsUnschedulable", ("0/3 nodes. Add nodes",)),
        (
            Ailment(Cause.IMAGE, "no."),
            KEYS,
            "ImageUnavailable",
            ("`image` of the chart", "`imagePullSecrets`", "namespace shop"),
        ),
        (Ailment(Cause.CRASHING, "x.", exit_code=1), KEYS, "WorkerFailing", ("keys worker", "kubectl logs")),
        (Ailment(Cause.CRASHING, "x.", exit_code=6), SIGNING, "KeysUnusable", ("key-encryption key",)),
        (Ailment(Cause.NOT_STARTED, "x."), SIGNING, "PodsNotStarting", ("3 of the job's pods",)),
        (
            Ailment(Cause.CRASHING, "it exited with code 137 (OOMKilled).", exit_code=137),
            SIGNING,
            "WorkerFailing",
            (
                "OOMKilled",
                "Raise the memory in `workers.resources` of the chart, or in `spec.signer.resources`.",
            ),
        ),
        (
            Ailment(Cause.REFUSED, 'error looking up service account a/w: serviceaccount "w" not found.'),
            SIGNING,
            "PodsRefused",
            ("Create the ServiceAccount vaultstream-worker in this namespace",),
        ),
        (
            Ailment(Cause.NOT_MADE, since=BEFORE),
            RECORDS,
            "PodsRefused",
            ("kubectl describe job", "the ServiceAccount vaultstream-worker is missing"),
        ),
    ],
)
def test_each_problem_of_a_pod_is_a_sentence_that_says_what_to_do(
    ailment: Ailment, role: str, reason: str, parts: tuple[str, ...]
) -> None:
    said = statement(ailment, role, 3, OWNER, OPTIONS)
    assert (said.reason, said.event_type) == (reason, "Warning")
    assert all(part in said.message for part in parts), said.message


def event(second: int, note: str, reason: str = "FailedMount") -> dict[str, Any]:
    at = BEFORE + timedelta(seconds=second)
    return {"reason": reason, "note": note, "deprecatedLastTimestamp": at.isoformat()}


def test_why_a_pod_is_not_set_up_stays_the_same_while_volumes_fail_in_turn() -> None:
    assert note_of_set_up([]) == ""
    assert (
        note_of_set_up([event(0, "0/3 nodes", "FailedScheduling"), {"reason": "FailedMount", "note": "?"}])
        == ""
    )
    ca, kek = 'volume "ca"', 'volume "kek"'
    assert note_of_set_up([event(9, ca), event(100, kek)]) == ca
    assert note_of_set_up([event(200, ca), event(100, kek)]) == ca
    assert note_of_set_up([event(0, ca), event(400, kek)]) == kek


def test_an_authority_that_is_not_there_is_named_where_it_is_mounted() -> None:
    said = statement(Ailment(Cause.NOT_SET_UP), RECORDS, 1, OWNER, WorkerSettings(ca_secret="our-ca"))
    assert "the Secret our-ca with the key ca.crt" in said.message


def test_only_a_problem_that_blocks_additional_signers_lets_a_job_continue() -> None:
    bearable = {Cause.REFUSED, Cause.NO_NODE, Cause.NOT_SET_UP, Cause.NOT_MADE}
    assert {cause for cause in Cause if not Ailment(cause).stops(ready=1)} == bearable
    assert all(Ailment(cause).stops(ready=0) for cause in Cause)
    assert Ailment(Cause.NO_NODE).ripe(NOW)
