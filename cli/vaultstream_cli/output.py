"""Output of the command: data on standard output, everything else on standard error.

Only this module writes to them. So it is the one place that makes text visible, see `vaultstream.visible`: ids, names and
messages come from tables, files and services, and their authors must not control the terminal.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from vaultstream.errors import UsageError
from vaultstream.last_words import unexpected_error
from vaultstream.visible import visible, visible_lines
from vaultstream_cli.forms import FormWanted, OutputForm, error_object, form_of_arguments, in_form

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from rich.console import ConsoleOptions, RenderableType

    from vaultstream.errors import VaultStreamError

STANDARD_OUTPUT = Path("-")
"""The value of --output that means standard output."""

_WIDE = 200
"""Width in columns without a terminal: readers of a pipe want whole lines."""


class _VisibleConsole(Console):
    """A console that makes every text visible, and takes nothing in it for markup or emoji."""

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False, width: int | None = None) -> None:
        super().__init__(
            stderr=stderr, soft_wrap=soft_wrap, width=width, markup=False, emoji=False, highlight=False
        )

    def on_broken_pipe(self) -> None:
        if not self.stderr:
            raise BrokenPipeError  # nobody reads the results; rich would exit with 1
        self.quiet = True  # nobody reads the notes, and the results are still wanted
        _discard(sys.stderr)

    def render_str(self, text: str, **options: Any) -> Text:
        # Before the layout, so that columns are as wide as what they show.
        return super().render_str(visible(text, keep="\n"), **{**options, "markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        # Also what is no plain string, such as the columns of a progress bar.
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible(segment.text, keep="\n"), segment.style)


out = _VisibleConsole(width=None if sys.stdout.isatty() else _WIDE)
"""Standard output: results."""

err = _VisibleConsole(stderr=True, soft_wrap=True)
"""Standard error: progress, notes and errors."""


_wanted = FormWanted()


def use_form(wanted: FormWanted) -> None:
    """Sets how this process prints objects, tables and errors."""
    global _wanted  # noqa: PLW0603 - as its standard output
    _wanted = wanted


def print_object(value: object, *, indent: int | None = 2) -> None:
    """Prints what a command shows, in the form that was asked for: JSON, YAML or its names.

    Args:
        value: the object; times become ISO 8601.
        indent: None: others follow, so JSON is one line.
    """
    # An output that can't take every character, such as one in Latin-1, gets JSON's own escapes: the value is the same.
    any_text = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    _write(in_form(value, _wanted, indent=indent, any_text=any_text))


def drop_output() -> None:
    """Discards what is left to be written to an output whose reader has left, so that Python does not fail to flush it on exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _discard(stream)


def end_of_output(error: OSError) -> int:
    """Returns the exit code of a command whose output failed outside of what explains errors, as of `--help`, and says why.

    It is 0 if the reader of a pipe has left, as `| head` does.

    Raises:
        OSError: something else than an output failed.
    """
    drop_output()
    if isinstance(error, BrokenPipeError):
        return 0
    from vaultstream.exits import explained  # noqa: PLC0415 - takes long to load

    shown = explained(error)
    if shown is None:
        raise error
    print_error(shown)
    return shown.exit_code


def _discard(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def print_text(text: str) -> None:
    """Prints a message on standard output, wrapped to the terminal."""
    out.print(visible_lines(text))


def print_line(text: str) -> None:
    """Prints a line on standard output, as wide as it is."""
    _write(visible(text) + "\n")


def print_file(text: str) -> None:
    """Prints the text of a file that VaultStream itself has written, on standard output."""
    _write(visible(text, keep="\n"))


def _write(text: str) -> None:
    # Not by typer.echo: it takes an output in ASCII for a mistake, and writes UTF-8 to it.
    sys.stdout.write(text)
    sys.stdout.flush()


def print_error(error: VaultStreamError) -> None:
    """Prints an error: its message and hint for people, or an object in the form that was asked for, as the last thing."""
    if _wanted.form in {OutputForm.JSON, OutputForm.YAML}:
        sys.stderr.write(in_form(error_object(error), _wanted, indent=None, any_text=False))
        return
    err.print(f"error: {visible_lines(error.message)}", style="red")
    if error.hint:
        err.print(f"  try: {visible_lines(error.hint)}")


def note(text: str, *, style: str | None = None) -> None:
    """Prints a message on standard error."""
    err.print(visible_lines(text), style=style)


def warn(text: str) -> None:
    """Prints a warning on standard error."""
    note(f"warning: {text}", style="yellow")


def confirm(question: str) -> bool:
    """Asks on the terminal; returns whether the answer is yes. Ctrl-C and the end of the input mean no."""
    try:
        return typer.confirm(visible(question), err=True)
    except typer.Abort:
        typer.echo(err=True)
        return False


def print_usage_error(error: typer.TyperException, arguments: Sequence[str]) -> None:
    """Prints what is wrong with the arguments of the command, or the help that replaces missing ones."""
    context = getattr(error, "ctx", None)
    takes_form = (
        context is None  # the command may or may not have a form
        or hasattr(context.command, "commands")  # no command was recognized
        or any(each.name == FORM_PARAMETER for each in context.command.params)
    )
    use_form(FormWanted(form_of_arguments(arguments, takes_form=takes_form)))
    if _wanted.form is not OutputForm.TEXT:
        parameter = getattr(error, "param", None)
        field = parameter.opts[0] if parameter else getattr(error, "option_name", None)
        field = field or getattr(error, "param_hint", None)
        if field is None and context is not None and hasattr(context.command, "commands"):
            field = _COMMAND
        message = plain_words(error.format_message())
        words = takewhile(lambda word: not word.startswith("-"), arguments)
        path = context.command_path if context else " ".join(("vaultstream", *words))
        print_error(UsageError(message, field=field, hint=f"`{path} --help` shows what it takes."))
        return
    shown = io.StringIO()
    error.show(file=shown)  # type: ignore[attr-defined]
    sys.stderr.write(visible(plain_words(shown.getvalue()).replace("\t", "  "), keep="\n"))


_PLAIN_WORDS = {
    "Value error, ": "",
    "Input should be a valid integer, unable to parse string as an integer": "it must be a whole number",
    "Input should be a valid number, unable to parse string as a number": "it must be a number",
    "Input should be greater than or equal to": "it must be at least",
    "Input should be less than or equal to": "it must be at most",
    "Input should be": "it must be",
}


def plain_words(message: str) -> str:
    """Returns what a library says of an option, in words of a user."""
    for said, meant in _PLAIN_WORDS.items():
        message = message.replace(said, meant)
    return message


_COMMAND = "COMMAND"
"""What the usage calls the name of a command."""
FORM_PARAMETER = "output_form"
"""Name of the parameter whose option is `--output FORM`."""


def print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints an unexpected error, in place of `sys.excepthook`."""
    lines = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(visible(lines, keep="\n"))
    if _wanted.form is not OutputForm.TEXT:
        print_error(unexpected_error(error))


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    wide: bool | None = None,
) -> None:
    """Prints rows as a table; numbers are right-aligned, and neither a number nor a word is split.

    Args:
        columns: their names, the most important first: the last ones are left out where there is no room.
        rows: a value per column.
        title: above the table.
        wide: whether to print all columns, whatever room there is; None: as the command's option says.
    """
    wide = _wanted.wide if wide is None else wide
    rows = [tuple(row) for row in rows]
    cells = [[_cell(value) for value in row] for row in rows]
    shown = fitting(columns, cells, _ANY_WIDTH if wide else out.width)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns[: len(shown)]):
        numeric = bool(rows) and all(
            isinstance(row[index], int | float) or row[index] is None for row in rows
        )
        table.add_column(
            column, justify="right" if numeric else "left", overflow="fold", max_width=shown[index]
        )
    for row in cells:
        table.add_row(*row[: len(shown)])
    # Where two columns of long words do not fit, the terminal wraps the line, and a word is copied from it as one.
    fits = sum(shown) + _APART * (len(shown) - 1) <= out.width
    (out if fits and not wide else _VisibleConsole(width=_ANY_WIDTH)).print(table)
    if left_out := columns[len(shown) :]:
        way = "--json shows" if wide is None else "--wide shows"
        note(f"{way} also: {', '.join(left_out)}.")


def print_beside(rows: Iterable[tuple[Sequence[tuple[str, str]], str]]) -> None:
    """Prints texts beside their labels, or below them where labels are long or the terminal is narrow.

    Args:
        rows: labels, each with its style, and the text. Labels are not wrapped.
    """
    shown = [
        ([Text(visible(label), style) for label, style in labels], Text(visible(text, keep="\n")))
        for labels, text in rows
    ]
    room = min(out.width - _LEAST_BESIDE, _MOST_LABELS)
    fits = [sum(label.cell_len + _APART for label in labels) <= room for labels, _ in shown]
    widths = [
        max(label.cell_len for label in column)
        for column in zip(*(labels for (labels, _), fit in zip(shown, fits, strict=True) if fit), strict=True)
    ]
    beside = sum(widths) + _APART * len(widths)
    for (labels, text), fit in zip(shown, fits, strict=True):
        indent = beside if fit and beside <= out.width - _LEAST_BESIDE else _APART
        lines = list(text.wrap(out, out.width - indent))
        for line in lines:
            line.rstrip()
        if indent == beside:
            for label, width in zip(labels, widths, strict=True):
                label.pad_right(width - label.cell_len + _APART)
            out.print(Text.assemble(*labels, *lines[:1]))
            del lines[:1]
        else:
            out.print(Text("  ").join(labels))
        for line in lines:
            out.print(Text(" " * indent) + line)


_LEAST_BESIDE = 36
"""Width in characters below which a text stands below its labels."""
_MOST_LABELS = 60


def fitting(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[int]:
    """Returns the widths of as many columns as fit, from the first on, and at least two, even if these do not fit.

    Text of several words is wrapped between them before a column is left out.

    Args:
        columns: their names.
        cells: text by row and column.
        width: of the whole table, in characters.
    """
    whole: list[int] = []
    least: list[int] = []
    for index, name in enumerate(columns):
        texts = [name, *(row[index] for row in cells)]
        whole.append(max(cell_len(line) for text in texts for line in text.split("\n")))
        words = max((cell_len(word) for text in texts for word in text.split()), default=1)
        # The first two stay whatever the width is, and get what their longest words need: ids are copied whole.
        most = words if index < _FEWEST else width // 2
        least.append(max(min(words, most), min(whole[-1], _NARROW)))
    count = len(columns)
    while count > _FEWEST and sum(least[:count]) + _APART * (count - 1) > width:
        count -= 1
    widths = whole[:count]
    excess = sum(widths) + _APART * (count - 1) - width
    for index in sorted(range(count), key=lambda each: least[each] - whole[each]):
        taken = min(max(0, excess), widths[index] - least[index])
        widths[index] -= taken
        excess -= taken
    return widths


_NARROW = 24
"""Width of a column of text, in characters, below which a column is left out instead."""
_FEWEST = 2
_APART = 2
"""Characters between two columns."""
_ANY_WIDTH = 10_000
"""Width of a table that shows all columns, however narrow the terminal is."""


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.1f}"
        case datetime():
            return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        case _:
            return visible(str(value))
