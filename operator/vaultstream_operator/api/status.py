"""The types of a SigningJob's `.status`: what the operator reports, and the only thing that it writes to a SigningJob.

What is unknown is left out. A lag that can't be read, for one, is absent and never 0.
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

from vaultstream.api.base import Amount, Count, Flag, StatusPart
from vaultstream.scaling.history import History

CONDITION_TYPE = r"^[A-Z][A-Za-z]{0,62}$"
REASON = r"^[A-Z][A-Za-z0-9]{0,126}$"


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Timestamp = Annotated[
    AwareDatetime,
    PlainSerializer(_timestamp, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
MOST_CHARACTERS: Final = 4096
"""Length of a sentence; what is longer is cut."""


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


Sentence = Annotated[
    str, AfterValidator(_cut), WithJsonSchema({"type": "string", "maxLength": MOST_CHARACTERS})
]


class State(StrEnum):
    """Where a job stands, in one word for people. Complete and Failed are its ends."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"
    DELETING = "Deleting"


class ConditionType(StrEnum):
    """What there are conditions about.

    COMPLETE, FAILED: the job has ended; neither is ever taken back. SUSPENDED: `spec.suspend` holds; signers
    leave, or have left. RECONCILING and STALLED are those of kstatus: the operator is on its way to what the spec asks for, or can't
    get there until somebody mends something. SCALING_ACTIVE: the count follows the lag; False while it is held or
    paused. DEADLINE_AT_RISK: the job will not end by its finishing time.
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
    """One fact about the job, as all Kubernetes objects state them."""

    type: Annotated[str, Field(pattern=CONDITION_TYPE, max_length=63)]
    """What the fact is about: Complete, Failed, Suspended, Reconciling, Stalled, ScalingActive or DeadlineAtRisk."""
    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""
    reason: Annotated[str, Field(pattern=REASON, max_length=127)]
    """Why, in one word for programs."""
    message: Sentence
    """Why, in a sentence for people, with what to do if there is anything to do."""
    last_transition_time: Timestamp
    """When `status` changed last."""
    observed_generation: Count
    """The generation of the spec that the fact is about."""


class ScalingLimit(StatusPart):
    """What kept the count from being the one that the rule asked for."""

    name: Annotated[str, Field(max_length=63)]
    """Which limit: MaxReplicaCount, ActiveKeys, BatchesLeft, ScaleUpPolicy and the like."""
    value: Count
    """The count that it allows."""


class ScalingStatus(StatusPart):
    """The latest decision on the number of signers, and all that it went by."""

    replicas: Count
    """Signers that were asked for when the decision was made."""
    desired: Count
    """Signers that were decided on."""
    ready: Count = 0
    """Signers that are ready to sign."""
    generation: Count = 0
    """The generation of the signers' Deployment when the decision was made; 0: there was none. While it stays so, no change
    that was decided has been made."""
    reason: Annotated[str, Field(max_length=63)]
    """The rule that made the count, such as Lag, Deadline, CoolingDown, NatsUnreachable or Paused. Suspended and Ended: no
    rule did, no signer is wanted."""
    limit: ScalingLimit | None = None
    """What kept the count from being the one that the rule asked for. Absent: nothing did."""
    formula: Sentence
    """How the count came about, with its numbers, such as `⌈1200 / 10⌉ = 120`."""
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    """The numbers that the rules went by, each by its name. What was unknown is absent."""
    hold: Flag = False
    """True: too little is known to change the count, so it is kept."""
    message: Sentence
    """The whole decision as one sentence."""
    history: History = History()
    """What the next decision has to remember, bounded in size."""


class JobStatus(StatusPart):
    """Where the job stands, as the operator saw it last. It is written by the operator alone."""

    observed_generation: Count | None = None
    """The generation of the spec that this status is about: older than `metadata.generation` if a change was not seen
    yet."""
    state: State = State.PENDING
    """Where the job stands, in one word. Complete and Failed are never left, but for Deleting."""
    message: Sentence = ""
    """What the job does or waits for, in a sentence."""
    conditions: Annotated[
        tuple[Condition, ...], Field(max_length=16, json_schema_extra=_ONE_OF_EACH_TYPE)
    ] = ()
    """Complete, Failed, Suspended, Reconciling, Stalled, ScalingActive and DeadlineAtRisk, each as it was seen last:
    `kubectl wait --for=condition=Complete` waits for the first."""
    token: Annotated[str, Field(max_length=63)] | None = None
    """The job's own name in Postgres, NATS and its pods' labels, by which the `vaultstream` commands find it, also once it
    is deleted. A job made anew under the same name has another."""
    records: Count | None = None
    """Records that were found so far; all of them once `planned` is true."""
    planned: Flag = False
    """Whether all records were found."""
    signed: Count | None = None
    """Records that have their signature."""
    dead: Count | None = None
    """Records in the dead letters, as they were while the job ran: `vaultstream dead TOKEN` tells why."""
    progress: Annotated[str, Field(max_length=63)] = ""
    """Records signed or dead, in per cent of the records, with both counts: `48% (240000/500000)`."""
    signers: Annotated[str, Field(max_length=31)] = ""
    """Signers ready, of those that were decided on: `3/5`. Empty once the job has ended."""
    lag: Count | None = None
    """Batches still to be signed: waiting, in hand, and not published yet. Absent: it can't be read."""
    records_per_second: Amount | None = None
    """Records signed or dead per second, lately while the job runs, and over the whole once it has ended."""
    eta: Timestamp | None = None
    """When the job will end, at the rate of now. Absent: it can't be told."""
    start_time: Timestamp | None = None
    """When the job began."""
    completion_time: Timestamp | None = None
    """When the job ended, completely or not: `ttlSecondsAfterFinished` counts from here."""
    scaling: ScalingStatus | None = None
    """The latest decision on the number of signers, and all that it went by."""

    def dump(self) -> dict[str, Any]:
        """Returns the status as JSON-ready values under their names in YAML; what is unknown is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def progress_text(*, settled: int, records: int | None, planned: bool) -> str:
    """Returns the column that shows the progress, such as `48% (240000/500000)`.

    It says 100% only when all are settled, and gives no share before all records are known.

    Args:
        settled: records signed or dead.
        records: records found so far; None: not known.
        planned: whether all were found.
    """
    if records is None:
        return ""
    if not planned:
        return f"{settled}/{records}+"
    share = 100 * settled // records if records else 100
    return f"{share}% ({settled}/{records})"


def rate_to_show(records_per_second: float) -> float:
    """Returns a rate with three significant digits: more are noise, and would change the status at each look."""
    return float(f"{records_per_second:.3g}")
