"""What helps when Kubernetes has no node for a job's pods, or refuses them: chosen by Kubernetes' own words. Pure."""

from __future__ import annotations

import re
from typing import Final

from vaultstream_operator.core.pods import SIGNING

_UNSCHEDULABLE: Final = (
    (
        "untolerated taint",
        "Remove the taint, or tolerate it: in {tolerations}.",
    ),
    (
        r"didn't match Pod's node affinity|didn't match node selector|didn't match pod (anti-)?affinity",
        "Add or label a node, or correct {nodeSelector} or the `affinity` there.",
    ),
    (
        "Insufficient ",
        "Add nodes, or request less in {resources}{fewer}.",
    ),
)
_REFUSED: Final = (
    (
        r"service ?account",
        "Create the ServiceAccount {account} in this namespace, as the chart does in its `jobNamespaces`.",
    ),
    (
        r"must specify (?P<amounts>[\w.,-]+)",
        "Set {amounts} in {resources}.",
    ),
    (
        r"(minimum|maximum) [\w-]+ usage per|max limit to request ratio",
        "Set {resources} to what the LimitRange allows.",
    ),
    (
        "exceeded quota",
        "Raise the quota, or request less in {resources}{fewer}.",
    ),
    (
        "no PriorityClass with name",
        "Create the PriorityClass, or correct {priorityClassName}.",
    ),
    (
        "security context constraint",
        "Set `runAsUser`, `runAsGroup` and `fsGroup` in `workers.podSecurityContext` of the chart to null.",
    ),
    (
        "violates PodSecurity",
        "Correct `workers.podSecurityContext` and `workers.securityContext` of the chart.",
    ),
    (
        r"\blabels?\b",
        "Set the labels that the policy asks for in {podLabels}, or correct the policy.",
    ),
    (
        r"\bannotations?\b",
        "Set the annotations that the policy asks for in {podAnnotations}, or correct the policy.",
    ),
)
_ANY_NODE: Final = (
    "Add nodes, or correct what the pods ask for in `workers` of the chart or in `{spec}`{fewer}."
)
_MEMORY: Final = "Raise the memory in {resources}."
_UNTOLD: Final = "Most often the ServiceAccount {account} is missing in this namespace, or a quota or an admission policy refuses the pods."
_ANY_REFUSAL: Final = (
    "Correct the quota or the admission policy, or what it refuses: in `workers` of the chart or in `{spec}`."
)


def advice_without_a_node(words: str, role: str) -> str:
    """Returns what helps where the scheduler finds no node: a sentence that names settings of the chart and of the spec.

    Args:
        words: what the scheduler reports.
        role: keys, records or signing.
    """
    return _advice(_UNSCHEDULABLE, words, role, _ANY_NODE)


def advice_on_a_refusal(words: str, role: str, account: str = "of the workers") -> str:
    """Returns what helps where a quota, a LimitRange or an admission policy refuses a pod, in the same form.

    Args:
        words: the API server's answer; empty: it is not known.
        role: keys, records or signing.
        account: the ServiceAccount of the pods.
    """
    if not words:
        return _UNTOLD.format(account=account)
    return _advice(_REFUSED, words, role, _ANY_REFUSAL, account)


def advice_on_memory(role: str) -> str:
    """Returns what helps where the kernel ended a worker that used more memory than its limit."""
    return _advice((), "", role, _MEMORY)


def _advice(
    known: tuple[tuple[str, str], ...], words: str, role: str, otherwise: str, account: str = ""
) -> str:
    signing = role == SIGNING
    fields = ("tolerations", "nodeSelector", "resources", "priorityClassName", "podLabels", "podAnnotations")
    spec = "spec.signer" if signing else "spec.workers"
    values: dict[str, str] = {"spec": spec, "account": account}
    values |= {field: f"`workers.{field}` of the chart, or in `{spec}.{field}`" for field in fields}
    values["fewer"] = ", or lower scaling.maxReplicaCount" if signing else ""
    for pattern, sentence in known:
        if found := re.search(pattern, words):
            amounts = found.groupdict().get("amounts", "").replace(",", " and ")
            return sentence.format(amounts=amounts, **values)
    return otherwise.format(**values)
