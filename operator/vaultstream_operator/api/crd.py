"""The CustomResourceDefinition of SigningJob, made from its types. `crds/` holds what it makes."""

from __future__ import annotations

from typing import Any, Final

import yaml

from vaultstream.api.base import VALIDATIONS
from vaultstream.api.signingjob import API_VERSION, IMMUTABLE, KIND, SigningJob, SigningJobSpec
from vaultstream_operator.api.schema import Schema, leaves, structural_schema
from vaultstream_operator.api.status import JobStatus

GROUP, VERSION = API_VERSION.split("/")
PLURAL: Final = "signingjobs"
SINGULAR: Final = "signingjob"
SHORT_NAMES: Final = ("sj",)
CATEGORIES: Final = ("all", "vaultstream")
CRD_NAME: Final = f"{PLURAL}.{GROUP}"

_FIXED: Final = "{field} is fixed for the life of a job: set it back to what it was, or create another job"
# kstatus takes an object without a status for one that is as it should be; no generation is 0.
_NOT_SEEN_YET: Final = {"observedGeneration": 0}
_END_STANDS: Final = {
    "rule": (
        "!has(oldSelf.state) || !(oldSelf.state in ['Complete', 'Failed']) || "
        "(has(self.state) && self.state in [oldSelf.state, 'Deleting'])"
    ),
    "message": "a job that is Complete or Failed stays so: a status can't take its end back",
    "fieldPath": ".state",
}

# Name, JSON path, type and priority; those of priority 1 show up with `kubectl get -o wide`.
_COLUMNS: Final = (
    ("State", ".status.state", "string", 0),
    ("Progress", ".status.progress", "string", 0),
    ("Signers", ".status.signers", "string", 0),
    ("Lag", ".status.lag", "integer", 0),
    ("Rate", ".status.recordsPerSecond", "number", 0),
    ("ETA", ".status.eta", "string", 0),
    ("Age", ".metadata.creationTimestamp", "date", 0),
    ("Table", ".spec.records.table", "string", 1),
    ("Message", ".status.message", "string", 1),
)

_HEADER: Final = (
    "# Generated from the types in vaultstream.api and vaultstream_operator.api: `make generate` writes it.\n"
)


def custom_resource_definition() -> dict[str, Any]:
    """Returns the definition, ready for JSON: `apiextensions.k8s.io/v1`, for Kubernetes 1.30 or newer."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD_NAME, "labels": {"app.kubernetes.io/name": "vaultstream"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": SINGULAR,
                "shortNames": list(SHORT_NAMES),
                "categories": list(CATEGORIES),
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(),
                    "schema": {"openAPIV3Schema": object_schema()},
                }
            ],
        },
    }


def object_schema() -> Schema:
    """Returns the schema of a whole SigningJob."""
    job = structural_schema(SigningJob)
    status = structural_schema(JobStatus, defaults=False)
    status.setdefault(VALIDATIONS, []).append(_END_STANDS)
    fields: Schema = job["properties"]
    # An API server checks these in every object, and lets no more of the metadata be bounded than its names.
    for name in ("apiVersion", "kind"):
        del fields[name]["enum"]
    longest = fields["metadata"]["properties"]["name"]["maxLength"]
    fields["metadata"] = {"type": "object", "properties": {"name": {"type": "string", "maxLength": longest}}}
    fields["spec"] = spec_schema() | {"description": fields["spec"]["description"]}
    fields["status"] = status | {"default": _NOT_SEEN_YET}
    return job | {"required": ["spec"]}


def spec_schema() -> Schema:
    """Returns the schema of a SigningJob's spec, with the rules on what may change in a job's life."""
    spec = structural_schema(SigningJobSpec)
    for name in IMMUTABLE:
        for path, leaf in leaves(spec["properties"][name], name):
            leaf.setdefault(VALIDATIONS, []).append(
                {"rule": "self == oldSelf", "message": _FIXED.format(field=path)}
            )
    return spec


def to_yaml(definition: dict[str, Any]) -> str:
    """Returns a definition as the file that is kept in the repository."""
    text = yaml.dump(definition, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return _HEADER + text


class _Dumper(yaml.SafeDumper):
    """Writes equal lists and mappings out each time they occur, without anchors."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - of all data
        return True


def _columns() -> list[dict[str, Any]]:
    return [
        {"name": name, "type": kind, "jsonPath": path} | ({"priority": priority} if priority else {})
        for name, path, kind, priority in _COLUMNS
    ]
