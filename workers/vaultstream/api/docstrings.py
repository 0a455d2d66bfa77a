"""The docstrings of a type's attributes, read from its source when a schema is asked for.

Pydantic can read them too, but while it makes the type: a third of the time to import all types, in processes that never ask.
"""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from textwrap import dedent


def attribute_docstrings(kind: type) -> dict[str, str]:
    """Returns the docstring after each annotated attribute of a class or a class that it inherits from."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if "__annotations__" in vars(each) and each.__module__.startswith("vaultstream"):
            found |= _written_in(each)
    return found


def _written_in(kind: type) -> dict[str, str]:
    try:
        (definition,) = ast.parse(dedent(inspect.getsource(kind))).body
    except OSError:  # installed without its source
        return {}
    found = {}
    for attribute, after in pairwise(getattr(definition, "body", ())):
        match attribute, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found
