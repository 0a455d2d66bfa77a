"""Every decision explains itself in one sentence: what, why, the formula with its numbers, and what bound it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from support.scaling import EMPTY, LONG_AGO, NOW, seen
from vaultstream.api import Fallback, ScalingSpec
from vaultstream.scaling.curve import Curve, LearnedCurve
from vaultstream.scaling.decide import decide
from vaultstream.scaling.history import Change, History
from vaultstream.scaling.observation import Observation, Pause, Progress, Timing, moment_text
from vaultstream.scaling.reasons import LimitName, Reason, limit_clause
from vaultstream.scaling.throughput import Seen

pytestmark = pytest.mark.unit

FALLBACK = ScalingSpec(
    lag_threshold=10, fallback=Fallback(failure_threshold=3, replicas=6, behavior="currentReplicasIfHigher")
)
BUSY = Progress(records_left=3000, records_per_second=1000.0)
PACED = Progress(records_left=60_000, rate_per_signer=100.0)
ACTIVE = History(last_active_at=NOW - 60)

EXAMPLES: list[tuple[Reason, ScalingSpec, Observation, History, str]] = [
    (
        Reason.LAG,
        ScalingSpec(lag_threshold=10, max_replica_count=8),
        seen(193),
        EMPTY,
        (
            "Scaled from 0 to 8 signers: lag is 193 batches, lagThreshold is 10 per signer, ⌈193 / 10⌉ = 20, "
            "limited by maxReplicaCount to 8."
        ),
    ),
    (
        Reason.LAG,
        ScalingSpec(lag_threshold=10),
        seen(193, 2),
        EMPTY,
        (
            "Scaled from 2 to 6 signers: lag is 193 batches, lagThreshold is 10 per signer, ⌈193 / 10⌉ = 20, "
            "limited by scaleUp.policies to 6."
        ),
    ),
    (
        Reason.WITHIN_TOLERANCE,
        ScalingSpec(lag_threshold=10),
        seen(21, 2),
        EMPTY,
        (
            "Kept 2 signers: lag is 21 batches, within tolerance of lagThreshold (10 per signer), ⌈21 / 10⌉ = 3, "
            "1.05 times lagThreshold per signer."
        ),
    ),
    (
        Reason.DEADLINE,
        ScalingSpec(lag_threshold=10, max_replica_count=4),
        seen(99, progress=PACED, timing=Timing(NOW, NOW + 75, 10.0, 5.0)),
        History(short_since=NOW - 5),
        (
            "Scaled from 0 to 4 signers: 60,000 records left, 75 s until the target time, 100 records/s per "
            "signer, ⌈60000 / (100 · (0.9 · 75 s - 10 s start - 5 s drain))⌉ = more than 4, limited by maxReplicaCount "
            "to 4; the target time is at risk: about 36,000 records would be left then, and it would end 90 s later; "
            "12 signers would be enough."
        ),
    ),
    (
        Reason.JOB_ENDS_FIRST,
        ScalingSpec(lag_threshold=10),
        seen(99, 2, progress=BUSY, timing=Timing(NOW, startup_seconds=10.0)),
        EMPTY,
        (
            "Kept 2 signers: the job ends in about 3 s, before a new signer would be ready (10 s), ⌈99 / 10⌉ = "
            "10, limited by startup time to 2."
        ),
    ),
    (
        Reason.DATABASE_IS_THE_LIMIT,
        ScalingSpec(lag_threshold=10),
        seen(999, 20),
        History(
            seen=(
                Seen(signers=10, rate=1000.0, samples=3, at=NOW),
                Seen(signers=20, rate=1010.0, samples=3, at=NOW),
            )
        ),
        (
            "Scaled from 20 to 10 signers: Postgres is the limit (20 signers signed 1010 records/s, 10 signed "
            "1000 records/s, 10 are enough), ⌈999 / 10⌉ = 100, limited by throughput to 10."
        ),
    ),
    (
        Reason.FIRST_STEP,
        ScalingSpec(),
        seen(2000),
        EMPTY,
        "Scaled from 0 to 4 signers: no signer's rate is known yet, max(current 0, min(4, lag 2000)) = 4.",
    ),
    (
        Reason.EARLIER_JOBS,
        ScalingSpec(),
        replace(
            seen(
                2000, progress=Progress(records_expected=1_000_000), timing=Timing(NOW, startup_seconds=10.0)
            ),
            learned=LearnedCurve(Curve(1_000.0, 0.01, 0.0005), 100),
        ),
        EMPTY,
        (
            "Scaled from 0 to 27 signers: about 1,000,000 records left, X(n) is what n signers signed per second in earlier "
            "jobs like this one, 10 s start + 1000000 / X(27) = 69.67 s ≤ 70.4 s, X(n) = 1000 n / (1 + 0.01 (n - 1) + "
            "0.0005 n (n - 1))."
        ),
    ),
    (
        Reason.WORK_LEFT,
        ScalingSpec(),
        seen(
            2000,
            4,
            progress=Progress(records_expected=10_000_000, rate_per_signer=10_000.0),
            timing=Timing(NOW, startup_seconds=10.0),
        ),
        History(changes=(Change(at=NOW - 20, before=0, after=4, reason="FirstStep"),)),
        (
            "Scaled from 4 to 84 signers: about 10,000,000 records left, 10000 records/s per signer, a signer starts "
            "in 10 s, ⌈(10000000 - 4 · 10000 · 10) / (10000 · (21.56 s - 10 s start))⌉ = 84."
        ),
    ),
    (
        Reason.COOLING_DOWN,
        ScalingSpec(lag_threshold=10),
        seen(0, 1),
        ACTIVE,
        (
            f"Kept 1 signer: lag is 0 batches, activationLagThreshold is 0, the cooldown ends at "
            f"{moment_text(NOW + 240)}, ⌈0 / 10⌉ = 0, kept by cooldownPeriod at 1."
        ),
    ),
    (
        Reason.COOLDOWN_OVER,
        ScalingSpec(lag_threshold=10),
        seen(0, 3),
        EMPTY,
        (
            "Scaled from 3 to 0 signers: the job has been idle for cooldownPeriod (300 s), lag 0 ≤ "
            "activationLagThreshold 0, so 0."
        ),
    ),
    (
        Reason.IDLE,
        ScalingSpec(activation_lag_threshold=5),
        seen(4),
        EMPTY,
        ("Kept 0 signers: the job is idle, lag 4 ≤ activationLagThreshold 5, so 0."),
    ),
    (
        Reason.NOTHING_SIGNED,
        ScalingSpec(lag_threshold=10),
        seen(40, 4, progress=Progress(records_per_second=0.0)),
        EMPTY,
        (
            "Held 4 signers: lag is 40 batches, but 4 ready signers signed nothing, and more or fewer signers "
            "would not help, current = 4."
        ),
    ),
    (
        Reason.CONSUMER_MISSING,
        ScalingSpec(lag_threshold=10),
        seen(Reason.CONSUMER_MISSING, 4, failures=3),
        EMPTY,
        (
            "Held 4 signers: the job's JetStream consumer has been missing since 2027-01-15T07:59:45Z, so the "
            "lag is unknown (not zero), current = 4."
        ),
    ),
    (
        Reason.NATS_UNREACHABLE,
        ScalingSpec(lag_threshold=10),
        seen(Reason.NATS_UNREACHABLE, 4, failures=3),
        EMPTY,
        (
            "Held 4 signers: NATS has been unreachable since 2027-01-15T07:59:45Z, so the lag is unknown (not "
            "zero), current = 4."
        ),
    ),
    (
        Reason.POSTGRES_UNREACHABLE,
        ScalingSpec(lag_threshold=10),
        seen(Reason.POSTGRES_UNREACHABLE, 4, failures=3),
        EMPTY,
        (
            "Held 4 signers: Postgres has been unreachable since 2027-01-15T07:59:45Z, so the lag is unknown "
            "(not zero), current = 4."
        ),
    ),
    (
        Reason.FALLBACK,
        FALLBACK,
        seen(Reason.NATS_UNREACHABLE, 4, failures=4),
        EMPTY,
        (
            "Scaled from 4 to 6 signers: lag has been unknown since 2027-01-15T07:59:40Z (NatsUnreachable), "
            "failed readings in a row exceed fallback.failureThreshold (3), fallback.behavior is "
            "currentReplicasIfHigher, max(current 4, fallback.replicas 6) = 6."
        ),
    ),
    (
        Reason.JOB_DONE,
        ScalingSpec(lag_threshold=10),
        seen(0, 2, progress=Progress(batches_left=0, planned=True)),
        EMPTY,
        "Scaled from 2 to 0 signers: no work is left, batches left = 0.",
    ),
    (
        Reason.PAUSED,
        ScalingSpec(lag_threshold=10),
        seen(99, 2, pause=Pause(paused=True)),
        EMPTY,
        "Kept 2 signers: annotation vaultstream.dev/paused is set, current = 2.",
    ),
    (
        Reason.PAUSED_REPLICAS,
        ScalingSpec(lag_threshold=10, max_replica_count=5),
        seen(99, 2, pause=Pause(replicas=9)),
        EMPTY,
        (
            "Scaled from 2 to 5 signers: annotation vaultstream.dev/paused-replicas is set, paused-replicas = 9, "
            "limited by maxReplicaCount to 5."
        ),
    ),
]


@pytest.mark.parametrize(("reason", "spec", "observation", "history", "sentence"), EXAMPLES)
def test_a_decision_explains_itself(
    reason: Reason, spec: ScalingSpec, observation: Observation, history: History, sentence: str
) -> None:
    decision = decide(spec, observation, history, NOW)
    assert decision.reason is reason
    assert decision.explain() == sentence


def test_one_batch_is_in_the_singular() -> None:
    assert "lag is 1 batch," in decide(ScalingSpec(lag_threshold=10), seen(1), EMPTY, NOW).explain()


def test_every_reason_has_an_example() -> None:
    assert {example[0] for example in EXAMPLES} == set(Reason)


@pytest.mark.parametrize("name", LimitName)
def test_every_limit_has_a_clause(name: LimitName) -> None:
    clause = limit_clause(name, 7)
    assert clause
    assert "{" not in clause
    assert not clause.endswith(".")


def test_the_words_are_camel_case_and_a_word_means_one_thing() -> None:
    words = [*Reason, *LimitName]
    assert all(word.isalpha() and word[0].isupper() for word in words)
    assert len(set(words)) == len(words)


def test_the_inputs_are_those_that_are_known_and_ready_for_json() -> None:
    progress = Progress(records_left=500, batches_left=50, planned=True, records_per_second=20.0)
    decision = decide(
        ScalingSpec(lag_threshold=10), seen(40, 2, progress=progress, keys=9, timing=LONG_AGO), EMPTY, NOW
    )
    assert decision.inputs == {
        "current": 2,
        "ready": 2,
        "min": 0,
        "max": 100,
        "lag": 40,
        "lagThreshold": 10,
        "activationLagThreshold": 0,
        "cooldownPeriod": 300,
        "keysActive": 9,
        "batchesLeft": 50,
        "recordsLeft": 500,
        "recordsPerSecond": 20.0,
        "ratePerSigner": 10.0,
        "etaSeconds": 25.0,
        "startupSeconds": 0.0,
    }
    assert (
        "lag" not in decide(ScalingSpec(lag_threshold=10), seen(Reason.NATS_UNREACHABLE), EMPTY, NOW).inputs
    )


def test_a_dump_is_what_the_status_shows() -> None:
    decision = decide(ScalingSpec(lag_threshold=10, max_replica_count=8), seen(193), EMPTY, NOW)
    dumped = json.loads(json.dumps(decision.dump()))
    assert dumped["inputs"]["lag"] == 193
    assert dumped["message"] == decision.explain()
    assert dumped["limit"] == {"name": "MaxReplicaCount", "value": 8}
    assert (dumped["replicas"], dumped["desired"], dumped["reason"], dumped["hold"]) == (0, 8, "Lag", False)
    assert decide(ScalingSpec(lag_threshold=10), seen(10, 1), EMPTY, NOW).dump()["limit"] is None
