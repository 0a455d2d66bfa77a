"""Settings from the variables of the environment, as values for a pydantic model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel


def given_by_environment(model: type[BaseModel], *, prefix: str = "") -> dict[str, str]:
    """Returns the texts of the variables that a model has fields for, by the names that it takes. An empty variable counts as not set.

    A variable may be written in any case. Should there be several that differ in case alone, the last one counts.

    Args:
        model: each field has an alias, which is its variable.
        prefix: with it, the variable of a field without an alias is the prefix and the field's name.
    """
    present = {name.lower(): value for name, value in os.environ.items() if value}
    found = {}
    for field, info in model.model_fields.items():
        name = info.validation_alias if isinstance(info.validation_alias, str) else info.alias
        if name is None and not prefix:
            continue
        if (value := present.get((name or prefix + field).lower())) is not None:
            found[name or field] = value
    return found
