"""Renders docs/api-reference.md from the types of a SigningJob and the operator's conditions and reasons."""

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

The fields of a SigningJob's `spec`, which you write, and of its `status`, which the operator writes. In a terminal, use
`kubectl explain sj.spec --recursive`. `make generate` generates this page from the types.

The same YAML runs on one machine (`vaultstream run -f job.yaml`) and on Kubernetes (`kubectl apply -f job.yaml`). Only the table is
required:

```yaml
apiVersion: {api_version}
kind: {kind}
metadata:
  name: receipts
spec:
  records:
    table: sales.receipts
```

[examples/full.yaml](../examples/full.yaml) has every field. [Scaling](scaling.md) explains how the fields under `spec.scaling`
work together, and [Operations](operations.md) how to operate a job.
"""

_ANNOTATIONS: Final[Mapping[str, tuple[str, str]]] = {
    PAUSED_REPLICAS: ("`0` to `1000`", "Run this number of signers. Takes precedence over `paused`."),
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
        ("Subresources", "`status`, written only by the operator"),
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
            "The API server refuses a SigningJob that breaks one of these rules, and names the field. `vaultstream run` does too, with "
            "the same message."
        ),
        *table(("Field", "Message"), across),
        "",
        prose(
            f"Immutable: {names}. A change is refused with *… is immutable: restore its value, or create another job*. All other "
            "fields of the spec can be changed while the job runs, and the operator applies the change."
        ),
        prose(
            "`vaultstream run` refuses unknown fields. So does `kubectl`, which requests strict validation by default. Numbers must be "
            'numbers: `"500"` is refused.'
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
            "These annotations on a SigningJob pause its scaling, with the semantics of KEDA; see [Pausing](scaling.md#pausing). An "
            "invalid value pauses scaling too, and the condition `ScalingActive` reports it."
        ),
        *table(("Annotation", "Values", "Meaning"), annotations),
        "",
        prose(
            "The operator's child objects and their pods have these labels. The component is `keys`, `records` or `signing`; *name* "
            "is cut to 63 characters; *token* is `.status.token`."
        ),
        *table(("Label", "Value"), labels),
        "",
        prose(
            "Before the operator lowers the number of signers, it gives pods that hold no key the annotation "
            '`controller.kubernetes.io/pod-deletion-cost: "-100"`, so that Kubernetes removes them first.'
        ),
        f"The finalizer `{FINALIZER}` keeps a SigningJob until its data in Postgres and JetStream is removed or retained.\n",
    ]


def _columns(columns: list[Schema], schema: Schema) -> list[str]:
    rows = []
    for column in columns:
        field: Schema = schema
        for step in column["jsonPath"].removeprefix(".").split("."):
            field = field.get("properties", {}).get(step, {})
        name = column["name"] + (" (`-o wide`)" if column.get("priority") else "")
        rows.append(
            (
                name,
                f"`{column['jsonPath']}`",
                cell(field.get("description", "Time since the job was created.")),
            )
        )
    return ["## Columns of kubectl get\n", *table(("Column", "Path", "Description"), rows), ""]
