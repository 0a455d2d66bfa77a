"""The options that commands share, and the decorator that gives each command settings, an event loop and an exit code."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import signal
import sys
import warnings
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
import uvloop

from vaultstream.env_file import read_env_file
from vaultstream.errors import ExitCode, Interrupted, OutputError, UsageError
from vaultstream.exits import explained
from vaultstream.last_words import unexpected, write_exit
from vaultstream.logs import configure_logging
from vaultstream.settings import Settings, load_settings
from vaultstream.store.privileges import AUDITOR
from vaultstream_cli.forms import FormWanted, OutputForm
from vaultstream_cli.output import FORM_PARAMETER, drop_output, note, print_error, use_form, warn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence


def named_path(text: str) -> Path:
    """Returns the path of an option. An empty one, as from a variable that is not set, would mean the working directory.

    Raises:
        typer.BadParameter: it is empty.
    """
    if not text:
        raise typer.BadParameter(
            "it is empty, which would be the working directory. Write . if you mean that."
        )
    return Path(text)


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        parser=named_path,
        metavar="<path>",
        help="Folder of the embedded services. [default: .vaultstream]",
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="Postgres to use instead of the embedded one. If the URL has a password, set DATABASE_URL instead.",
    ),
]
NatsUrl = Annotated[
    str | None,
    typer.Option("--nats-url", help="NATS to use instead of the embedded one, like VAULTSTREAM_NATS_URL."),
]
KekFile = Annotated[
    Path | None,
    typer.Option(
        "--kek-file",
        parser=named_path,
        metavar="<path>",
        help="File of the key-encryption keys, like VAULTSTREAM_KEK_FILE. [default: DATA_DIR/kek]",
    ),
]
JobName = Annotated[str, typer.Argument(help="Name of the job, or its token if it was deleted.")]
Wide = Annotated[
    bool, typer.Option("--wide", help="Print all columns, also on a narrow terminal; same as -o wide.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON; same as -o json.")]

_COMMON: dict[str, Any] = {
    "data_dir": DataDir,
    "database_url": DatabaseUrl,
    "nats_url": NatsUrl,
    "kek_file": KekFile,
}


RESUMES = "Run the same command again to resume; nothing is lost."


def command(
    group: typer.Typer,
    name: str,
    *,
    worker: bool = False,
    part: str = AUDITOR,
    names: tuple[str, ...] = (),
    table: bool = False,
    interrupted: str = RESUMES,
    unknown_options_are_arguments: bool = False,
) -> Callable[[Callable[..., Awaitable[Any]]], Callable[..., None]]:
    """Registers an asynchronous function as a command.

    Its first parameter receives the Settings, read from the common options (which every command gets), the environment
    and `.env`. An error that it raises becomes a message on standard error and an exit code. If it returns an ExitCode, that
    is the exit code.

    Args:
        group: the application, or one of its groups.
        name: the name of the command.
        worker: whether the function handles Ctrl-C and SIGTERM itself.
        part: whose role in Postgres it needs; EVERY_PART if it does the work of all.
        names: the fields that lead to the names in what it prints, for `-o name`; none: it has no names.
        table: whether it prints a table of which a narrow terminal may show a part.
        interrupted: the hint that is printed after Ctrl-C or SIGTERM.
        unknown_options_are_arguments: whether an unknown option such as `-1` is treated as an argument.
    """

    def register(function: Callable[..., Awaitable[Any]]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        json = next((p.name for p in own if p.annotation is Json), None)

        @wraps(function)
        def entry(**given: Any) -> None:
            _require_text(given, own)
            common = {key: given.pop(key) for key in _COMMON}
            form = OutputForm(given.pop(FORM_PARAMETER, None) or OutputForm.TEXT)
            asked = given.pop("wide", False) if table else None
            wide = form is OutputForm.WIDE or asked if table else None
            if json:
                form = _one_form(form, as_json=given[json])
                given[json] = form.of_objects
            use_form(FormWanted(form, names, wide))

            async def body(settings: Settings) -> Any:
                return await function(settings, **given)

            raise typer.Exit(execute(common, body, worker=worker, part=part, interrupted=interrupted))

        added = {
            **({"wide": Wide} if table else {}),
            **({FORM_PARAMETER: _forms(names, table)} if json else {}),
        }
        defaults = {"wide": False, FORM_PARAMETER: None}
        shared = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(key), annotation=kind)
            for key, kind in (added | _COMMON).items()
        ]
        keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        entry.__signature__ = inspect.Signature([*keyword_only, *shared])  # type: ignore[attr-defined]
        entry.__annotations__ = {p.name: p.annotation for p in [*keyword_only, *shared]}
        context = {"ignore_unknown_options": unknown_options_are_arguments}
        group.command(name, context_settings=context)(entry)
        return entry

    return register


def _require_text(given: dict[str, Any], parameters: Sequence[inspect.Parameter]) -> None:
    """Checks that values of options are text. Paths are not: a file may have any bytes for its name.

    Raises:
        typer.BadParameter: a value has bytes that are not UTF-8, or, in a locale without UTF-8, not ASCII.
    """
    for name, value in given.items():
        if isinstance(value, str) and any("\ud800" <= each <= "\udfff" for each in value):
            arguments = {p.name for p in parameters if "ArgumentInfo" in repr(p.annotation)}
            what = name if name in arguments else f"--{name.replace('_', '-')}"
            raise typer.BadParameter(
                f"it is not UTF-8: {value!r}. In a locale without UTF-8, set LC_ALL=C.UTF-8.", param_hint=what
            )


def _forms(names: tuple[str, ...], table: bool) -> Any:
    """Returns the option for the form of a command's output."""
    wanted = [
        OutputForm.JSON,
        OutputForm.YAML,
        *([OutputForm.WIDE] if table else []),
        *([OutputForm.NAME] if names else []),
    ]
    choice: Any = cast("Any", StrEnum)("OneOfForms", {form.name: form.value for form in wanted})
    option = typer.Option("--output", "-o", help="Print it in this form instead of as text.")
    return Annotated[choice | None, option]


def _one_form(form: OutputForm, *, as_json: bool) -> OutputForm:
    if as_json and form not in {OutputForm.TEXT, OutputForm.JSON}:
        raise typer.BadParameter(
            f"it is {form}, and --json is given. Give one of both.", param_hint="--output"
        )
    return OutputForm.JSON if as_json else form


def execute(
    common: dict[str, Any],
    body: Callable[[Settings], Coroutine[Any, Any, Any]],
    *,
    worker: bool,
    part: str = AUDITOR,
    interrupted: str = RESUMES,
) -> int:
    """Runs a command's coroutine and returns its exit code. Ctrl-C, SIGTERM and SIGHUP cancel it, so that it can drain."""
    try:
        if worker:
            configure_logging(Settings.model_construct(), worker=True)  # until the settings are known
        _require_working_directory()
        file = None if worker else read_env_file()
        if file and file.warning:
            warn(file.warning)
        if not worker:
            warnings.showwarning = _show_warning
        settings = load_settings(file, **common)
        if settings.origin:
            note(settings.origin)
        settings.set_environment()
        configure_logging(settings, worker=worker)
        work = body(settings)
        result = uvloop.run(work if worker else _cancellable(work, interrupted))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe, as `| head` does
        drop_output()
        return ExitCode.OK
    except Exception as error:
        shown = explained(error, part=part)
        if worker and not sys.stdout.isatty():
            return write_exit(shown or unexpected(error))
        if shown is None:
            raise
        if isinstance(shown, OutputError):
            drop_output()
        print_error(shown)
        return shown.exit_code
    return result if isinstance(result, ExitCode) else ExitCode.OK


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Shows a warning of a library, such as one about a file of passwords, without the place in its code."""
    warn(re.sub(r"\w*Path\(('[^']*')\)", r"\1", str(message)))


def _require_working_directory() -> None:
    try:
        Path.cwd()
    except OSError as error:  # it was removed
        raise UsageError(
            f"The working directory can't be used: {error.strerror}.",
            hint="Start the command in another directory.",
        ) from None


async def _cancellable(work: Coroutine[Any, Any, Any], hint: str) -> Any:
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    interrupted = False

    def stop() -> None:
        nonlocal interrupted
        interrupted = True
        task.cancel()

    terminals = [number for number in (0, 1, 2) if os.isatty(number)]

    def hang_up() -> None:
        for number in terminals:  # each write would fail, also those that end the display
            os.dup2(nowhere, number)
        stop()

    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        loop.add_signal_handler(signal.SIGHUP, hang_up)
    try:
        return await task
    except asyncio.CancelledError:
        if interrupted:
            raise Interrupted("Interrupted.", hint=hint) from None
        raise
    finally:
        os.close(nowhere)
