"""Fits the model to recorded runs with a fixed number of signers, and predicts others: how far off the model is, on one cluster.

Signers that start at once share the cores of a node, so each start takes longer the more there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log, sqrt
from statistics import fmean, linear_regression, median
from typing import Any, Final

from vaultstream.api import ScalingSpec
from vaultstream.scaling.curve import Curve, fit_curve
from vaultstream.simulation.run import SimulatedRun, simulate
from vaultstream.simulation.scenario import Scenario

SEEDS: Final = 5
"""Runs of the model whose means are a prediction."""
_SOONEST: Final = 0.1
"""Seconds of a start at least."""
_BEGUN, _ENDING = 0.1, 0.9  # shares of the records between which the rate is that of all signers


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What one run took. All times are seconds after the job's creation.

    Attributes:
        signers: that were asked for from the start.
        starts: seconds from asking for a signer until it was ready, one for each.
        settled: times, in order, and how many records had a signature or were dead by then.
        ready: when as many as were asked for were ready.
        makespan: when the job was complete.
        pod_seconds: of the signers, from placing them on a node until they were gone.
    """

    signers: int
    records: int
    batch_size: int
    keys: int
    starts: tuple[float, ...]
    settled: tuple[tuple[float, int], ...]
    ready: float
    makespan: float
    pod_seconds: float

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> RecordedRun:
        """Returns a run from what `dump` made of it."""
        settled = tuple((float(at), int(count)) for at, count in stored["settled"])
        return cls(**{**stored, "starts": tuple(stored["starts"]), "settled": settled})

    def dump(self) -> dict[str, Any]:
        """Returns it ready for JSON."""
        return asdict(self)

    @property
    def rate(self) -> float | None:
        """Records per second of all signers together, without the first and the last tenth; None: too few readings."""
        inner = [
            point for point in self.settled if _BEGUN * self.records <= point[1] <= _ENDING * self.records
        ]
        if len(inner) < 2 or inner[-1][0] <= inner[0][0]:  # noqa: PLR2004 - a first and a last one
            return None
        return (inner[-1][1] - inner[0][1]) / (inner[-1][0] - inner[0][0])


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a run should take, in seconds; see `RecordedRun`."""

    ready: float
    makespan: float
    pod_seconds: float


@dataclass(frozen=True, slots=True)
class StartTime:
    """How long signers take to start that are asked for at once.

    Attributes:
        alone: seconds from asking for one signer until it is ready.
        each: seconds that each further one adds to the start of all.
        spread: standard deviation of the logarithm of a start.
    """

    alone: float
    each: float
    spread: float

    def __call__(self, signers: int) -> float:
        """Returns the seconds that so many signers take that start at once, 1 or more."""
        return self.alone + self.each * (signers - 1)


@dataclass(frozen=True, slots=True)
class Fit:
    """The model of one cluster.

    Attributes:
        curve: what a number of signers signs.
        start: of signers that are asked for at once.
        offset: what the model leaves out, in seconds: it is added to each prediction, to pod-seconds once for each signer.
    """

    curve: Curve
    start: StartTime
    offset: Predicted

    def predicted(self, run: RecordedRun) -> Predicted:
        """Returns what a run like this one should take. Only what was asked for is used of it."""
        plain = _modeled(run, self.curve, self.start)
        return Predicted(
            plain.ready + self.offset.ready,
            plain.makespan + self.offset.makespan,
            plain.pod_seconds + run.signers * self.offset.pod_seconds,
        )


def fit(runs: Sequence[RecordedRun]) -> Fit:
    """Returns the model of the cluster on which runs were recorded.

    Raises:
        ValueError: no run shows a rate, or none has a signer.
    """
    starts = [(run.signers, max(_SOONEST, seconds)) for run in runs for seconds in run.starts]
    curve = fit_curve(
        [(run.signers, rate, 1.0) for run, rate in zip(runs, _rates(runs), strict=True) if rate]
    )
    if curve is None or not starts:
        raise ValueError("no recorded run shows a rate and a start")
    start = _start_time(starts)
    plain = [(run, _modeled(run, curve, start)) for run in runs]
    offset = Predicted(
        median(run.ready - model.ready for run, model in plain),
        median(run.makespan - model.makespan for run, model in plain),
        median((run.pod_seconds - model.pod_seconds) / run.signers for run, model in plain),
    )
    return Fit(curve, start, offset)


def _rates(runs: Sequence[RecordedRun]) -> list[float | None]:
    """Returns the rate of each run.

    One with too few readings of its own has signed all its records from the moment on at which the others began, until its end.
    """
    begins = [run.makespan - run.records / run.rate for run in runs if run.rate]
    if not begins:
        return [None] * len(runs)
    begin = median(begins)
    return [
        run.rate or (run.records / (run.makespan - begin) if run.makespan > begin else None) for run in runs
    ]


def _start_time(starts: Sequence[tuple[int, float]]) -> StartTime:
    """Returns the line through the starts by the number of signers that started at once. More of them never start sooner."""
    alone, each = fmean(seconds for _, seconds in starts), 0.0
    if len({signers for signers, _ in starts}) > 1:
        line = linear_regression([signers - 1 for signers, _ in starts], [seconds for _, seconds in starts])
        if line.slope > 0:
            alone, each = max(_SOONEST, line.intercept), line.slope
    found = StartTime(alone, each, 0.0)
    misses = [log(seconds / found(signers)) for signers, seconds in starts]
    return StartTime(alone, each, sqrt(fmean(miss**2 for miss in misses)))


def _modeled(run: RecordedRun, curve: Curve, start: StartTime) -> Predicted:
    scenario = Scenario(
        "recorded",
        curve,
        run.records,
        scaling=ScalingSpec(min_replica_count=run.signers, max_replica_count=run.signers, polling_interval=1),
        batch_size=run.batch_size,
        keys=run.keys,
        start=start(run.signers),
        start_spread=start.spread,
        readiness=0.0,
    )
    done = [simulate(scenario, seed) for seed in range(SEEDS)]
    return Predicted(
        fmean(_ready(one, run.signers) for one in done),
        fmean(one.makespan for one in done),
        fmean(one.pod_seconds for one in done),
    )


def _ready(done: SimulatedRun, signers: int) -> float:
    return next((moment.at for moment in done.moments if moment.ready >= signers), done.makespan)
