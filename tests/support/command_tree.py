"""The commands of `vaultstream`, walked as a tree: what holds for one must hold for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from vaultstream_cli.main import load
from vaultstream_cli.root import app

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVING = {"worker", "operator"}
"""Commands that run until they are stopped, with settings from the environment alone."""

WITHOUT_SETTINGS = {"completion"}
"""Commands that read no settings."""


def leaves() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields the words of each command, and the command."""
    load(None)
    yield from _leaves(typer.main.get_command(app))


def _leaves(group: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _leaves(command, *names, name)
        else:
            yield (*names, name), command


def option_names(command: Any) -> set[str]:
    """Returns the names of a command's options."""
    return {name for parameter in command.params for name in parameter.opts}


def complete_line(words: tuple[str, ...], command: Any, value: str = "1") -> tuple[str, ...]:
    """Returns a command with a value for each argument and option that it requires."""
    required = [p for p in command.params if p.required]
    options = [word for p in required if p.param_type_name == "option" for word in (p.opts[0], value)]
    return (*words, *options, *(value for p in required if p.param_type_name == "argument"))


def complete_lines(*, serving: bool = False) -> list[tuple[str, ...]]:
    """Returns each command with what it requires; those that run until they are stopped only if `serving`."""
    return [
        complete_line(words, command)
        for words, command in leaves()
        if (serving or words[0] not in SERVING) and words[0] not in WITHOUT_SETTINGS
    ]
