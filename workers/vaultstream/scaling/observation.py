"""The observations from which the number of a job's signers is decided.

Times are Unix seconds as floats: they outlive the process in a status, and a simulation may start them at 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator

from vaultstream.api.base import Number
from vaultstream.scaling.curve import LearnedCurve
from vaultstream.scaling.pace import SignerPace
from vaultstream.scaling.reasons import LagProblem

PAUSED: Final = "vaultstream.dev/paused"
PAUSED_REPLICAS: Final = "vaultstream.dev/paused-replicas"
PAUSED_SCALE_IN: Final = "vaultstream.dev/paused-scale-in"
PAUSED_SCALE_OUT: Final = "vaultstream.dev/paused-scale-out"

_MOST = 2**63  # the range of counts in Postgres and JetStream
BELIEF: Final = 5
"""How many times the records that were found statistics of a table are believed, until all are found."""
_MOST_SECONDS = 1e12  # differences and quotients of such numbers stay finite, and to the millisecond
_MOST_REPLICAS = 1000
_WORDS: Final = {
    "true": True,
    "t": True,
    "1": True,
    "false": False,
    "f": False,
    "0": False,
}  # as KEDA reads them


def _count(**values: int | None) -> None:
    for name, value in values.items():
        if value is not None and not 0 <= value < _MOST:
            raise ValueError(f"{name} must be a count, not {value}")


def _amount(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not 0 <= value <= _MOST_SECONDS:
            raise ValueError(f"{name} must be a number from 0 to {_MOST_SECONDS:g}, not {value}")


def _in_range(at: float) -> float:
    if abs(at) > _MOST_SECONDS:
        raise ValueError("no time is so far away")
    return at


UnixTime = Annotated[Number, AfterValidator(_in_range)]
"""A point in time that is stored in a status, in Unix seconds."""


def _moment(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not abs(value) <= _MOST_SECONDS:
            raise ValueError(f"{name} must be a time in Unix seconds, not {value}")


def moment_text(at: float) -> str:
    """Returns a time for people, to the second, such as `2026-12-01T06:00:00Z`. `at`: Unix seconds."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):  # outside the calendar
        return f"{at:.0f} s after 1970"


@dataclass(frozen=True, slots=True)
class Lag:
    """Batches that are still to be signed, as JetStream and Postgres count them at the same time.

    Attributes:
        batches_pending: published, and not delivered to a signer yet (`num_pending` of the job's consumer).
        batches_in_flight: delivered to a signer, or waiting for their next attempt (`num_ack_pending`).
        batches_unpublished: planned in Postgres, or expected to be, and not published yet.
    """

    batches_pending: int
    batches_in_flight: int = 0
    batches_unpublished: int = 0

    def __post_init__(self) -> None:
        _count(
            batches_pending=self.batches_pending,
            batches_in_flight=self.batches_in_flight,
            batches_unpublished=self.batches_unpublished,
        )

    @property
    def total(self) -> int:
        """All batches still to be signed: the lag that KEDA's thresholds are compared with."""
        return self.batches_pending + self.batches_in_flight + self.batches_unpublished


@dataclass(frozen=True, slots=True)
class LagUnknown:
    """The lag could not be read.

    Attributes:
        state: why.
        since: when the first of the failed readings was made.
        failures: readings that failed in a row, this one included.
    """

    state: LagProblem
    since: float
    failures: int = 1

    def __post_init__(self) -> None:
        _moment(since=self.since)
        _count(failures=self.failures)


@dataclass(frozen=True, slots=True)
class Share:
    """What some of the signers signed while others may have signed too.

    Attributes:
        signers: that were ready all the time; 1 or more.
        most: records per second that these signers signed at most.
    """

    signers: int
    most: float

    def __post_init__(self) -> None:
        _count(signers=self.signers)
        _amount(most=self.most)


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a job. Unknown values are None, and no rule uses them.

    Attributes:
        records_left: records of the whole job, planned yet or not, that are neither signed nor dead.
        batches_left: batches known so far that are neither signed nor dead.
        planned: all of the job's batches are known, so that `batches_left` is all there is.
        records_per_second: measured over a window in which signers were ready. None until there was one; 0.0 says
            that they had the time and signed nothing.
        rate_per_signer: records per second that one signer signs; None: `records_per_second` over the ready ones.
        pace: the same, measured for as long as it does not change; None: not known yet.
        pace_before: the same without the last seconds, in which signers that start may sign already.
        settling: signers came or went while the rate was measured, so it does not describe the current signers.
        steady_rate: records per second of the signers that are ready now, measured while they and no others signed; None:
            not measured yet.
        most_rate: what the signers that are ready sign at most, known while others still start; None: unknown.
        records_expected: records still to be signed, including those that the table is expected to have; None: unknown.
        records_found: records that were planned so far, settled ones included; None: unknown.
        planning_seconds: seconds until the records that are expected are planned, at the rate at which they are; None: unknown.
        ends_first: whether the signers that run end the work long before another could start, by a rate that is not steady yet.
    """

    records_left: int | None = None
    batches_left: int | None = None
    planned: bool = False
    records_per_second: float | None = None
    rate_per_signer: float | None = None
    pace: SignerPace | None = None
    pace_before: SignerPace | None = None
    settling: bool = False
    steady_rate: float | None = None
    most_rate: Share | None = None
    records_expected: int | None = None
    records_found: int | None = None
    planning_seconds: float | None = None
    ends_first: bool = False

    def __post_init__(self) -> None:
        _count(
            records_left=self.records_left,
            batches_left=self.batches_left,
            records_expected=self.records_expected,
            records_found=self.records_found,
        )
        _amount(
            planning_seconds=self.planning_seconds,
            records_per_second=self.records_per_second,
            rate_per_signer=self.rate_per_signer,
            steady_rate=self.steady_rate,
        )

    @property
    def records_believed(self) -> int | None:
        """Records still to be signed, as far as signers are started for them: statistics of a table may be far too high.

        Until it is known how fast records are found, only those that were found count: signers may wait for the others.
        """
        if self.records_expected is None or self.records_found is None or self.planned:
            return self.records_expected
        times = 1 if self.planning_seconds is None else BELIEF
        return min(self.records_expected, times * self.records_found)

    @property
    def done(self) -> bool:
        """True once no batch is left and none will be added."""
        return self.planned and self.batches_left == 0


@dataclass(frozen=True, slots=True)
class Replicas:
    """The job's signers.

    Attributes:
        current: requested now (`spec.replicas` of the Deployment, size of the pool).
        ready: ready to sign.
        unplaced: requested, but no node has room for them, or a quota refuses them.
        platform_max: replaces `maxReplicaCount` if that is not set: processor cores on a laptop, 100 on
            Kubernetes.
    """

    current: int
    ready: int = 0
    platform_max: int = 100
    unplaced: int = 0

    def __post_init__(self) -> None:
        _count(current=self.current, ready=self.ready, platform_max=self.platform_max, unplaced=self.unplaced)

    @property
    def placed(self) -> int:
        """Those that run or are starting."""
        return max(self.ready, self.current - self.unplaced)


@dataclass(frozen=True, slots=True)
class Timing:
    """Points in time of a job, in Unix seconds, and how long its signers take, in seconds.

    Attributes:
        created_at: when the job was created: `initialCooldownPeriod` counts from here.
        finish_at: when it should have ended, see `forecast.finish_at`; None: no such time.
        startup_seconds: from asking for a signer until it is ready.
        drain_seconds: from the last record signed until the job counts as ended.
        waiting_seconds: until signers that were asked for and are not ready will be; None: they are not waited for.
    """

    created_at: float
    finish_at: float | None = None
    startup_seconds: float = 0.0
    drain_seconds: float = 0.0
    waiting_seconds: float | None = None

    def __post_init__(self) -> None:
        _moment(created_at=self.created_at, finish_at=self.finish_at)
        _amount(
            startup_seconds=self.startup_seconds,
            drain_seconds=self.drain_seconds,
            waiting_seconds=self.waiting_seconds,
        )


@dataclass(frozen=True, slots=True)
class Pause:
    """The pauses that annotations under `vaultstream.dev/` request, with KEDA's meaning.

    Attributes:
        paused: the count does not change.
        replicas: the count is this one. Wins over `paused`.
        scale_in: the count never falls.
        scale_out: the count never rises.
        problems: one sentence for each annotation that can't be read. A pause that can't be read is one: whoever
            wrote it wanted the count left alone.
    """

    paused: bool = False
    replicas: int | None = None
    scale_in: bool = False
    scale_out: bool = False
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _count(replicas=self.replicas)

    @classmethod
    def read(cls, annotations: Mapping[str, str]) -> Pause:
        """Returns the pause that an object's annotations ask for."""
        problems: list[str] = []

        def flag(name: str) -> bool:
            text = annotations.get(name, "false")
            if (value := _WORDS.get(text.strip().lower())) is None:
                problems.append(
                    f'{name} must be "true" or "false", not "{text}": it counts as "true" until it does'
                )
                return True
            return value

        paused, scale_in, scale_out = flag(PAUSED), flag(PAUSED_SCALE_IN), flag(PAUSED_SCALE_OUT)
        replicas: int | None = None
        if (text := annotations.get(PAUSED_REPLICAS)) is not None:
            digits = text.strip()
            if re.fullmatch(r"[0-9]{1,4}", digits) and int(digits) <= _MOST_REPLICAS:
                replicas = int(digits)
            else:
                problems.append(
                    f'{PAUSED_REPLICAS} must be a number from 0 to {_MOST_REPLICAS}, not "{text}": '
                    "scaling is paused meanwhile"
                )
                paused = True
        return cls(paused, replicas, scale_in, scale_out, tuple(problems))


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything observed of one job at one time.

    Attributes:
        keys_active: keys that may be leased; None: unknown, or keys are still being created.
        keys_asked: `keys.count` of the job: there will never be more; None: unknown.
        learned: what signers of earlier jobs of the same kind sign; None: unknown.
        connections_left: sessions that Postgres can take besides those that there are; None: unknown.
    """

    lag: Lag | LagUnknown
    replicas: Replicas
    timing: Timing
    progress: Progress = field(default_factory=Progress)
    keys_active: int | None = None
    keys_asked: int | None = None
    pause: Pause = field(default_factory=Pause)
    learned: LearnedCurve | None = None
    connections_left: int | None = None

    def __post_init__(self) -> None:
        _count(
            keys_active=self.keys_active,
            keys_asked=self.keys_asked,
            connections_left=self.connections_left,
        )
