"""What all types of a SigningJob share: strictness, names in YAML, and rules that span several fields."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

BROKEN_RULES = "broken_rules"
"""The type of a validation error that carries `BrokenRule`s, under `broken` in its context."""

VALIDATIONS: Final = "x-kubernetes-validations"
"""Where a JSON schema carries its rules in CEL, for an API server."""

INT32_MAX = 2**31 - 1

_SHOWN_VALUE = re.compile(r" \(\{[^}]*\}\)")

# Strict, as an API server is: "500", true and 1.0 are no whole numbers.
Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Seconds = Annotated[int, Field(strict=True, ge=0, le=INT32_MAX)]


class Rule(NamedTuple):
    """A rule between fields: stated in Python and in CEL side by side, with one sentence for both.

    Attributes:
        field: the field to correct, under its name in YAML.
        holds: whether the rule holds, given the model. Called once each field alone is valid.
        cel: the same for an API server, over `self` with the names in YAML; asks with `has()` for what has no default.
        sentence: what is wrong and the way out; `({name})` shows a field's value. An API server is told without values:
            to it, making text of a number is of unbounded cost.
    """

    field: str
    holds: Callable[[Any], bool]
    cel: str
    sentence: str

    def validation(self) -> dict[str, str]:
        """Returns the rule as an item of Kubernetes' `x-kubernetes-validations`."""
        message = _SHOWN_VALUE.sub("", self.sentence)
        return {"rule": self.cel, "message": message, "fieldPath": f".{self.field}"}


class BrokenRule(NamedTuple):
    """A rule between fields that does not hold.

    Attributes:
        field: the field to correct, under its name in YAML.
        sentence: what is wrong and the way out.
    """

    field: str
    sentence: str


def _add_rules(schema: dict[str, Any], model: type[Model]) -> None:
    if model.rules:
        schema[VALIDATIONS] = [rule.validation() for rule in model.rules]


class Model(BaseModel):
    """A frozen part of a SigningJob: camelCase in YAML, unknown fields refused, attribute docstrings as descriptions."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        allow_inf_nan=False,
        extra="forbid",
        frozen=True,
        json_schema_extra=_add_rules,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        values = {info.alias or name: getattr(self, name) for name, info in type(self).model_fields.items()}
        broken = [
            BrokenRule(rule.field, rule.sentence.format_map(values))
            for rule in self.rules
            if not rule.holds(self)
        ]
        if broken:
            sentences = "; ".join(rule.sentence for rule in broken)
            raise PydanticCustomError(BROKEN_RULES, "{sentences}", {"sentences": sentences, "broken": broken})
        return self
