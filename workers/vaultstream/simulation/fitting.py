"""Fits the model to recorded runs with a fixed number of signers, and predicts others: how far off the model is, on one cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log
from statistics import fmean, median, stdev
from typing import Any, Final

from vaultstream.api import ScalingSpec
from vaultstream.scaling.curve import Curve, fit_curve
from vaultstream.simulation.run import SimulatedRun, simulate
from vaultstream.simulation.scenario import Scenario

SEEDS: Final = 5
"""Runs of the model whose means are a prediction."""
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
class Fit:
    """The model of one cluster.

    Attributes:
        curve: what a number of signers signs.
        start: median seconds from asking for a signer until it is ready.
        start_spread: standard deviation of the logarithm of it.
        offset: what the model leaves out, in seconds: it is added to each prediction, to pod-seconds once for each signer.
    """

    curve: Curve
    start: float
    start_spread: float
    offset: Predicted

    def predicted(self, run: RecordedRun) -> Predicted:
        """Returns what a run like this one should take. Only what was asked for is used of it."""
        plain = _modeled(run, self.curve, self.start, self.start_spread)
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
    curve = fit_curve([(run.signers, run.rate, 1.0) for run in runs if run.rate])
    starts = [max(0.1, seconds) for run in runs for seconds in run.starts]
    if curve is None or not starts:
        raise ValueError("no recorded run shows a rate and a start")
    start, spread = median(starts), stdev([log(one) for one in starts]) if len(starts) > 1 else 0.0
    plain = [(run, _modeled(run, curve, start, spread)) for run in runs]
    offset = Predicted(
        median(run.ready - model.ready for run, model in plain),
        median(run.makespan - model.makespan for run, model in plain),
        median((run.pod_seconds - model.pod_seconds) / run.signers for run, model in plain),
    )
    return Fit(curve, start, spread, offset)


def _modeled(run: RecordedRun, curve: Curve, start: float, spread: float) -> Predicted:
    scenario = Scenario(
        "recorded",
        curve,
        run.records,
        scaling=ScalingSpec(min_replica_count=run.signers, max_replica_count=run.signers, polling_interval=1),
        batch_size=run.batch_size,
        keys=run.keys,
        start=start,
        start_spread=spread,
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
