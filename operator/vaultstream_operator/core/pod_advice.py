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


def advice_on_a_refusal(words: str, role: str) -> str:
    """Returns what helps where a quota, a LimitRange or an admission policy refuses a pod, in the same form."""
    return _advice(_REFUSED, words, role, _ANY_REFUSAL)


def _advice(known: tuple[tuple[str, str], ...], words: str, role: str, otherwise: str) -> str:
    signing = role == SIGNING
    fields = ("tolerations", "nodeSelector", "resources", "priorityClassName", "podLabels", "podAnnotations")
    spec = "spec.signer" if signing else "spec.workers"
    values: dict[str, str] = {"spec": spec}
    values |= {field: f"`workers.{field}` of the chart, or in `{spec}.{field}`" for field in fields}
    values["fewer"] = ", or lower scaling.maxReplicaCount" if signing else ""
    for pattern, sentence in known:
        if found := re.search(pattern, words):
            amounts = found.groupdict().get("amounts", "").replace(",", " and ")
            return sentence.format(amounts=amounts, **values)
    return otherwise.format(**values)
