"""The scenarios by which scaling is judged, as data: each with what it is about, and whether VaultStream must be as good as tuned KEDA in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from vaultstream.api import ScaleDownRules, ScalingBehavior, ScalingPolicy, ScalingSpec
from vaultstream.scaling.curve import Curve
from vaultstream.scaling.reasons import Reason
from vaultstream.simulation.arrivals import make_arrivals
from vaultstream.simulation.scenario import Load, Nodes, Outage, Preemption, Restart, Scenario

QUICK: Final = ScalingSpec(
    cooldown_period=15,
    behavior=ScalingBehavior(
        scale_down=ScaleDownRules(
            stabilization_window_seconds=0,
            policies=(ScalingPolicy(type="Pods", value=1000, period_seconds=1),),
        )
    ),
)
"""For records that come in bursts: the windows and the cooldown that tuned KEDA has."""

AS_LONG: Final = 1.01
"""Upper bound of the ratio of makespans up to which VaultStream is as good as a rival."""
AS_MANY: Final = 1.05
"""The same of pod-seconds."""

_TWO_STEPS: Final = (
    "Four signers first show what a signer signs, so the others start 15 s later than those of KEDA, which starts all that its threshold "
    "asks for. In a job of a minute, that is a quarter of it. The next job of the kind knows it."
)

_WORSE: Final[Mapping[str, str]] = {
    "bulk": _TWO_STEPS,
    "trickle": "Four signers first show what a signer signs, which costs 60 pod-seconds, and in the first minutes the rate of a signer is known only roughly, so two are started for "
    "some arrivals. Then each arrival costs the start of one signer, as with KEDA, within a second of it. The next job starts two for some arrivals.",
    "noise": _TWO_STEPS,
    "slow start": "Four signers first show what a signer signs, and a slow start passes twice before the others sign. The jobs end before the rate of "
    "more signers is steady, so the next one believes what it knows only up to 16.",
    "pending": "Four signers first show what a signer signs, and those that find a node sign later. The next job knows it.",
    "spot wave": _TWO_STEPS,
    "ten jobs": "Fewer signers run while the other jobs load Postgres, and more are tried only once the rate shows that the load has gone. The next job knows what they sign without it.",
    "NATS outage": _TWO_STEPS,
    "failover": _TWO_STEPS,
    "restart": _TWO_STEPS,
    "growing": _TWO_STEPS,
    "deadline": "It ends shortly before its finishing time, for fewer pod-seconds. KEDA knows no finishing time, and ends as early as it can.",
    "impossible": _TWO_STEPS,
}
"""Why tuned KEDA is better in a scenario."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A scenario, and what it shows.

    Attributes:
        about: in one sentence.
        worse: why tuned KEDA may be better; None: it may not.
    """

    scenario: Scenario
    about: str
    worse: str | None = None


def _scenario(name: str, curve: Curve, records: int, **fields: object) -> Scenario:
    usual: dict[str, object] = {"batch_size": 250, "start_spread": 0.25, "noise": 0.1, "estimated": records}
    return Scenario(name, curve, records, **{**usual, **fields})  # type: ignore[arg-type]


_LINE: Final = Curve(1_000.0)
_LAW: Final = Curve(1_000.0, 0.02, 0.0005)
_TRIALS: Final = (
    Trial(
        _scenario("bulk", _LINE, 3_000_000),
        "A table of 3 million records, and signers that don't disturb each other.",
    ),
    Trial(_scenario("tiny", Curve(6_250.0), 100_000), "A job of seconds."),
    Trial(_scenario("knee", Curve(1_000.0, ceiling=8_000.0), 3_000_000), "Postgres is busy with 8 signers."),
    Trial(_scenario("soft knee", _LAW, 3_000_000), "Each signer costs the others something."),
    Trial(
        _scenario("burst", _LINE, 50_000, arrivals=make_arrivals("burst:300:1000000"), scaling=QUICK),
        "After five minutes, twenty times as many records come.",
    ),
    Trial(
        _scenario("trickle", _LINE, 5_000, arrivals=make_arrivals("every:20:2000:60"), scaling=QUICK),
        "2,000 records come every 20 s.",
    ),
    Trial(
        _scenario("diurnal", _LINE, 10_000, arrivals=make_arrivals("diurnal:4800:5000000"), scaling=QUICK),
        "A day of 80 minutes, most records at noon.",
    ),
    Trial(_scenario("noise", _LINE, 2_000_000, noise=0.5), "The rate varies by half from second to second."),
    Trial(
        _scenario("planner", _LINE, 1_000_000, planning_rate=5_000.0),
        "Records are planned slower than few signers sign.",
    ),
    Trial(
        _scenario("slow start", _LINE, 2_000_000, start=45.0, start_spread=0.5), "A pod takes 45 s to start."
    ),
    Trial(
        _scenario("pending", _LINE, 2_000_000, nodes=Nodes(slots=10, ready=1, most=4)),
        "Nodes for 10 signers, and 30 more after 90 s.",
    ),
    Trial(
        _scenario("quota", _LINE, 1_000_000, nodes=Nodes(quota=6)),
        "The namespace may have 6 signers.",
    ),
    Trial(
        _scenario("spot wave", _LINE, 2_000_000, preemptions=(Preemption(30.0, 0.5), Preemption(45.0, 0.5))),
        "Twice, half of the signers lose their nodes.",
    ),
    Trial(_scenario("one key", _LINE, 100_000, keys=1), "All batches need the same key."),
    Trial(
        _scenario(
            "ten jobs",
            Curve(1_000.0, ceiling=20_000.0),
            1_000_000,
            loads=tuple(Load(20.0 * step, 1.0 / (1 + step)) for step in range(1, 5))
            + tuple(Load(100.0 + 30.0 * step, 1.0 / (5 - step)) for step in range(1, 5)),
        ),
        "Other jobs on the same Postgres begin and end, as a load of this one.",
    ),
    Trial(
        _scenario("NATS outage", _LINE, 2_000_000, outages=(Outage(40.0, 70.0, Reason.NATS_UNREACHABLE),)),
        "NATS is unreachable for 30 s.",
    ),
    Trial(
        _scenario("failover", _LINE, 2_000_000, outages=(Outage(40.0, 55.0, Reason.POSTGRES_UNREACHABLE),)),
        "Postgres fails over in 15 s.",
    ),
    Trial(
        _scenario("restart", _LINE, 2_000_000, restarts=(Restart(20.0, 35.0),)),
        "The operator is replaced, and decides nothing for 15 s.",
    ),
    Trial(
        _scenario(
            "growing", _LINE, 2_000_000, loads=tuple(Load(15.0 * step, 0.9**step) for step in range(1, 8))
        ),
        "Payloads grow, and the rate falls to half.",
    ),
    Trial(
        _scenario("deadline", Curve(100.0), 1_200_000, finish_within=620.0),
        "A finishing time that twenty signers meet.",
    ),
    Trial(
        _scenario("impossible", Curve(200.0), 12_000_000, finish_within=300.0),
        "A finishing time that the maximum does not meet.",
    ),
)

TRIALS: Final[Mapping[str, Trial]] = {
    trial.scenario.name: replace(trial, worse=_WORSE.get(trial.scenario.name)) for trial in _TRIALS
}
"""From a scenario's name to its trial."""
