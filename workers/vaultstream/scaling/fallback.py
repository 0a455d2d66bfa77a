"""The number of signers while the lag can't be read for long: `scaling.fallback`."""

from __future__ import annotations

from vaultstream.api import Fallback


def fallback_count(fallback: Fallback, current: int) -> tuple[int, str]:
    """Returns the fallback's count and its formula.

    As in KEDA's `pkg/fallback/fallback.go`: it applies once *more* readings than `failureThreshold` failed in a row,
    and passes through the bounds and HPA's behavior as any other count.
    """
    replicas = fallback.replicas
    match fallback.behavior:
        case "static":
            return replicas, f"fallback.replicas = {replicas}"
        case "currentReplicas":
            return current, f"current = {current}"
        case "currentReplicasIfHigher":
            count = max(current, replicas)
            return count, f"max(current {current}, fallback.replicas {replicas}) = {count}"
    count = min(current, replicas)
    return count, f"min(current {current}, fallback.replicas {replicas}) = {count}"
