"""Writes docs/commands.md: the `--help` of every command. With --check, only checks that it is up to date."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.update(COLUMNS="100", TERMINAL_WIDTH="100", NO_COLOR="1")  # the same on every terminal

import typer

from vaultstream_cli.main import COMMANDS, load
from vaultstream_cli.root import app

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = Path(__file__).parents[1] / "docs" / "commands.md"

HEAD = """\
# The command

The output of `vaultstream COMMAND --help` for every command. `make docs` generates this page.

Data goes to standard output, everything else to standard error. Options take precedence over the environment, and the environment over
`.env`. [.env.sample](../.env.sample) lists the settings.

`-o json` (or `--json`), `-o yaml` and `-o name` print what a command shows for programs, `-o wide` (or `--wide`) all columns of a table. With JSON
or YAML, an error is one object, the last line (or document) of standard error; standard output has results alone:

```json
{"error": "There is no job named 'x'.", "field": null, "hint": "`vaultstream jobs` lists the jobs.", "exit_code": 2}
```

`field` is the option, the setting or the field of a job that is wrong, or null. `hint` is the next step, or null. Exit codes are those of the
[README](../README.md#exit-codes). [JSON output](json-output.md) names all fields. Of `export` and `keys export`, `-o` is the file to write.
`vaultstream completion bash` (`zsh`, `fish`) prints a script by which a shell completes commands and options.
"""


def commands(group: Any, path: str, order: list[str]) -> Iterator[tuple[str, str]]:
    """Yields the full name and the help of each command under `group`, in order."""
    context = group.context_class(group, info_name=path, terminal_width=100)
    yield path, group.get_help(context)
    for name in order or list(group.commands):
        command = group.commands[name]
        full = f"{path} {name}"
        if hasattr(command, "commands"):
            yield from commands(command, full, [])
        else:
            yield full, command.get_help(command.context_class(command, info_name=full, terminal_width=100))


def reference() -> str:
    """Returns the page."""
    load(None)
    found = list(commands(typer.main.get_command(app), "vaultstream", list(COMMANDS)))
    contents = [f"- [`{name}`](#{name.replace(' ', '-')})" for name, _ in found]
    sections = [f"## {name}\n\n```text\n{_trimmed(text)}\n```" for name, text in found]
    return "\n".join([HEAD, *contents, "", "\n\n".join(sections), ""])


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def main() -> None:
    """Writes the page, or with --check exits with 1 if it is not up to date."""
    page = reference()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(page, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != page:
        sys.exit("error: docs/commands.md is not up to date with the commands' --help.\n  try: make docs")


if __name__ == "__main__":
    main()
