"""Finds out why pods don't run, from pods, Deployments and Jobs. Pure: objects in, ailments out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from vaultstream.errors import redact
from vaultstream.foreign_json import read_foreign_json
from vaultstream.last_words import read_last_words
from vaultstream_operator.core.pod_problems import Ailment, Cause

Body = Mapping[str, Any]

MOST_PROBLEM_CHARACTERS: Final = 600
"""Maximum length of an ailment's text, in characters; longer ones are cut."""
FEW_RESTARTS: Final = 2
"""A container with this many restarts counts as failing even while it runs."""

_WAITING: Final = {
    "CreateContainerConfigError": Cause.NOT_CONFIGURED,
    "CrashLoopBackOff": Cause.CRASHING,
    "ErrImagePull": Cause.IMAGE,
    "ErrImageNeverPull": Cause.IMAGE,
    "ImageInspectError": Cause.IMAGE,
    "ImagePullBackOff": Cause.IMAGE,
    "InvalidImageName": Cause.IMAGE,
    "RegistryUnavailable": Cause.IMAGE,
    "CreateContainerError": Cause.NOT_STARTED,
    "PreCreateHookError": Cause.NOT_STARTED,
    "PostStartHookError": Cause.NOT_STARTED,
    "RunContainerError": Cause.NOT_STARTED,
}
_OF_ANY_END: Final = ("Error", "Completed", "")
_AGGREGATED: Final = "(combined from similar events): "
"""Client-go writes this before the note of an Event once ten like it differ, for example in the name of the pod."""
_OF_THIS_ATTEMPT: Final = re.compile(r"\b[0-9a-f]{64}\b")
"""The ID of a pod's sandbox, which differs at each attempt."""


def of_pod(body: Body) -> Ailment | None:
    """Returns why a pod does not run; None if it runs or has only just been created."""
    status = body.get("status") or {}
    if "deletionTimestamp" in body["metadata"]:
        return None
    containers = status.get("containerStatuses") or ()
    for container in containers:
        if ailment := _of_container(container):
            return ailment
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        words = str(scheduled.get("message", "")).partition(" preemption:")[0]
        return Ailment(Cause.NO_NODE, _sentence(words), _moment(scheduled.get("lastTransitionTime")))
    # A pod has no sandbox until its volumes are mounted. Only Events show why it has none.
    set_up = conditions.get("PodReadyToStartContainers", {})
    if set_up.get("status") == "False" and status.get("phase") == "Pending":
        since = _moment(scheduled.get("lastTransitionTime"))
        return Ailment(Cause.NOT_SET_UP, since=since, pod=body["metadata"].get("name", ""))
    return None


def of_deployment(body: Body) -> Ailment | None:
    """Returns why a Deployment's pods are not created; None if they are."""
    for condition in (body.get("status") or {}).get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return Ailment(Cause.REFUSED, _sentence(_nameless(condition.get("message", ""))))
    return None


def of_worker_job(body: Body) -> Ailment | None:
    """Returns the ailment of a Kubernetes Job without pods: Jobs have no condition for refused pods."""
    status = body.get("status") or {}
    counts = [status.get(name, 0) for name in ("active", "failed", "succeeded", "terminating")]
    if any(counts) or "deletionTimestamp" in body["metadata"]:
        return None
    return Ailment(Cause.NOT_MADE, since=_moment(body["metadata"].get("creationTimestamp")))


def of_refusal(note: str) -> Ailment:
    """Returns the ailment of a Kubernetes Job from the note of an Event about the creation of its pod."""
    words = note.removeprefix(_AGGREGATED).removeprefix("Error creating: ")
    return Ailment(Cause.REFUSED, _sentence(_nameless(words)))


def of_set_up(problem: Ailment, note: str) -> Ailment:
    """Returns the ailment of a pod that its node has not set up, with the note of an Event about it."""
    return replace(problem, words=_sentence(_OF_THIS_ATTEMPT.sub("…", note)))


def _of_container(status: Mapping[str, Any]) -> Ailment | None:
    state = status.get("state") or {}
    waiting = state.get("waiting") or {}
    cause = _WAITING.get(waiting.get("reason", ""))
    last = (status.get("lastState") or {}).get("terminated") or {}
    if cause is Cause.CRASHING:
        return _crash(last)
    if cause is not None:
        return Ailment(cause, _sentence(f"{waiting['reason']}: {waiting.get('message', '')}"))
    ended = state.get("terminated") or (last if "running" in state and not status.get("ready") else {})
    if status.get("restartCount", 0) >= FEW_RESTARTS and ended.get("exitCode"):
        return _crash(ended)
    return None


def _crash(ended: Mapping[str, Any]) -> Ailment:
    if not ended:
        return Ailment(Cause.CRASHING, "it exits repeatedly.")
    code, reason = ended.get("exitCode", 0), ended.get("reason", "")
    why = "" if reason in _OF_ANY_END else f" ({reason})"
    words = f"it exited with code {code}{why}. {_last_words(ended.get('message', ''))}"
    return Ailment(Cause.CRASHING, _sentence(words), exit_code=code)


def _last_words(log: str) -> str:
    """Returns why a worker left, from the end of its log."""
    lines = [line.strip() for line in log.strip().splitlines() if line.strip()]
    if words := read_last_words(lines):
        return " ".join(filter(None, (words.message, words.hint)))
    for line in reversed(lines):
        try:
            said = read_foreign_json(line)
        except ValueError:
            return line
        if isinstance(said, dict) and said.get("message"):
            return str(said["message"])
    return ""


def _nameless(words: str) -> str:
    """Removes the name of the refused pod, which differs at each attempt."""
    return re.sub(r'^(pods "[^"]+" is forbidden|Pod "[^"]+" is invalid): ', "", words)


def _sentence(words: str) -> str:
    text = re.sub(r"\s+", " ", redact(words)).strip().rstrip(":.")
    if not text:
        return ""
    return f"{text}." if len(text) < MOST_PROBLEM_CHARACTERS else f"{text[: MOST_PROBLEM_CHARACTERS - 1]}…"


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
