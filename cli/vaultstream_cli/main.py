"""The entry point: loads the module of the requested command.

It loads no other module, and for `--help` none: a signer starts in half the time that it would need to also load the file formats of `import`, and a
pool starts many signers.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from vaultstream.descriptors import open_standard_descriptors, outlive_full_disk
from vaultstream.starting import leave, run_plain_worker, serve_early, skip_http_client

if TYPE_CHECKING:
    from types import TracebackType

COMMANDS = {
    "quick-start": "quick_start",
    "run": "run",
    "submit": "submit",
    "suspend": "suspend",
    "resume": "suspend",
    "cancel": "cancel",
    "lint": "lint",
    "import": "import_",
    "jobs": "jobs",
    "status": "status",
    "explain": "explain",
    "dead": "dead",
    "retry": "retry",
    "verify": "verify",
    "export": "export",
    "extract": "extract",
    "prove": "prove",
    "log": "log",
    "keys": "keys",
    "kek": "kek",
    "seal-key": "seal_key",
    "delete": "delete",
    "audit-log": "audit_log",
    "accept-source": "accept_source",
    "bench": "bench",
    "simulate": "simulate",
    "doctor": "doctor",
    "migrate": "migrate",
    "completion": "completion",
    "debug": "debug",
    "worker": "worker",
    "operator": "operator",
}
"""Maps each command to the module that registers it, in the order of `--help`."""

SERVING = {"worker", "operator"}
"""Commands that run until SIGTERM."""

INTERRUPTED = 130
"""Exit code, as in `vaultstream.errors`, which is not imported yet."""

KUBERNETES = {"kek", "operator", "seal-key"}
"""Commands that talk to a Kubernetes API server, by aiohttp."""


def load(command: str | None) -> None:
    """Loads the module of a command, or all modules if there is no such command."""
    for name in [command] if command in COMMANDS else COMMANDS:
        import_module(f"vaultstream_cli.commands.{COMMANDS[str(name)]}")


def escape_unknown_characters() -> None:
    r"""Lets both outputs escape a character that their encoding does not have, as in `\u2308`, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    from vaultstream_cli.output import print_traceback  # noqa: PLC0415 - `--help` does without

    print_traceback(kind, error, trace)


def interrupt_early(*, serving: bool) -> None:
    """Lets SIGTERM and SIGHUP end a command that is still loading as Ctrl-C does, unless they are ignored.

    Args:
        serving: whether the command has handlers of its own from the start.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for number in () if serving else (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)


def main() -> None:
    """Runs the `vaultstream` command."""
    open_standard_descriptors()
    outlive_full_disk()
    command = sys.argv[1] if len(sys.argv) > 1 else None
    try:
        interrupt_early(serving=command in SERVING)
        if command in SERVING:
            serve_early(operator=command == "operator")
            if command == "worker" and (worked := run_plain_worker(sys.argv[1:])) is not None:
                leave(worked)
        if command not in KUBERNETES:
            skip_http_client()
        from vaultstream.quick_imports import quick_imports  # noqa: PLC0415 - after the port is open

        with quick_imports():
            import typer  # noqa: PLC0415 - see above

            from vaultstream_cli.root import COMPLETE_VARIABLE, app, complete  # noqa: PLC0415 - see above

            escape_unknown_characters()
            sys.excepthook = _print_traceback
            if COMPLETE_VARIABLE in os.environ:
                complete()
            if command in COMMANDS:  # the application loads what else it needs
                load(command)
        try:
            code = app(prog_name="vaultstream", standalone_mode=False)
            sys.stdout.flush()
            sys.exit(code)
        except (OSError, SystemExit) as leaving:
            failed = leaving if isinstance(leaving, OSError) else leaving.__context__
            if not isinstance(failed, OSError):
                raise
            from vaultstream_cli.output import end_of_output  # noqa: PLC0415 - `--help` does without

            sys.exit(end_of_output(failed))
        except typer.TyperException as error:  # the arguments are wrong
            from vaultstream_cli.output import print_usage_error  # noqa: PLC0415 - `--help` does without

            print_usage_error(error, sys.argv[1:])
            sys.exit(error.exit_code)
    except KeyboardInterrupt:  # before the command installed its own handlers
        _end_early()


def _end_early() -> NoReturn:
    from vaultstream_cli.forms import OutputForm, form_of_arguments  # noqa: PLC0415 - `--help` does without

    wanted = form_of_arguments(sys.argv[1:], takes_form=True)
    # JSON is YAML too.
    as_json = '{"error": "Interrupted.", "field": null, "hint": null, "exit_code": 130}\n'
    with suppress(OSError):  # the terminal may be gone
        sys.stderr.write("error: Interrupted.\n" if wanted is OutputForm.TEXT else as_json)
        sys.stderr.flush()
    sys.exit(INTERRUPTED)
