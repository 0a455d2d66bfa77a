"""The application object, and the decorator that gives each command settings, an event loop and an exit code."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import signal
import sys
import warnings
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import uvloop

from vaultstream.env_file import read_env_file
from vaultstream.errors import ExitCode, Interrupted, OutputError, UsageError
from vaultstream.exits import explained
from vaultstream.last_words import unexpected, write_exit
from vaultstream.logs import configure_logging
from vaultstream.settings import Settings, load_settings
from vaultstream.store.privileges import AUDITOR
from vaultstream.version import __version__
from vaultstream_cli.output import note, print_error, print_line, warn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

EXIT_CODES = """
Exit codes: 0 done · 1 failed · 2 bad input · 3 ended with dead letters · 4 verification found a problem ·
5 a service is unreachable · 6 a private key can't be unwrapped · 130 interrupted (run again to resume).
"""

HELP = ["--help", "-h"]

app = typer.Typer(
    name="vaultstream",
    help="Signs records in bulk, and proves it: one valid signature per record, one signer per key, whatever crashes.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": HELP},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print_line(f"vaultstream {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Makes typer expect the name of a command even if only one command is loaded."""


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
Wide = Annotated[bool, typer.Option("--wide", help="Print all columns, also on a narrow terminal.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

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
        interrupted: the hint that is printed after Ctrl-C or SIGTERM.
        unknown_options_are_arguments: whether an unknown option such as `-1` is treated as an argument.
    """

    def register(function: Callable[..., Awaitable[Any]]) -> Callable[..., None]:
        @wraps(function)
        def entry(**given: Any) -> None:
            common = {key: given.pop(key) for key in _COMMON}

            async def body(settings: Settings) -> Any:
                return await function(settings, **given)

            raise typer.Exit(execute(common, body, worker=worker, part=part, interrupted=interrupted))

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        shared = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for key, kind in _COMMON.items()
        ]
        keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        entry.__signature__ = inspect.Signature([*keyword_only, *shared])  # type: ignore[attr-defined]
        entry.__annotations__ = {p.name: p.annotation for p in [*keyword_only, *shared]}
        context = {"ignore_unknown_options": unknown_options_are_arguments}
        group.command(name, context_settings=context)(entry)
        return entry

    return register


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
        _drop_output()
        return ExitCode.OK
    except Exception as error:
        shown = explained(error, part=part)
        if worker and not sys.stdout.isatty():
            return write_exit(shown or unexpected(error))
        if shown is None:
            raise
        if isinstance(shown, OutputError):
            _drop_output()
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


def _drop_output() -> None:
    """Discards buffered standard output, so that Python does not fail to flush it on exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


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
