"""The entry point: finds the module of the command that was asked for.

Only that module is loaded. A signer starts in half the time of one that loads every file format that `import` reads, and a
pool starts many.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module

from vaultstream.errors import ExitCode

COMMANDS = {
    "quick-start": "quick_start",
    "run": "run",
    "import": "import_",
    "jobs": "jobs",
    "status": "status",
    "dead": "dead",
    "retry": "retry",
    "verify": "verify",
    "export": "export",
    "extract": "extract",
    "keys": "keys",
    "kek": "kek",
    "delete": "delete",
    "bench": "bench",
    "doctor": "doctor",
    "migrate": "migrate",
    "debug": "debug",
    "worker": "worker",
    "operator": "operator",
}
"""From each command to the module that registers it, in the order of `--help`."""

SERVING = {"worker", "operator"}
"""Commands that run until SIGTERM."""


def load(command: str | None) -> None:
    """Loads the module of one command; of all, if there is no such command."""
    for name in [command] if command in COMMANDS else COMMANDS:
        import_module(f"vaultstream_cli.commands.{COMMANDS[str(name)]}")


def main() -> None:
    """Runs the `vaultstream` command."""
    command = sys.argv[1] if len(sys.argv) > 1 else None
    try:
        if command in SERVING:
            # The first process of a container is not even sent a signal that it has no handler for: one that is told to
            # leave while it starts would sign on, until SIGKILL takes its batches. So this comes before all that takes time.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        from vaultstream_cli.app import app  # noqa: PLC0415 - see above

        load(command)
        app(prog_name="vaultstream")
    except KeyboardInterrupt:  # before the command took over its signals
        sys.stderr.write("error: Interrupted.\n")
        sys.exit(ExitCode.INTERRUPTED)
