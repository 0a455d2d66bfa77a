"""Problems that keep a worker's pods from running, and what to do about them.

Pure: adapters find ailments in what Kubernetes reports about pods and their owners; this module puts them into words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final

from vaultstream.errors import ExitCode
from vaultstream.scaling.observation import moment_text
from vaultstream_operator.api.reasons import JobReason, Statement, say
from vaultstream_operator.core import pod_advice
from vaultstream_operator.core.children import ROLE_LABEL, UID_LABEL, Owner, child_name
from vaultstream_operator.core.pods import SIGNING, WorkerOptions, mounted_secrets, needed_secrets


class Cause(IntEnum):
    """Problems of pods. If there are several, the first of this list is reported."""

    NOT_CONFIGURED = 1
    """A Secret that a variable comes from, or a key in it, is missing."""
    IMAGE = 2
    CRASHING = 3
    NOT_STARTED = 4
    REFUSED = 5
    """A quota or an admission policy refuses the pods."""
    NO_NODE = 6
    NOT_SET_UP = 7
    """The pod has a node, which cannot start a container: most likely a volume can't be mounted."""
    NOT_MADE = 8
    """There is no pod, and no Event that reports why."""


CAUSE_PATIENCE_SECONDS: Final = {Cause.NO_NODE: 5.0, Cause.NOT_SET_UP: 30.0, Cause.NOT_MADE: 10.0}
"""How long each of these may last before it is reported as a problem, in seconds."""

_OF_SOME_ALONE: Final = frozenset({Cause.NO_NODE, Cause.REFUSED, Cause.NOT_SET_UP, Cause.NOT_MADE})
"""Problems that only keep signers from being added, as long as some are ready."""

_REASONS: Final = {
    Cause.NOT_CONFIGURED: JobReason.PODS_NOT_STARTING,
    Cause.IMAGE: JobReason.IMAGE_UNAVAILABLE,
    Cause.CRASHING: JobReason.WORKER_FAILING,
    Cause.NOT_STARTED: JobReason.PODS_NOT_STARTING,
    Cause.REFUSED: JobReason.PODS_REFUSED,
    Cause.NO_NODE: JobReason.PODS_UNSCHEDULABLE,
    Cause.NOT_SET_UP: JobReason.VOLUMES_NOT_MOUNTED,
    Cause.NOT_MADE: JobReason.PODS_REFUSED,
}

_OUT_OF_MEMORY: Final = "OOMKilled"
_SANDBOX: Final = "sandbox"
"""In the Event of a node that has mounted the volumes, and can't make the pod's network or namespaces."""
_NO_SECRET = re.compile(r'secret "(?P<secret>[^"]+)" not found')
_NO_KEY = re.compile(r"couldn't find key (?P<key>\S+) in Secret \S+?/(?P<secret>[^\s/]*[^\s/.])")


@dataclass(frozen=True, slots=True)
class Ailment:
    """A problem of the pods of one role.

    Attributes:
        cause: the kind of problem.
        words: what Kubernetes or the worker reports, with a full stop; empty: nothing.
        since: when it began; None: unknown, so it is reported at once.
        exit_code: exit code of a worker that crashes.
        pod: the name of the pod, if its Events say more.
    """

    cause: Cause
    words: str = ""
    since: datetime | None = None
    exit_code: int | None = None
    pod: str = ""

    def ripe(self, now: datetime) -> bool:
        """Returns whether it has lasted long enough to be reported."""
        return self.ripens_in(now) <= 0

    def ripens_in(self, now: datetime) -> float:
        """Returns the seconds until it has lasted long enough to be reported."""
        if self.since is None:
            return 0.0
        return CAUSE_PATIENCE_SECONDS.get(self.cause, 0.0) - (now - self.since).total_seconds()

    def stops(self, ready: int) -> bool:
        """Returns whether someone has to fix it before the job can continue while `ready` pods of the role are ready."""
        return ready == 0 or self.cause not in _OF_SOME_ALONE


def statement(ailment: Ailment, role: str, pods: int, owner: Owner, options: WorkerOptions) -> Statement:
    """Returns the statement that reports an ailment.

    Args:
        ailment: the problem of the pods of a role.
        role: keys, records or signing.
        pods: how many are not ready.
        owner: the SigningJob.
        options: the operator's settings, which name what pods need.
    """
    ours = _not_configured(ailment, role, owner, options)
    if ours is not None:
        return ours
    problem, reason = ailment.words, _REASONS[ailment.cause]
    mounted = mounted_secrets(role, options)
    if ailment.cause is Cause.NOT_SET_UP:
        reason = reason if mounted and _SANDBOX not in problem else JobReason.PODS_NOT_STARTING
        problem = " ".join(filter(None, (_since("their node has not set them up", ailment), problem)))
    elif ailment.cause is Cause.NOT_MADE:
        kind = "deployment" if role == SIGNING else "job"
        hint = f"`kubectl describe {kind} -n {owner.namespace} {child_name(owner, role)}` names the cause."
        problem = f"{_since('none is there', ailment)} {hint}"
    elif ailment.cause is Cause.CRASHING and ailment.exit_code == ExitCode.CUSTODY:
        reason = JobReason.KEYS_UNUSABLE
    elif ailment.cause is Cause.CRASHING and _OUT_OF_MEMORY in problem:
        problem = f"{problem} {pod_advice.advice_on_memory(role)}"
    return say(
        reason,
        problem=problem,
        help=pod_advice.advice_without_a_node(problem, role)
        if ailment.cause is Cause.NO_NODE
        else pod_advice.advice_on_a_refusal(ailment.words, role, options.service_account),
        role=role,
        pods=pods,
        namespace=owner.namespace,
        pod=f"-l {UID_LABEL}={owner.uid},{ROLE_LABEL}={role}",
        secrets=" or ".join(f"the Secret {name} with {_keys(keys)}" for name, keys in mounted.items()),
    )


def _not_configured(ailment: Ailment, role: str, owner: Owner, options: WorkerOptions) -> Statement | None:
    """What is to be said if one of our Secrets is at fault; None: it is something else."""
    if ailment.cause is not Cause.NOT_CONFIGURED:
        return None
    needed = needed_secrets(role, options)
    if (found := _NO_SECRET.search(ailment.words)) and (keys := needed.get(found["secret"])):
        return say(
            JobReason.SECRET_MISSING,
            secret=found["secret"],
            namespace=owner.namespace,
            problem=ailment.words.removesuffix("."),
            keys=_keys(keys),
        )
    if (found := _NO_KEY.search(ailment.words)) and found["secret"] in needed:
        return say(
            JobReason.SECRET_INCOMPLETE,
            secret=found["secret"],
            namespace=owner.namespace,
            keys=f"the key {found['key']}",
        )
    return None


def _keys(names: tuple[str, ...]) -> str:
    listed = ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]
    return f"the key{'s' if len(names) > 1 else ''} {listed}"


def _since(what: str, ailment: Ailment) -> str:
    if ailment.since is None:
        return f"{what}."
    return f"{what} since {moment_text(ailment.since.timestamp())}."
