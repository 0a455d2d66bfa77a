"""The bounds of a count: what the spec allows, and what the active keys and the batches left can use."""

from __future__ import annotations

from dataclasses import dataclass

from vaultstream.api import ScalingSpec
from vaultstream.scaling.decision import Limit
from vaultstream.scaling.forecast import time_left
from vaultstream.scaling.observation import Observation
from vaultstream.scaling.reasons import LimitName
from vaultstream.scaling.throughput import Plateau

CONNECTIONS_PER_SIGNER = 4
"""Connections to Postgres that a signer keeps: 2 for its work, and 2 to read the table."""
NODE_SECONDS = 120.0
"""Assumed seconds until a new node has room for signers: a job that ends sooner does not wait for one."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of a count. A ceiling wins over a floor: a signer without a key or a batch is useless.

    Attributes:
        most: `maxReplicaCount`, or what the platform has in its place. Wins over everything, a pause included.
        ceiling: the lowest of the ceilings: `most`, the keys, the batches left, what Postgres has connections for.
        least: `minReplicaCount`, no higher than the ceiling.
        floor: the minimum while there is work: `least`, and at least one, no higher than the ceiling.
        rest: what remains once there has been no work for the cooldown: `idleReplicaCount`, or 0 where
            `minReplicaCount` is 0. None: neither, so that there is no rest and no activation, as in KEDA.
    """

    most: Limit
    ceiling: Limit
    least: Limit
    floor: Limit
    rest: int | None

    def bounded(self, count: int, floor: Limit) -> tuple[int, Limit | None]:
        """Returns the count between `floor` and the ceiling, and the bound that changed it."""
        if count > self.ceiling.value:
            return self.ceiling.value, self.ceiling
        if count < floor.value:
            return floor.value, floor
        return count, None

    def contain(self, count: int) -> bool:
        """Returns True if the count may stay as it is while there is work."""
        return self.floor.value <= count <= self.ceiling.value


def bounds(spec: ScalingSpec, observation: Observation) -> Bounds:
    """Returns the bounds of a job's count of signers, from its spec and what was observed."""
    progress = observation.progress
    most = spec.max_replica_count
    if most is None:
        most = max(1, observation.replicas.platform_max)
    ceilings = [Limit(LimitName.MAX_REPLICA_COUNT, most)]
    if observation.keys_active is not None:
        ceilings.append(Limit(LimitName.ACTIVE_KEYS, observation.keys_active))
    elif observation.keys_asked is not None:
        ceilings.append(Limit(LimitName.KEY_COUNT, observation.keys_asked))
    if progress.planned and progress.batches_left is not None:
        ceilings.append(Limit(LimitName.BATCHES_LEFT, progress.batches_left))
    if observation.connections_left is not None:
        # Those that are not ready may not have connected yet. None is removed: what Postgres has left changes with every session.
        fitting = observation.replicas.ready + observation.connections_left // CONNECTIONS_PER_SIGNER
        ceilings.append(Limit(LimitName.DATABASE_CONNECTIONS, max(observation.replicas.current, fitting)))
    ceiling = min(ceilings, key=lambda limit: limit.value)
    least = min(spec.min_replica_count, ceiling.value)
    floor = min(max(1, spec.min_replica_count), ceiling.value)
    rest = spec.idle_replica_count
    if rest is None and spec.min_replica_count == 0:
        rest = 0
    return Bounds(
        most=ceilings[0],
        ceiling=ceiling,
        least=Limit(LimitName.MIN_REPLICA_COUNT, least),
        floor=Limit(LimitName.MIN_REPLICA_COUNT, floor),
        rest=rest,
    )


def cap_of(
    observation: Observation,
    limits: Bounds,
    plateau: Plateau | None,
    *,
    withdrawn: bool = False,
    waited: float = 0.0,
) -> Limit | None:
    """Returns the count beyond which signers sign nothing more, or have no node; None: no such count is known.

    While signers wait for a node, no further ones are asked for, and those that wait are withdrawn if the job ends before a node
    could be added. None is added then.

    Args:
        observation: what was observed.
        limits: of the count.
        plateau: where more signers add nothing; None: not known.
        withdrawn: whether signers that waited for a node were withdrawn, and none could have been added since.
        waited: seconds since signers were asked for last: a node may be on its way for as long.
    """
    caps: list[Limit] = []
    if plateau is not None:
        caps.append(Limit(LimitName.THROUGHPUT, max(plateau.knee, limits.floor.value)))
    replicas, progress = observation.replicas, observation.progress
    if replicas.unplaced or (withdrawn and replicas.current):
        eta = time_left(progress.records_left, progress.records_per_second)
        node = NODE_SECONDS - waited if waited < NODE_SECONDS else NODE_SECONDS
        count = replicas.placed if eta is not None and eta <= node else replicas.current
        caps.append(Limit(LimitName.SCHEDULABLE, max(1, count, limits.floor.value)))
    return min(caps, key=lambda limit: limit.value, default=None)
