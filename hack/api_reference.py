"""docs/api-reference.md, made from the types of a SigningJob, its conditions, and the words that the operator uses."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from vaultstream.api import RecordsSpec, SigningJobSpec
from vaultstream.api.base import INT32_MAX, VALIDATIONS
from vaultstream_operator.api.crd import custom_resource_definition
from vaultstream_operator.api.reasons import JobReason, Statement, say
from vaultstream_operator.api.status import ConditionType, State
from vaultstream_operator.core import children
from vaultstream_operator.core.children import Owner
from vaultstream_operator.core.observation import PAUSED, PAUSED_REPLICAS, PAUSED_SCALE_IN, PAUSED_SCALE_OUT
from vaultstream_operator.core.reasons import LimitName, limit_clause, reason_clause
from vaultstream_operator.core.reasons import Reason as ScalingReason
from vaultstream_operator.core.view import FINALIZER
from vaultstream_operator.settings import WorkerSettings

Schema = Mapping[str, Any]

HEAD: Final = """\
# API reference: SigningJob

What a SigningJob may say in its `spec`, and what the operator says in its `status`. `kubectl explain sj.spec --recursive` shows
the same in a terminal. This page is generated from the types: `make generate` writes it.

The same document is a job on one machine (`vaultstream run -f job.yaml`) and on Kubernetes (`kubectl apply -f job.yaml`). The least
that it says is the table:

```yaml
apiVersion: {api_version}
kind: {kind}
metadata:
  name: receipts
spec:
  records:
    table: sales.receipts
```

[examples/full.yaml](../examples/full.yaml) has every field. How the fields under `spec.scaling` work together is told in
[Scaling](scaling.md), and what to do with a job in [Operations](operations.md).
"""

CONDITIONS: Final[Mapping[ConditionType, str]] = {
    ConditionType.COMPLETE: "The job has ended, and every record has its signature or stands in the dead letters. "
    "Never taken back.",
    ConditionType.FAILED: "The job was given up: it ran for longer than `activeDeadlineSeconds`. What it signed stays. "
    "Never taken back.",
    ConditionType.SUSPENDED: "`spec.suspend` is true: signers leave (`Suspending`), or have left (`Suspended`). "
    "Absent while it is false.",
    ConditionType.RECONCILING: "The operator is on its way to what the spec asks for. True as long as the job runs. Of kstatus.",
    ConditionType.STALLED: "The job can't go on until somebody mends what the message names, or has failed. Of kstatus.",
    ConditionType.SCALING_ACTIVE: "The number of signers follows the lag, or the fallback. False while it is held or paused; its message is "
    "the latest decision. Absent once the job has ended or is suspended.",
    ConditionType.DEADLINE_AT_RISK: "The job will not end by `finishBy` or `finishWithin`, even with all the signers that it "
    "may have. Absent if there is no such time.",
}

STATES: Final[Mapping[State, str]] = {
    State.PENDING: "Made, not started yet: the records worker is on its way.",
    State.RUNNING: "Its records are being found and signed.",
    State.SUSPENDED: "`spec.suspend` is true.",
    State.COMPLETE: "Ended: each record has a signature or a dead letter.",
    State.FAILED: "Given up.",
    State.DELETING: "Its deletion was asked for; what it has in Postgres and JetStream is being dealt with.",
}

_ON_ITS_WAY, _END, _MEND, _AWAY, _SCALING = (
    "On its way",
    "Its end",
    "What somebody has to mend",
    "Services that come back by themselves",
    "Scaling",
)
_GROUPS: Final[Mapping[str, frozenset[str]]] = {
    _ON_ITS_WAY: frozenset(),
    _END: frozenset(
        {"AllSigned", "DeadLetters", "DeadlineExceeded", "TimeToLiveOver", "Deleting", "Deleted"}
    ),
    _MEND: frozenset(),
    _AWAY: frozenset({"PostgresUnreachable", "NatsUnreachable", "ConsumerMissing"}),
    _SCALING: frozenset(
        {
            *("ScaledOut", "ScaledIn", "ScalingFollowsLag", "ScalingHeld"),
            *("DeadlineAtRisk", "DeadlineOnTrack", "AnnotationUnreadable"),
        }
    ),
}
"""The reasons of each group. Of the others, warnings are there for somebody to mend, and the rest is on its way."""

_CARRIERS: Final[Mapping[str, str]] = {
    "MakingKeys": "Reconciling",
    "Planning": "Reconciling",
    "Signing": "Reconciling",
    "Suspending": "Suspended, Reconciling",
    "Suspended": "Suspended",
    "AllSigned": "Complete",
    "DeadLetters": "Complete",
    "DeadlineExceeded": "Failed, Stalled",
    "Deleting": "Reconciling",
    "CleanupBlocked": "Stalled, or Reconciling while a service is away",
    "PostgresUnreachable": "Reconciling",
    "NatsUnreachable": "Reconciling",
    "ConsumerMissing": "Reconciling",
    "ScalingFollowsLag": "ScalingActive",
    "ScalingHeld": "ScalingActive (False)",
    "AnnotationUnreadable": "ScalingActive (False)",
    "DeadlineAtRisk": "DeadlineAtRisk",
    "DeadlineOnTrack": "DeadlineAtRisk (False)",
}
"""The conditions that carry a reason. Of the others, warnings are carried by Stalled, and the rest by none."""

_NO_EVENT: Final = {"ScalingFollowsLag", "ScalingHeld"}

_ANNOTATIONS: Final[Mapping[str, tuple[str, str]]] = {
    PAUSED_REPLICAS: ("`0` to `1000`", "Run so many signers. Wins over `paused`."),
    PAUSED: ("`true`, `false`", "Keep the number of signers as it is."),
    PAUSED_SCALE_IN: ("`true`, `false`", "Never lower the number of signers."),
    PAUSED_SCALE_OUT: ("`true`, `false`", "Never raise the number of signers."),
}


class _Blank(str):
    """Stands for a value in a sentence, whatever the sentence would format it as."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return "*" + self + "*"


class _Blanks(dict[str, Any]):
    def __missing__(self, name: str) -> _Blank:
        return _Blank(name)


def page() -> str:
    """Returns the whole page."""
    definition = custom_resource_definition()["spec"]
    version = definition["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    fields = schema["properties"]
    parts = [
        HEAD.format(api_version=f"{definition['group']}/{version['name']}", kind=definition["names"]["kind"]),
        *_resource(definition),
        "## Spec\n",
        *_Sections(defaults=True).of("spec", fields["spec"]),
        *_rules(schema),
        "## Status\n",
        *_Sections(defaults=False).of("status", fields["status"]),
        *_states(),
        *_conditions(),
        *_reasons(),
        *_decisions(),
        *_metadata(fields["metadata"]),
        *_columns(version["additionalPrinterColumns"], schema),
    ]
    return "\n".join(parts).rstrip("\n") + "\n"


def _resource(definition: Schema) -> list[str]:
    names = definition["names"]
    facts = [
        ("API version", f"`{definition['group']}/{definition['versions'][0]['name']}`"),
        ("Kind", f"`{names['kind']}`"),
        (
            "Names for `kubectl`",
            ", ".join(f"`{n}`" for n in (names["plural"], names["singular"], *names["shortNames"])),
        ),
        ("Categories", ", ".join(f"`kubectl get {name}`" for name in names["categories"])),
        ("Scope", definition["scope"]),
        ("Subresources", "`status`, which the operator alone writes"),
    ]
    return [*_table(("", ""), facts), ""]


class _Sections:
    """A section with a table for each object of a schema; what occurs twice is told once."""

    def __init__(self, *, defaults: bool) -> None:
        self._defaults = defaults
        self._sections: dict[str, str] = {}
        self._told: set[str] = set()

    def of(self, path: str, schema: Schema) -> Iterator[str]:
        self._told.add(path)
        yield f"### {path}\n"
        yield f"{schema['description']}\n"
        yield from self._fields(path, schema)
        yield ""
        for name, field in schema["properties"].items():
            inner, target = self._inner(f"{path}.{name}", field)
            if inner is not None and target not in self._told:
                yield from self.of(target, inner)

    def _fields(self, path: str, schema: Schema) -> list[str]:
        rows = []
        for name, field in schema["properties"].items():
            kind = self._type(f"{path}.{name}", field)
            if _immutable(field):
                kind += "; immutable"
            row = [f"`{name}`", kind, _cell(field["description"].removesuffix(" Immutable."))]
            if self._defaults:
                row.insert(2, self._default(name, field, schema))
            rows.append(tuple(row))
        heads = ("Field", "Type", "Default", "Meaning") if self._defaults else ("Field", "Type", "Meaning")
        return _table(heads, rows)

    def _inner(self, path: str, field: Schema) -> tuple[Schema | None, str]:
        """Returns the object under a field, if its fields are known, and the section that tells of it."""
        if "properties" in field:
            return field, self._sections.setdefault(_fingerprint(field), path)
        if "properties" in (items := field.get("items", {})):
            return items, self._sections.setdefault(_fingerprint(items), f"{path}[]")
        return None, ""

    def _type(self, path: str, field: Schema) -> str:
        inner, target = self._inner(path, field)
        if inner is not None:
            word = "list of objects" if "items" in field else "object"
            return f"[{word}](#{_anchor(target)})"
        if field.get("type") == "array":
            return "list of objects"
        return _kind(field)

    def _default(self, name: str, field: Schema, parent: Schema) -> str:
        if name in parent.get("required", ()):
            return "**required**"
        if "properties" in field and "default" in field:
            return "its fields'"
        if "default" not in field:
            return "none"
        value = field["default"]
        if isinstance(value, list):
            return "<br>".join(f"`{_flow(item)}`" for item in value)
        return f"`{_flow(value)}`"


def _kind(field: Schema) -> str:
    """Returns a field's type with its bounds, in words."""
    kind = str(field.get("type", "object"))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if kind == "object":
        return "map of text" if "additionalProperties" in field else "object"
    if kind == "string":
        return _text(field)
    least, most = field.get("minimum"), field.get("maximum")
    if least is None:
        return kind
    if field.get("exclusiveMinimum"):
        return f"{kind}, above {least:g}, at most {most:g}"
    return f"{kind}, {least:g} or more" if most in (INT32_MAX, None) else f"{kind}, {least} to {most}"


def _text(field: Schema) -> str:
    if field.get("format") == "date-time":
        return "timestamp"
    if any("timestamp" in rule["message"] for rule in field.get(VALIDATIONS, ())):
        return "timestamp with its zone"
    least, most = field.get("minLength"), field.get("maxLength")
    if most is None:
        return "text"
    return f"text, {least} to {most} characters" if least else f"text, at most {most} characters"


def _immutable(field: Schema) -> bool:
    inner = field.get("properties")
    if inner:
        return all(_immutable(part) for part in inner.values())
    return any(rule["rule"] == "self == oldSelf" for rule in field.get(VALIDATIONS, ()))


def _rules(schema: Schema) -> list[str]:
    across = [
        (f"`{(path + rule['fieldPath']).removeprefix('.')}`", _cell(rule["message"]))
        for path, node in _nodes("", schema)
        for rule in node.get(VALIDATIONS, ())
        if "fieldPath" in rule
    ]
    fixed = [path for path, node in _nodes("", schema) if "properties" not in node and _immutable(node)]
    names = ", ".join(f"`{path.removeprefix('.')}`" for path in fixed)
    return [
        "## Rules\n",
        _prose(
            "The API server refuses what breaks one of these and names the field; `vaultstream run` refuses the same, in the same words."
        ),
        *_table(("Field", "What it is refused with"), across),
        "",
        _prose(
            f"Fixed for the life of a job: {names}. A change of one is refused with *it is fixed for the life of a job: set it back "
            "to what it was, or create another job*. Everything else in the spec may be changed while the job runs, and is followed."
        ),
        _prose(
            "Unknown fields are refused by `vaultstream run`, and by `kubectl`, which asks for strict validation unless it is told "
            'otherwise. Numbers must be numbers: `"500"` is refused.'
        ),
    ]


def _nodes(path: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _nodes(f"{path}.{name}", inner)
    if "items" in schema:
        yield from _nodes(f"{path}[]", schema["items"])


def _states() -> list[str]:
    rows = [(f"`{state}`", STATES[state]) for state in State]
    return [
        "### States\n",
        "What `status.state` and the column State say.\n",
        *_table(("State", "Meaning"), rows),
        "",
    ]


def _conditions() -> list[str]:
    rows = [(f"`{kind}`", CONDITIONS[kind]) for kind in ConditionType]
    return [
        "## Conditions\n",
        _prose(
            "`kubectl wait --for=condition=Complete sj/NAME` waits for one of them. Each carries the generation of the spec that it is "
            "about, a reason for programs, and a message for people. `Reconciling` and `Stalled` are those of kstatus, by which "
            "tools such as Flux and Argo CD tell whether an object is in progress, current or failed."
        ),
        *_table(("Condition", "Meaning while it is True"), rows),
        "",
    ]


def _reasons() -> list[str]:
    """Every word of `JobReason` that the operator says, with its sentence and where it stands."""
    said = [_said(reason) for reason in JobReason]
    parts = [
        "## Reasons\n",
        _prose(
            "One word for programs, in conditions and Events; a word never changes its meaning. In the sentences, *italics* stand for "
            "values, and *decision* for the sentence of a [scaling decision](#scaling-decisions). A reason without a condition is "
            "told by an Event alone. What to do about each is in [Operations](operations.md#when-a-job-cant-go-on)."
        ),
    ]
    for group in _GROUPS:
        rows = [_reason_row(statement) for statement in said if _group(statement) == group]
        parts += [f"### {group}\n", *_table(("Reason", "Condition", "Event", "Message"), rows), ""]
    return parts


def _group(statement: Statement) -> str:
    named = next((group for group, reasons in _GROUPS.items() if statement.reason in reasons), None)
    return named or (_MEND if statement.event_type == "Warning" else _ON_ITS_WAY)


def _reason_row(statement: Statement) -> tuple[str, ...]:
    usual = "Stalled" if statement.event_type == "Warning" else ""
    event = "none" if statement.reason in _NO_EVENT else statement.event_type
    carrier = _CARRIERS.get(statement.reason, usual)
    return f"`{statement.reason}`", carrier, event, _cell(statement.message)


def _said(reason: JobReason) -> Statement:
    """Returns a reason's sentence with the names of its values in their places."""
    values: dict[str, object] = {}
    while True:
        try:
            return say(reason, **values)
        except KeyError as missing:
            values[missing.args[0]] = _Blank(missing.args[0])


def _decisions() -> list[str]:
    rules = [
        (f"`{reason}`", _cell(f"because {reason_clause(reason, _Blanks())}")) for reason in ScalingReason
    ]
    limits = [(f"`{name}`", _cell(f"but {_limit(name)}")) for name in LimitName]
    return [
        "## Scaling decisions\n",
        _prose(
            "`status.scaling.reason` is the rule that made the count; `status.scaling.limit.name` is what kept it from being the one "
            "that the rule asked for. [Scaling](scaling.md) tells how each works, and in which order they are asked."
        ),
        *_table(("Reason", "In the decision's sentence"), rules),
        "",
        *_table(("Limit", "In the decision's sentence"), limits),
        "",
    ]


def _limit(name: LimitName) -> str:
    mark = 987_654_321  # a limit's clause takes a number: one that occurs nowhere else
    return limit_clause(name, mark).replace(str(mark), "*value*")


def _metadata(metadata: Schema) -> list[str]:
    longest = metadata["properties"]["name"]["maxLength"]
    annotations = [(f"`{name}`", values, _cell(text)) for name, (values, text) in _ANNOTATIONS.items()]
    job = Owner("", "*name*", "*uid*")
    spec = SigningJobSpec(records=RecordsSpec(table="*table*"))
    child = children.signing_deployment(job, "*token*", spec, WorkerSettings(), replicas=0)
    labels = [(f"`{name}`", value) for name, value in child["metadata"]["labels"].items()]
    return [
        "## Names, annotations, labels, finalizer\n",
        f"A name has at most {longest} characters: lower-case letters, digits, `-` and `.`.\n",
        _prose(
            "These annotations on a SigningJob pause its scaling, with KEDA's meaning; see [Pausing](scaling.md#pausing). One that "
            "can't be read counts as a pause, and the condition `ScalingActive` says so."
        ),
        *_table(("Annotation", "Values", "Meaning"), annotations),
        "",
        _prose(
            "The operator's children and their pods carry these labels. The component is `keys`, `records` or `signing`; *name* is "
            "cut to 63 characters, *token* is `.status.token`."
        ),
        *_table(("Label", "Value"), labels),
        "",
        _prose(
            "Before the count of signers is lowered, pods that hold no key get the annotation "
            '`controller.kubernetes.io/pod-deletion-cost: "-100"`, so that they go first.'
        ),
        f"The finalizer `{FINALIZER}` keeps a SigningJob until what it has in Postgres and JetStream is dealt with.\n",
    ]


def _columns(columns: list[Schema], schema: Schema) -> list[str]:
    rows = []
    for column in columns:
        field: Schema = schema
        for step in column["jsonPath"].removeprefix(".").split("."):
            field = field.get("properties", {}).get(step, {})
        name = column["name"] + (" (`-o wide`)" if column.get("priority") else "")
        rows.append(
            (name, f"`{column['jsonPath']}`", _cell(field.get("description", "Since the job's creation.")))
        )
    return ["## Columns of kubectl get\n", *_table(("Column", "Path", "Meaning"), rows), ""]


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return ["|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in lines]


def _cell(text: str) -> str:
    """Returns `text` for a table: in code, where there are no italics, a value that stands for others is in capitals."""
    text = re.sub(r"`[^`]*`", lambda code: re.sub(r"\*(\w+)\*", lambda name: name[1].upper(), code[0]), text)
    return text.replace("|", "\\|").replace("\n", "<br>")


def _prose(text: str) -> str:
    return textwrap.fill(text, 125, break_long_words=False, break_on_hyphens=False) + "\n"


def _flow(value: object) -> str:
    """Returns a value as YAML has it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_flow(part)}" for name, part in value.items()) + "}"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def _fingerprint(schema: Schema) -> str:
    return json.dumps(schema["properties"], sort_keys=True)


def _anchor(heading: str) -> str:
    return "".join(letter for letter in heading.lower() if letter.isalnum() or letter in "-_")
