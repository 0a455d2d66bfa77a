"""The forms in which a command prints an object or an error: text for people; JSON, YAML or names for programs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from vaultstream.visible import visible, visible_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vaultstream.errors import VaultStreamError


class OutputForm(StrEnum):
    """What `--output` names."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"
    WIDE = "wide"
    NAME = "name"

    @property
    def of_objects(self) -> bool:
        """Whether it is for programs, which get the whole object."""
        return self in {OutputForm.JSON, OutputForm.YAML, OutputForm.NAME}


@dataclass
class FormWanted:
    """How the running command prints.

    Attributes:
        form: the form.
        names: the fields that lead to the names in its object; lists on the way are walked.
        wide: whether its tables have all columns; None: it has no option for that.
    """

    form: OutputForm = OutputForm.TEXT
    names: tuple[str, ...] = ()
    wide: bool | None = None


_FIELD = re.compile(r"(?:\S+?:\d+: )?(?P<field>spec(?:\.\w+)+|--[a-z][a-z-]*)(?=[\s:,])")
"""The field with which a message begins, after the place in a file."""


def error_object(error: VaultStreamError) -> dict[str, object]:
    """Returns an error as an object: what is wrong, the field at fault, the next step, the exit code."""
    found = _FIELD.match(error.message)
    return {
        "error": error.message,
        "field": error.field or (found["field"] if found else None),
        "hint": error.hint,
        "exit_code": int(error.exit_code),
    }


def in_form(value: object, wanted: FormWanted, *, indent: int | None = 2, any_text: bool = True) -> str:
    """Returns an object as text, with a line feed at its end.

    Args:
        value: what the command shows; times become ISO 8601.
        wanted: the form, and where the object's names are.
        indent: of JSON; None: one line. A document of YAML then begins with `---`, because others follow.
        any_text: whether the output takes every character. JSON's own escapes stand for those that it does not.
    """
    if wanted.form is OutputForm.NAME:
        return "".join(f"{visible(name)}\n" for name in _names(value, wanted.names))
    text = json.dumps(value, default=_encode, ensure_ascii=not any_text, indent=indent)
    if wanted.form is OutputForm.YAML:
        from vaultstream.api.document import yaml_text  # noqa: PLC0415 - few commands need YAML, and it takes long to load

        document = yaml_text(json.loads(text))  # nothing in it can control a terminal
        return f"---\n{document}" if indent is None else document
    return visible_json(text) + "\n"


def form_of_arguments(arguments: Sequence[str], *, takes_form: bool) -> OutputForm:
    """Returns the form that arguments ask for, although they may be wrong.

    Args:
        arguments: of the command.
        takes_form: whether the command's `--output` is a form; of others, it is a file.
    """
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if any(word == "--json" or word.startswith("--json=") for word in words):
        return OutputForm.JSON
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        given = re.fullmatch(r"--output=(.*)|-o=?(.+)", word)
        value = next(filter(None, given.groups()), "") if given else following
        if takes_form and (given or word in {"-o", "--output"}) and value in {"json", "yaml"}:
            return OutputForm(value)
    return OutputForm.TEXT


def _names(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _names(each, path)
    elif path:
        yield from _names(value.get(path[0]), path[1:])
    elif value is not None:
        yield str(value)


def _encode(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
