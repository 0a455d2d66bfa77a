"""What all types of a SigningJob share: strict parsing, names in YAML, and rules that span several fields."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from vaultstream.api.docstrings import attribute_docstrings

BROKEN_RULES = "broken_rules"
"""Type of a validation error that carries `BrokenRule`s in its context, under `broken`."""

FORM: Final = "form"
"""Type of a validation error whose message is a sentence that continues the field's name."""

VALIDATIONS: Final = "x-kubernetes-validations"
"""The JSON schema keyword that holds CEL rules for an API server."""

INT32_MAX = 2**31 - 1

_SHOWN_VALUE = re.compile(r" \(\{[^}]*\}\)")

# Strict, like an API server: "500", true and 1.0 are not integers.
Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Seconds = Annotated[int, Field(strict=True, ge=0, le=INT32_MAX)]
Natural = Annotated[Whole, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
JsonObject = dict[str, JsonValue]


@dataclass(frozen=True)
class Form:
    """The format of a string: one pattern and one sentence, used in Python and in CEL.

    Bound the string's length as well: an API server estimates the cost of the check from it.

    Args:
        pattern: the pattern that the whole string must match, in syntax that Python and RE2 share.
        sentence: the requirement, worded to continue the field's name: `must be …`.
    """

    pattern: str
    sentence: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        rule = {"rule": f"self.matches(r'^({self.pattern})$')", "message": self.sentence}
        return {**handler(core), VALIDATIONS: [rule]}

    def _checked(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise PydanticCustomError(FORM, "{sentence}", {"sentence": self.sentence})
        return text


class Rule(NamedTuple):
    """A rule that spans several fields, in Python and in CEL, with one sentence for both.

    Attributes:
        field: the field to correct, by its name in YAML.
        holds: returns whether the rule holds for the model. Called only if each field alone is valid.
        cel: the same rule for an API server, over `self` with the names in YAML; uses `has()` for fields without a default.
        sentence: what is wrong and how to fix it; `({name})` shows a field's value. The API server's message has no values,
            because to CEL the cost of formatting a number is unbounded.
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
    """A rule that spans several fields and does not hold.

    Attributes:
        field: the field to correct, by its name in YAML.
        sentence: what is wrong and how to fix it.
    """

    field: str
    sentence: str


def complete_schema(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Adds to the JSON schema of a type the docstrings of its attributes as descriptions, and its rules."""
    described = attribute_docstrings(model)
    for name, info in model.model_fields.items():
        if name in described:
            schema["properties"][info.alias or name]["description"] = described[name]
    if issubclass(model, Model) and model.rules:
        schema[VALIDATIONS] = [rule.validation() for rule in model.rules]


class Model(BaseModel):
    """A frozen part of a SigningJob: camelCase in YAML, no unknown fields, attribute docstrings as descriptions."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        allow_inf_nan=False,
        defer_build=True,  # most processes use few of the types
        extra="forbid",
        frozen=True,
        json_schema_extra=complete_schema,
        populate_by_name=True,
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


class StatusPart(Model):
    """A part of the status. Fields written by a newer operator are ignored."""

    model_config = ConfigDict(extra="ignore")


@dataclass(frozen=True)
class CheckedAs:
    """Validates a JSON object as a type and takes that type's schema, but keeps the value as JSON, without nulls."""

    model: type[Model]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        kept = core_schema.plain_serializer_function_ser_schema(lambda value: value)
        return core_schema.no_info_after_validator_function(
            self._as_json, handler.generate_schema(self.model), serialization=kept
        )

    @staticmethod
    def _as_json(checked: Model) -> JsonObject:
        return checked.model_dump(mode="json", by_alias=True, exclude_none=True)
