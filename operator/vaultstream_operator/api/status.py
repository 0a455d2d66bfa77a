"""The types of a SigningJob's `.status`, which the operator writes. Besides the finalizer, it writes nothing else to a SigningJob.

Unknown values are omitted. For example, a lag that can't be read is absent, never 0.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Field,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
)

from vaultstream.api import JobState
from vaultstream.api.base import Amount, Flag, Natural, StatusPart

CONDITION_TYPE = r"^[A-Z][A-Za-z]{0,62}$"
REASON = r"^[A-Z][A-Za-z0-9]{0,126}$"


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _of_a_job(moment: datetime) -> datetime:
    """Refuses what only somebody else can have written: near the ends of the calendar, another time zone has no such time."""
    if not _YEARS[0] <= moment.year <= _YEARS[1]:
        raise ValueError("is no time of a job")
    return moment


_YEARS: Final = (1970, 9000)

Timestamp = Annotated[
    AwareDatetime,
    AfterValidator(_of_a_job),
    PlainSerializer(_timestamp, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
_OR_MORE: Final = " or more"
MOST_CHARACTERS: Final = 4096
"""Maximum length of a message, in characters; longer ones are cut."""
MOST_CHANGES_SHOWN: Final = 8
"""Maximum number of changes of the count that a status shows."""
MOST_NOTE_CHARACTERS: Final = 16_384
"""Maximum length of a signed checkpoint: room for the signatures of some 100 witnesses."""


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


Sentence = Annotated[
    str, AfterValidator(_cut), WithJsonSchema({"type": "string", "maxLength": MOST_CHARACTERS})
]


class ConditionType(StrEnum):
    """Types of conditions.

    COMPLETE, FAILED: the job has ended; neither is ever revoked. SUSPENDED: `spec.suspend` is true; signers are exiting or
    have exited. RECONCILING and STALLED follow kstatus: the job does not match its spec yet, or can't until somebody fixes
    a problem. SCALING_ACTIVE: the count follows the lag; False while it is held or paused. DEADLINE_AT_RISK: the job will
    miss its target time.
    """

    COMPLETE = "Complete"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    SCALING_ACTIVE = "ScalingActive"
    DEADLINE_AT_RISK = "DeadlineAtRisk"


_ONE_OF_EACH_TYPE: Final[dict[str, JsonValue]] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
}


class Condition(StatusPart):
    """One aspect of the job's state, in the form that all Kubernetes objects use."""

    type: Annotated[str, Field(pattern=CONDITION_TYPE, max_length=63)]
    """Type of the condition: Complete, Failed, Suspended, Reconciling, Stalled, ScalingActive or DeadlineAtRisk."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds."""
    reason: Annotated[str, Field(pattern=REASON, max_length=127)]
    """Reason for the status, one word for programs."""
    message: Sentence
    """Reason for the status, for people, with the next step if there is one."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    observed_generation: Natural
    """Generation of the spec that the condition is about."""


class ScalingLimit(StatusPart):
    """The limit that changed the count that the rule recommended."""

    name: Annotated[str, Field(max_length=63)]
    """Name of the limit, such as MaxReplicaCount, ActiveKeys, BatchesLeft or ScaleUpPolicy."""
    value: Natural
    """Count that the limit allows."""


class ScalingChange(StatusPart):
    """A change of the number of signers."""

    at: Timestamp
    """When it was decided."""
    before: Natural
    """Number of signers before the change."""
    after: Natural
    """Number of signers after the change."""
    reason: Annotated[str, Field(max_length=63)]
    """Rule that determined the count."""
    limit: Annotated[str, Field(max_length=63)] = ""
    """Limit that applied; empty if none did."""


class ScalingStatus(StatusPart):
    """The latest decision on the number of signers, with its inputs."""

    replicas: Natural
    """Number of signers requested when the decision was made."""
    desired: Natural
    """Number of signers decided on."""
    ready: Natural = 0
    """Number of signers that are ready."""
    reason: Annotated[str, Field(max_length=63)]
    """Rule that determined the count, such as Lag, Deadline, CoolingDown, NatsUnreachable or Paused. Suspended and Ended
    are not rules: no signers are needed."""
    limit: ScalingLimit | None = None
    """Limit that changed the count that the rule recommended. Absent if none did."""
    formula: Sentence
    """Formula of the count, with its numbers, such as `⌈1200 / 10⌉ = 120`."""
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    """Inputs of the rules, by name. Unknown inputs are absent."""
    hold: Flag = False
    """True if too little is known to change the count, so the count is kept."""
    message: Sentence
    """The whole decision, in one sentence."""
    changes: Annotated[tuple[ScalingChange, ...], Field(max_length=MOST_CHANGES_SHOWN)] = ()
    """The latest changes of the count, oldest first."""


class SealStatus(StatusPart):
    """The newest seal of a job, copied from Postgres, so that a copy lies elsewhere. The operator verifies no signature: it has no
    key. `vaultstream log verify --since` does.
    """

    origin: Annotated[str, Field(max_length=MOST_CHARACTERS)]
    """Which log of seals it is in: the name of the seal key."""
    size: Natural
    """Size of that log at the checkpoint. It never shrinks: a checkpoint of a smaller log does not replace one of a larger log."""
    checkpoint: Annotated[str, Field(max_length=MOST_NOTE_CHARACTERS)]
    """The signed checkpoint of that log, which has the seal. Whoever keeps it can tell whether the log was rolled back since."""
    job_checkpoint: Annotated[str, Field(max_length=MOST_NOTE_CHARACTERS)]
    """The signed checkpoint of the job's own log, as sealed."""
    signed: Natural
    """Number of records signed, by the seal."""
    dead: Natural
    """Number of dead letters, by the seal."""
    sealed_at: Timestamp
    """When it was sealed, by the seal."""


class JobStatus(StatusPart):
    """The state of the job as last observed by the operator. Only the operator writes it."""

    observed_generation: Natural | None = None
    """Generation of the spec that this status is about. Lower than `metadata.generation` while a change has not been
    observed."""
    state: JobState = JobState.PENDING
    """State of the job, in one word. From Complete and Failed, only Deleting can follow."""
    message: Sentence = ""
    """What the job is doing or waiting for, in a sentence."""
    conditions: Annotated[
        tuple[Condition, ...], Field(max_length=16, json_schema_extra=_ONE_OF_EACH_TYPE)
    ] = ()
    """The conditions Complete, Failed, Suspended, Reconciling, Stalled, ScalingActive and DeadlineAtRisk. `kubectl wait
    --for=condition=Complete` waits for the first."""
    token: Annotated[str, Field(max_length=63)] | None = None
    """Unique name of the job in Postgres, NATS and the labels of its pods. The `vaultstream` commands find the job by it,
    even after it is deleted. A new job of the same name has another token."""
    records: Natural | None = None
    """Number of records found so far; all of them once `planned` is true."""
    planned: Flag = False
    """Whether all records have been found."""
    signed: Natural | None = None
    """Number of records signed."""
    dead: Natural | None = None
    """Number of dead letters when the job was last running. `vaultstream dead TOKEN` lists their reasons."""
    progress: Annotated[str, Field(max_length=63)] = ""
    """Share of the records that are signed or dead letters, with both counts: `48% (240000/500000)`; `or more` if Postgres
    can't be read now."""
    signers: Annotated[str, Field(max_length=31)] = ""
    """Signers that are ready and signers decided on: `3/5`. Empty once the job has ended."""
    lag: Natural | None = None
    """Batches not yet signed: waiting, in flight or not yet published. Absent if the lag can't be read."""
    records_per_second: Amount | None = None
    """Records signed or dead per second: recently while the job runs, over the whole job once it has ended. Absent if
    Postgres can't be read now."""
    eta: Timestamp | None = None
    """Estimated end of the job at the current rate. Absent if unknown."""
    start_time: Timestamp | None = None
    """When the job started."""
    completion_time: Timestamp | None = None
    """When the job ended, as Complete or Failed. `ttlSecondsAfterFinished` starts here."""
    scaling: ScalingStatus | None = None
    """The latest decision on the number of signers, with its inputs."""
    seal: SealStatus | None = None
    """The newest seal of the job. Absent until it is sealed, at intervals while it runs and at its end."""

    def dump(self) -> dict[str, Any]:
        """Returns the status as JSON-ready values, with the names in YAML and without unknown values."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def progress_text(*, settled: int, records: int | None, planned: bool) -> str:
    """Returns the text of the column Progress, such as `48% (240000/500000)`.

    It shows 100% only when all records are settled, and no percentage until all records are known.

    Args:
        settled: records signed or dead.
        records: records found so far; None if unknown.
        planned: whether all records have been found.
    """
    if records is None:
        return ""
    if not planned:
        return f"{settled}/{records}+"
    share = 100 * settled // records if records else 100
    return f"{share}% ({settled}/{records})"


def progress_or_more(progress: str) -> str:
    """Returns the text of the column Progress for counts that may be out of date: they never go down."""
    return progress if not progress or progress.endswith(_OR_MORE) else f"{progress}{_OR_MORE}"


def rate_to_show(records_per_second: float) -> float:
    """Returns a rate with three significant digits. More would be noise and change the status at every reconcile."""
    return float(f"{records_per_second:.3g}")
