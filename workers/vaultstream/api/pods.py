"""Fields for the workers' pods: labels, resources and tolerations, validated by the rules of Kubernetes.

Kubernetes itself validates them only when pods are created, long after it accepted the SigningJob.
"""

import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from vaultstream.api.base import FORM, VALIDATIONS, Form, Model, Rule, Seconds

INT_OR_STRING: Final = "x-kubernetes-int-or-string"

_DOMAIN: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_NAME: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY: Final = rf"({_DOMAIN}/)?{_NAME}"
_VALUE: Final = rf"({_NAME})?"
_RESOURCE: Final = rf"cpu|memory|ephemeral-storage|hugepages-[0-9]+[KMGT]i|{_DOMAIN}/{_NAME}"
_SUFFIX: Final = r"n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][-+]?[0-9]{1,2}"
_QUANTITY: Final = rf"([0-9]+\.?[0-9]*|\.[0-9]+)({_SUFFIX})?"

_LONGEST_DOMAIN: Final = 253
_LONGEST_KEY: Final = _LONGEST_DOMAIN + 1 + 63
_LONGEST_QUANTITY: Final = 40
_SMALL: Final = {"n": -9, "u": -6, "m": -3}

_VALUES: Final = "at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
_KEYS: Final = f"{_VALUES}, optionally after a domain (example.com/team)"
ANY_QUANTITY: Final = 'a quantity of 0 or more, such as 500m, "0.5" or 4Gi'
_QUANTITIES: Final = f"must be {ANY_QUANTITY}"
_RESOURCES: Final = (
    "has an unknown resource: use cpu, memory, ephemeral-storage, hugepages-2Mi and the like, or a resource with a domain "
    "(example.com/gpu)"
)


def _quantity(value: object) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise PydanticCustomError("quantity_type", _QUANTITIES)
    if isinstance(value, str) and len(value) > _LONGEST_QUANTITY:
        raise PydanticCustomError("string_too_long", _QUANTITIES)
    if value < 0 if isinstance(value, int) else not re.fullmatch(_QUANTITY, value):
        raise PydanticCustomError(FORM, _QUANTITIES)
    return value


def amount(quantity: int | str) -> Decimal:
    """Returns a valid quantity as a number: 0.5 for `500m`, 1024 for `1Ki`."""
    text = str(quantity)
    number = text.rstrip("numkKMGTPEi")
    suffix = text[len(number) :]
    if suffix.endswith("i"):
        return Decimal(number) * Decimal(1024) ** ("KMGTPE".index(suffix[0]) + 1)
    power = _SMALL.get(suffix) or 3 * (" kMGTPE".index(suffix) if suffix else 0)
    return Decimal(number).scaleb(power)


def _within(least: dict[str, int | str] | None, most: dict[str, int | str] | None) -> bool:
    bounds = most or {}
    return all(amount(value) <= amount(bounds.get(name, value)) for name, value in (least or {}).items())


def _all_match(pattern: str, names: Iterable[str]) -> bool:
    return all(
        len(name) <= _LONGEST_KEY and name.find("/") <= _LONGEST_DOMAIN and re.fullmatch(pattern, name)
        for name in names
    )


def _names(field: str, get: Callable[[Any], Iterable[str] | None], pattern: str, sentence: str) -> Rule:
    """Returns the rule that all names in a map match `pattern`. An API server can bound a map's names only with a rule."""
    matches = f"name.matches(r'^({pattern})$') && name.indexOf('/') <= {_LONGEST_DOMAIN}"
    return Rule(
        field,
        lambda model: _all_match(pattern, get(model) or ()),
        f"!has(self.{field}) || self.{field}.all(name, {matches})",
        f"{field} {sentence}",
    )


def label_names(field: str, get: Callable[[Any], Iterable[str]]) -> Rule:
    """Returns the rule that the map `field` of labels or annotations, read from its model by `get`, has valid keys."""
    return _names(field, get, _KEY, f"has an invalid key: use {_KEYS}")


Quantity = Annotated[
    int | str,
    PlainValidator(_quantity),
    WithJsonSchema(
        {
            INT_OR_STRING: True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": _LONGEST_QUANTITY,
            VALIDATIONS: [
                {
                    "rule": f"type(self) == int ? self >= 0 : self.matches(r'^({_QUANTITY})$')",
                    "message": _QUANTITIES,
                }
            ],
        }
    ),
]
Quantities = Annotated[dict[str, Quantity], Field(max_length=16)]
LabelValue = Annotated[str, Field(max_length=63), Form(_VALUE, f"must be {_VALUES}")]
Labels = Annotated[dict[str, LabelValue], Field(max_length=64)]
Annotations = Annotated[dict[str, str], Field(max_length=64)]
Key = Annotated[str, Field(min_length=1, max_length=_LONGEST_KEY), Form(_KEY, f"must be {_KEYS}")]
ClassName = Annotated[
    str,
    Field(max_length=_LONGEST_DOMAIN),
    Form(
        _DOMAIN,
        "must be lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
    ),
]


class Resources(Model):
    """Compute resources of a worker's container."""

    requests: Quantities | None = None
    """Amount reserved for the container, by resource name. The scheduler uses it to choose a node."""
    limits: Quantities | None = None
    """Maximum amount that the container may use, by resource name."""

    rules: ClassVar[tuple[Rule, ...]] = (
        _names("requests", lambda resources: resources.requests, _RESOURCE, _RESOURCES),
        _names("limits", lambda resources: resources.limits, _RESOURCE, _RESOURCES),
        Rule(
            "requests",
            lambda resources: _within(resources.requests, resources.limits),
            "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) || "
            "!isQuantity(string(self.requests[name])) || !isQuantity(string(self.limits[name])) || "
            "!quantity(string(self.requests[name])).isGreaterThan(quantity(string(self.limits[name]))))",
            "requests must not exceed the limits of the same resources: lower requests or raise limits",
        ),
    )


class Toleration(Model):
    """A taint that a worker's pod tolerates."""

    key: Key | None = None
    """Key of the taint. If unset, every taint matches; `operator` must then be `Exists`."""
    operator: Literal["Equal", "Exists"] | None = None
    """`Equal`: the taint's value must equal `value`. `Exists`: any value matches. If unset, `Equal`."""
    value: LabelValue | None = None
    """Value of the taint, with operator `Equal`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint. If unset, every effect matches."""
    toleration_seconds: Seconds | None = None
    """Seconds that the pod stays on a node after the taint is added; only with effect `NoExecute`. If unset, forever."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "operator",
            lambda toleration: bool(toleration.key) or toleration.operator == "Exists",
            "has(self.key) || has(self.operator) && self.operator == 'Exists'",
            "operator must be Exists if key is unset: set key, or set operator to Exists",
        ),
        Rule(
            "value",
            lambda toleration: not toleration.value or toleration.operator != "Exists",
            "!has(self.value) || self.value == '' || !has(self.operator) || self.operator != 'Exists'",
            "value requires operator Equal: remove value, or set operator to Equal",
        ),
        Rule(
            "tolerationSeconds",
            lambda toleration: toleration.toleration_seconds is None or toleration.effect == "NoExecute",
            "!has(self.tolerationSeconds) || has(self.effect) && self.effect == 'NoExecute'",
            "tolerationSeconds requires effect NoExecute: set effect to NoExecute, or remove tolerationSeconds",
        ),
    )
