"""What is simulated: a job, the cluster it runs on, and what happens meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, inf

from vaultstream.api import ScalingSpec
from vaultstream.scaling.curve import Curve
from vaultstream.scaling.prior import Prior
from vaultstream.scaling.reasons import LagProblem
from vaultstream.simulation import constants


@dataclass(frozen=True, slots=True)
class Arrival:
    """Records that are there from a moment on, in seconds after the job's creation."""

    at: float
    records: int


@dataclass(frozen=True, slots=True)
class Load:
    """From this moment on, all signers sign at `factor` of their rate, as when payloads grow."""

    at: float
    factor: float


@dataclass(frozen=True, slots=True)
class Outage:
    """NATS or its consumer is gone: the lag can't be read, and no batch is delivered. `state`: what a reading finds."""

    begin: float
    end: float
    state: LagProblem


@dataclass(frozen=True, slots=True)
class Preemption:
    """A cloud provider takes this share of the pods at once, at random. Their Deployment asks for others."""

    at: float
    share: float


@dataclass(frozen=True, slots=True)
class Restart:
    """The operator is replaced: it decides nothing in between, and then remembers what Postgres keeps, and nothing else."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes that signers may run on.

    Attributes:
        slots: signers that fit on a node.
        ready: nodes that are there from the start.
        most: nodes that the autoscaler of nodes may have at most; no more than `ready`: there is none.
        provisioning: seconds until a node that is asked for is ready.
        quota: signers that the namespace may have at most.
    """

    slots: int = 1000
    ready: int = 1
    most: int = 1
    provisioning: float = constants.PROVISIONING.value
    quota: float = inf


@dataclass(frozen=True, slots=True)
class Scenario:
    """A job and its cluster.

    Attributes:
        records: that are there when the job is created; more come with `arrivals`.
        estimated: records that Postgres expects in the table; None: it has no estimate.
        key_rate: keys made per second.
        start: median seconds from placing a pod until it signs; `start_spread` is the deviation of the logarithm.
        noise: standard deviation of the logarithm of the rate, a new one each `NOISE_PERIOD`.
        batch_spread: the same of the effort of each batch.
        finish_within: seconds after the creation in which the job should end; None: no such time.
        hinted: whether the records worker tells the operator of each page that it has planned.
        prior: what earlier jobs have shown; None: there were none.
        horizon: seconds after which the simulation gives up.
    """

    name: str
    curve: Curve
    records: int
    scaling: ScalingSpec = field(default_factory=ScalingSpec)
    batch_size: int = 500
    keys: int = 1000
    key_rate: float = constants.KEYS_RATE.value
    arrivals: Sequence[Arrival] = ()
    estimated: int | None = None
    planning_rate: float = constants.PLANNING_RATE.value
    start: float = constants.POD_START.value
    start_spread: float = 0.0
    readiness: float = constants.READINESS_PERIOD.value
    noise: float = 0.0
    batch_spread: float = 0.2
    loads: Sequence[Load] = ()
    outages: Sequence[Outage] = ()
    preemptions: Sequence[Preemption] = ()
    restarts: Sequence[Restart] = ()
    nodes: Nodes = field(default_factory=Nodes)
    finish_within: float | None = None
    hinted: bool = True
    prior: Prior | None = None
    horizon: float = 20_000.0

    @property
    def total(self) -> int:
        """All records, those that arrive later included."""
        return self.records + sum(arrival.records for arrival in self.arrivals)

    @property
    def batches(self) -> int:
        """Batches of the records that are there at the start."""
        return ceil(self.records / self.batch_size)
