"""SigningJobs that are valid, or invalid in one or two places, drawn from the definition's own schema."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

from vaultstream.api.pods import INT_OR_STRING
from vaultstream.api.signingjob import API_VERSION, KIND
from vaultstream_operator.api.crd import spec_schema

Path = tuple[str | int, ...]

INSTANTS = st.sampled_from([
    "2030-01-01T00:00:00Z",
    "2030-01-01T00:00:00.123456789+14:00",
    "2028-02-29T23:59:59-23:59",
    "2030-02-30T00:00:00Z",
    "2030-13-01T00:00:00Z",
    "2030-01-01T24:00:00Z",
    "2030-01-01T00:00:60Z",
    "2030-01-01T00:00:00",
    "2030-01-01T00:00:00+24:00",
    "2030-01-01t00:00:00z",
    "2030-01-01 00:00:00Z",
    "2030-01-01",
    "1893456000",
    "",
])  # fmt: skip
TEXTS = st.sampled_from(["a", "id", "sales.receipts", "квитанции", "x" * 62, "x" * 63])
NAMES = st.sampled_from(
    ["a", "b/c", "A.b-c_d", "example.com/team", "-a", "b/c/d", "B/c", "имя", "x" * 63, "x" * 64]
)
RESOURCES = st.sampled_from(["cpu", "memory", "example.com/gpu", "hugepages-2Mi", "mem", "CPU"])
QUANTITIES = st.sampled_from([
    *(0, 1, "0", "2", "0.5", "100m", "4Gi", "1e3", "1E3", "1E-2", "1E", "5.", ".5", "007", "1n", "2u", "1e99"),
    *(-1, "-1", "+1", "", ".", "m", "1.2.3", "1 Gi", "1gi", "1K", "1e", "1e100", "banana", "0x10", "½", "1" * 41),
])  # fmt: skip
JSON: st.SearchStrategy[Any] = st.sampled_from([{}, {"a": {"b": [1, "c", 0.5, True]}}])


def _right(schema: dict[str, Any]) -> st.SearchStrategy[Any]:  # noqa: C901, PLR0911 - one for each type
    """Returns values of the schema, with small numbers, so that rules between fields are often broken."""
    match schema:
        case {"x-kubernetes-int-or-string": True}:
            return QUANTITIES
        case {"enum": choices}:
            return st.sampled_from(choices)
        case {"type": "object", "properties": fields}:
            needed = schema.get("required", [])
            return st.fixed_dictionaries(
                {name: _right(fields[name]) for name in needed},
                optional={name: _right(inner) for name, inner in fields.items() if name not in needed},
            )
        case {"type": "object", "additionalProperties": inner}:
            names = RESOURCES if INT_OR_STRING in inner else NAMES
            return st.dictionaries(names, _right(inner), max_size=2)
        case {"type": "object"}:
            return JSON
        case {"type": "array", "items": items}:
            return st.lists(_right(items), min_size=schema.get("minItems", 0), max_size=2)
        case {"type": "integer"}:
            low = schema["minimum"]
            return st.integers(low, low + 3) | st.sampled_from([low, schema.get("maximum", low)])
        case {"type": "number"}:
            return st.sampled_from([0.5, 1, 1.5, 60, 3600])
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "string", "maxLength": 35}:
            return INSTANTS
    return TEXTS


def _bounds(schema: Any) -> set[int]:
    """Returns every bound in the schema, and its neighbors."""
    found: set[int] = set()
    if isinstance(schema, dict):
        for word, inner in schema.items():
            if word in ("minimum", "maximum") and isinstance(inner, int):
                found |= {inner - 1, inner, inner + 1}
            found |= _bounds(inner)
    elif isinstance(schema, list):
        for inner in schema:
            found |= _bounds(inner)
    return found


SPEC = spec_schema()
EDGES = sorted(_bounds(SPEC) | {2**40})
ODD: st.SearchStrategy[Any] = (
    st.sampled_from(EDGES)
    | st.sampled_from([0.5, -0.5, True, False, "", "x", "500", "Max", [], ["a"], [{}], {"a": "b"}, {"a": 1}])
    | st.sampled_from([0, 64, 128, 254]).map(lambda length: "y" * length)
)  # fmt: skip


def places(value: Any, path: Path = ()) -> list[Path]:
    """Returns the path of every value in `value`, its own first."""
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(place for step, part in inner for place in places(part, (*path, step)))]


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    """Draws a SigningJob with up to two values changed, one left out, or one under an unknown name."""
    spec = copy.deepcopy(draw(_right(SPEC)))
    for _ in range(draw(st.integers(0, 2))):
        if not (inner := [place for place in places(spec) if place]):
            break
        *parent, step = draw(st.sampled_from(inner))
        inside = spec
        for outer in parent:
            inside = inside[outer]
        change = draw(st.sampled_from(["change", "change", "change", "drop", "rename"]))
        if change == "change":
            inside[step] = copy.deepcopy(draw(ODD))
        else:
            value = inside.pop(step)
            if change == "rename" and isinstance(step, str):
                inside[f"{step}X"] = value
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "job"}, "spec": spec}
