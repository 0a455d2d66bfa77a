"""docs/api-reference.md, made from the types of a SigningJob, its conditions, and the words that the operator uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import api_words
from api_fields import Schema, Sections, is_immutable
from markdown import cell, prose, table
from vaultstream.api import RecordsSpec, SigningJobSpec
from vaultstream.api.base import VALIDATIONS
from vaultstream.scaling.observation import PAUSED, PAUSED_REPLICAS, PAUSED_SCALE_IN, PAUSED_SCALE_OUT
from vaultstream_operator.api.crd import custom_resource_definition
from vaultstream_operator.core import children
from vaultstream_operator.core.children import Owner
from vaultstream_operator.core.view import FINALIZER
from vaultstream_operator.settings import WorkerSettings

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

_ANNOTATIONS: Final[Mapping[str, tuple[str, str]]] = {
    PAUSED_REPLICAS: ("`0` to `1000`", "Run so many signers. Wins over `paused`."),
    PAUSED: ("`true`, `false`", "Keep the number of signers as it is."),
    PAUSED_SCALE_IN: ("`true`, `false`", "Never lower the number of signers."),
    PAUSED_SCALE_OUT: ("`true`, `false`", "Never raise the number of signers."),
}


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
        *Sections(defaults=True).of("spec", fields["spec"]),
        *_rules(schema),
        "## Status\n",
        *Sections(defaults=False).of("status", fields["status"]),
        *api_words.states(),
        *api_words.conditions(),
        *api_words.reasons(),
        *api_words.decisions(),
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
    return [*table(("", ""), facts), ""]


def _rules(schema: Schema) -> list[str]:
    across = [
        (f"`{(path + rule.get('fieldPath', '')).removeprefix('.')}`", cell(rule["message"]))
        for path, node in _nodes("", schema)
        for rule in node.get(VALIDATIONS, ())
        if rule["rule"] != "self == oldSelf"
    ]
    fixed = [path for path, node in _nodes("", schema) if "properties" not in node and is_immutable(node)]
    names = ", ".join(f"`{path.removeprefix('.')}`" for path in fixed)
    return [
        "## Rules\n",
        prose(
            "The API server refuses what breaks one of these and names the field; `vaultstream run` refuses the same, in the same words."
        ),
        *table(("Field", "What it is refused with"), across),
        "",
        prose(
            f"Fixed for the life of a job: {names}. A change of one is refused with *it is fixed for the life of a job: set it back "
            "to what it was, or create another job*. Everything else in the spec may be changed while the job runs, and is followed."
        ),
        prose(
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
    if "additionalProperties" in schema:
        yield from _nodes(f"{path}.*", schema["additionalProperties"])


def _metadata(metadata: Schema) -> list[str]:
    longest = metadata["properties"]["name"]["maxLength"]
    annotations = [(f"`{name}`", values, cell(text)) for name, (values, text) in _ANNOTATIONS.items()]
    job = Owner("", "*name*", "*uid*")
    spec = SigningJobSpec(records=RecordsSpec(table="*table*"))
    child = children.signing_deployment(job, "*token*", spec, WorkerSettings(), replicas=0)
    labels = [(f"`{name}`", value) for name, value in child["metadata"]["labels"].items()]
    return [
        "## Names, annotations, labels, finalizer\n",
        f"A name has at most {longest} characters: lower-case letters, digits, `-` and `.`.\n",
        prose(
            "These annotations on a SigningJob pause its scaling, with KEDA's meaning; see [Pausing](scaling.md#pausing). One that "
            "can't be read counts as a pause, and the condition `ScalingActive` says so."
        ),
        *table(("Annotation", "Values", "Meaning"), annotations),
        "",
        prose(
            "The operator's children and their pods carry these labels. The component is `keys`, `records` or `signing`; *name* is "
            "cut to 63 characters, *token* is `.status.token`."
        ),
        *table(("Label", "Value"), labels),
        "",
        prose(
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
            (name, f"`{column['jsonPath']}`", cell(field.get("description", "Since the job's creation.")))
        )
    return ["## Columns of kubectl get\n", *table(("Column", "Path", "Meaning"), rows), ""]
