"""The application object, and the decorator that gives each command its settings, its event loop and its exit code."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import uvloop

from vaultstream.errors import ExitCode, Interrupted, OutputError
from vaultstream.exits import explained
from vaultstream.logs import configure_logging
from vaultstream.settings import Settings, load_settings
from vaultstream_cli.output import print_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

EXIT_CODES = """
Exit codes: 0 done · 1 failed · 2 bad input · 3 ended with dead letters · 4 verification found something ·
5 a service does not answer · 6 a private key can't be unwrapped · 130 interrupted (run again to resume).
"""

app = typer.Typer(
    name="vaultstream",
    help="Signs records in bulk, and proves it: one valid signature a record, one signer a key, whatever crashes.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _root() -> None:
    """Keeps the command's name a word of the line, also when the module of only one command is loaded."""


DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the embedded services. [default: .vaultstream]")
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="Postgres to use instead of the embedded one; prefer the variable DATABASE_URL for one with a password.",
    ),
]
NatsUrl = Annotated[
    str | None,
    typer.Option("--nats-url", help="NATS to use instead of the embedded one, as VAULTSTREAM_NATS_URL."),
]
KekFile = Annotated[
    Path | None,
    typer.Option(
        "--kek-file", help="File of the key-encryption keys, as VAULTSTREAM_KEK_FILE. [default: DATA_DIR/kek]"
    ),
]
JobName = Annotated[str, typer.Argument(help="Name of the job, or its token if it was deleted.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]

_COMMON: dict[str, Any] = {
    "data_dir": DataDir,
    "database_url": DatabaseUrl,
    "nats_url": NatsUrl,
    "kek_file": KekFile,
}


RESUMES = "Nothing is lost; run the same command again to go on."


def command(
    group: typer.Typer,
    name: str,
    *,
    worker: bool = False,
    interrupted: str = RESUMES,
    unknown_options_are_arguments: bool = False,
) -> Callable[[Callable[..., Awaitable[Any]]], Callable[..., None]]:
    """Registers an asynchronous function as a command.

    Its first parameter receives the Settings, read from the common options (which every command gets), the environment
    and `.env`. What it raises becomes a sentence on standard error and an exit code; what it returns, if it is an
    ExitCode, is the exit code.

    Args:
        group: the application, or a group of it.
        name: what the command is called.
        worker: whether the function handles Ctrl-C and SIGTERM itself.
        interrupted: the hint that is printed after Ctrl-C or SIGTERM.
        unknown_options_are_arguments: whether a word such as `-1` that is no option of the command is an argument.
    """

    def register(function: Callable[..., Awaitable[Any]]) -> Callable[..., None]:
        @wraps(function)
        def entry(**given: Any) -> None:
            common = {key: given.pop(key) for key in _COMMON}

            async def body(settings: Settings) -> Any:
                return await function(settings, **given)

            raise typer.Exit(execute(common, body, worker=worker, interrupted=interrupted))

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
    interrupted: str = RESUMES,
) -> int:
    """Runs a command's coroutine to its exit code; Ctrl-C and SIGTERM cancel it, so that it can drain."""
    try:
        settings = load_settings(**common)
        configure_logging(settings, worker=worker)
        work = body(settings)
        result = uvloop.run(work if worker else _cancellable(work, interrupted))
        sys.stdout.flush()
    except BrokenPipeError:  # as of `| head`: who reads has enough
        _drop_output()
        return ExitCode.FAILURE
    except Exception as error:
        told = explained(error)
        if told is None:
            raise
        if isinstance(told, OutputError):
            _drop_output()
        print_error(told)
        return told.exit_code
    return result if isinstance(result, ExitCode) else ExitCode.OK


def _drop_output() -> None:
    """Lets what standard output still holds go nowhere, so that Python does not fail over it at its end."""
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

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if interrupted:
            raise Interrupted("Interrupted.", hint=hint) from None
        raise
