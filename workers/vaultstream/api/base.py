"""What all types of a SigningJob share: strictness, names in YAML, and rules that span several fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

BROKEN_RULES = "broken_rules"
"""The type of a validation error that carries `BrokenRule`s, under `broken` in its context."""

INT32_MAX = 2**31 - 1

# Strict, as an API server is: "500", true and 1.0 are no whole numbers.
Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Seconds = Annotated[int, Field(strict=True, ge=0, le=INT32_MAX)]


class BrokenRule(NamedTuple):
    """A rule between fields that does not hold.

    Attributes:
        field: the field to correct, under its name in YAML.
        sentence: what is wrong and the way out; names the fields by themselves.
    """

    field: str
    sentence: str


class Model(BaseModel):
    """A frozen part of a SigningJob: camelCase in YAML, unknown fields refused, attribute docstrings as descriptions."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        allow_inf_nan=False,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    def broken_rules(self) -> Iterator[BrokenRule]:
        """Yields the rules between this part's fields that do not hold. Called once each field alone is valid."""
        yield from ()

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        if broken := list(self.broken_rules()):
            sentences = "; ".join(rule.sentence for rule in broken)
            raise PydanticCustomError(BROKEN_RULES, "{sentences}", {"sentences": sentences, "broken": broken})
        return self
