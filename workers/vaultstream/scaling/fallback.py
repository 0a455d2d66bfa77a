"""What to run while the lag can't be read: KEDA's `fallback`.

As in KEDA's `pkg/fallback/fallback.go`: it is taken once *more* readings than `failureThreshold` failed in a row, and
passes through the bounds and HPA's behavior as any other count.
"""

from __future__ import annotations

from typing import NamedTuple

from vaultstream.api import Fallback
from vaultstream.scaling.observation import LagUnknown


class Taken(NamedTuple):
    """The fallback's count, and how it came about.

    Attributes:
        replicas: signers.
        formula: with its numbers.
    """

    replicas: int
    formula: str


def taken(fallback: Fallback | None, unknown: LagUnknown, current: int) -> Taken | None:
    """Returns the fallback's count; None: there is no fallback, or too few readings have failed.

    Args:
        fallback: of the spec.
        unknown: the failed readings.
        current: signers asked for now.
    """
    if fallback is None or unknown.failures <= fallback.failure_threshold:
        return None
    replicas = fallback.replicas
    match fallback.behavior:
        case "static":
            return Taken(replicas, f"fallback.replicas = {replicas}")
        case "currentReplicas":
            return Taken(current, f"current = {current}")
        case "currentReplicasIfHigher":
            count = max(current, replicas)
            return Taken(count, f"max(current {current}, fallback.replicas {replicas}) = {count}")
    count = min(current, replicas)
    return Taken(count, f"min(current {current}, fallback.replicas {replicas}) = {count}")
