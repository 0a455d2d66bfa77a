"""The signers' pods: asked for, placed on a node, started, seen as ready, drained."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log
from random import Random

from vaultstream.simulation import constants
from vaultstream.simulation.scenario import Scenario

_ON_TIME = 1e-9


@dataclass(slots=True)
class Pod:
    """One pod. Times are in seconds; infinity: not yet.

    Attributes:
        asked_at: when its Deployment asked for it.
        placed_at: when it had a node. From then on it costs pod-seconds.
        up_at: when it signs.
        ready_at: when the API server shows it as ready.
        gone_at: when it has drained and left.
    """

    asked_at: float
    placed_at: float = inf
    up_at: float = inf
    ready_at: float = inf
    gone_at: float = inf

    def signs(self, now: float) -> bool:
        """Returns whether it fetches batches: a pod that is deleted does until its preStop hook has passed."""
        return self.up_at <= now < self.gone_at


class Pods:
    """All pods of a job's signers, and the nodes below them."""

    def __init__(self, scenario: Scenario, random: Random) -> None:
        self._scenario = scenario
        self._random = random
        self._asked: list[Pod] = []
        self._leaving: list[Pod] = []
        self._nodes = scenario.nodes.ready
        self._arriving: list[float] = []
        self._idle_since = 0.0
        self._accounted_to = 0.0
        self._there = 0
        self._next = 0.0
        self.signing = 0
        """Pods that fetch batches, those that will leave soon included."""
        self.pod_seconds = 0.0
        self.node_seconds = 0.0
        self.wasted_starts = 0
        """Pods that were placed and left before they signed."""

    @property
    def requested(self) -> int:
        """Pods that the Deployment asks for."""
        return len(self._asked)

    def ready(self, now: float) -> int:
        """Returns the pods that the API server shows as ready."""
        return sum(pod.ready_at <= now for pod in self._asked)

    def unplaced(self) -> int:
        """Returns the pods that have no node."""
        return sum(pod.placed_at == inf for pod in self._asked)

    def scale(self, count: int, now: float) -> None:
        """Sets how many pods are asked for. As a ReplicaSet does, it removes those first that are not ready, then the newest."""
        self._asked += [Pod(now) for _ in range(count - len(self._asked))]
        for pod in sorted(self._asked, key=lambda pod: (pod.placed_at, pod.ready_at), reverse=True)[
            : len(self._asked) - count
        ]:
            self._asked.remove(pod)
            if pod.placed_at <= now:
                self.wasted_starts += pod.up_at > now
                pod.gone_at = now + constants.PRE_STOP.value
                self._leaving.append(pod)
        self._next = now
        self.settle(now)

    def preempt(self, share: float, now: float) -> None:
        """Takes a share of the pods that have a node, at once and at random. Others are asked for instead."""
        self._next = now
        self.settle(now)
        there = [pod for pod in self._asked if pod.placed_at <= now]
        for pod in self._random.sample(there, round(share * len(there))):
            self._asked.remove(pod)
            self._asked.append(Pod(now))
        self._next = now
        self.settle(now)

    def settle(self, now: float) -> None:
        """Does what is due by now: places pods, ends drains, adds nodes, and accounts for the time that has passed."""
        if now + _ON_TIME < self._next:
            return
        elapsed, self._accounted_to = now - self._accounted_to, now
        self.pod_seconds += elapsed * self._there
        self.node_seconds += elapsed * (self._nodes + len(self._arriving))
        self._leaving = [pod for pod in self._leaving if pod.gone_at > now + _ON_TIME]
        self._nodes += sum(at <= now + _ON_TIME for at in self._arriving)
        self._arriving = [at for at in self._arriving if at > now + _ON_TIME]
        self._place_waiting(now)
        self._there = len(self._asked) - self.unplaced() + len(self._leaving)
        self.signing = sum(pod.signs(now + _ON_TIME) for pod in (*self._asked, *self._leaving))
        self._reclaim(now)
        self._next = self._next_time(now)

    def next_time(self) -> float:
        """Returns when something changes by itself: a start, a readiness, an end of a drain, a new node."""
        return self._next

    def _next_time(self, now: float) -> float:
        times = [at for pod in self._asked for at in (pod.up_at, pod.ready_at)]
        times += [pod.gone_at for pod in self._leaving] + self._arriving
        if self._nodes > self._scenario.nodes.ready:
            times.append(self._idle_since + constants.RECLAIM.value)
        return min((at for at in times if at > now + _ON_TIME), default=inf)

    def _place_waiting(self, now: float) -> None:
        nodes = self._scenario.nodes
        waiting = [pod for pod in self._asked if pod.placed_at == inf]
        there = len(self._asked) - len(waiting) + len(self._leaving)
        room = max(0, int(min(self._nodes * nodes.slots, nodes.quota)) - there)
        for pod in waiting[:room]:
            self._place(pod, now)
        short = min(len(waiting), nodes.quota - there) - room
        missing = -(-int(max(0, short)) // nodes.slots) - len(self._arriving)
        for _ in range(min(missing, nodes.most - self._nodes - len(self._arriving))):
            self._arriving.append(now + nodes.provisioning)

    def _place(self, pod: Pod, now: float) -> None:
        scenario = self._scenario
        start = self._random.lognormvariate(log(scenario.start), scenario.start_spread)
        seen = (
            self._random.uniform(0.0, scenario.readiness) if scenario.start_spread else scenario.readiness / 2
        )
        pod.placed_at, pod.up_at, pod.ready_at = now, now + start, now + start + seen

    def _reclaim(self, now: float) -> None:
        nodes = self._scenario.nodes
        if self._there > (self._nodes - 1) * nodes.slots or self._nodes <= nodes.ready:
            self._idle_since = now
        elif now - self._idle_since >= constants.RECLAIM.value:
            self._nodes -= 1
            self._idle_since = now
