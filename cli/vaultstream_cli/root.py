"""The application object. It knows what its commands are for, and loads their modules when they are asked for."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from vaultstream.version import __version__
from vaultstream_cli.main import load

SUMMARIES = {
    "quick-start": "Seed records, sign them all, verify every signature, and compare the runs by batch size.",
    "run": "Run SigningJobs to their end on this machine: those of a file, one after the other, or one that was created before.",
    "submit": "Create a SigningJob without working on it, as `kubectl apply` does; `vaultstream run JOB` signs its records.",
    "suspend": "Suspend a job, as spec.suspend does: its workers finish the batches in flight and exit, and `run` ends with exit code 0.",
    "resume": "Let a suspended job go on, as spec.suspend: false does.",
    "cancel": "Give up a job that has not ended: stop its workers, then delete it by its spec.deletionPolicy, as `kubectl delete` does.",
    "lint": "Check a file without a service and without changing anything: the YAML of SigningJobs, or records for `import`.",
    "import": "Load a file of records into a table, all or nothing.",
    "jobs": "List the jobs, oldest first.",
    "status": "Show a job's status: counts, lag, rate, keys, workers and services.",
    "explain": "Explain a job's number of signers: each decision with its rule, its formula filled in, and the limit that applied.",
    "dead": "List a job's dead letters: the records that could not be signed, with the reason for each.",
    "retry": "Put a job's dead letters back in the queue and sign them.",
    "verify": "Verify a job: every record is accounted for once, every signature is valid, no two leases of a key overlap.",
    "export": "Export a job's signatures, ordered by record.",
    "extract": "Extract one signature into files, and print the openssl command that verifies it.",
    "prove": "Write the proof that a record was signed in its batch, under its id and at its time, and that the job's log has the batch.",
    "log": "Show and verify the logs of what was signed and sealed, whose checkpoints the seal key signs.",
    "keys": "List, export, add, retire and revoke a job's keys; create and rotate the key-encryption key.",
    "kek": "Create key-encryption keys in a Kubernetes cluster.",
    "seal-key": "Create and rotate the seal key, which signs the checkpoints of logs.",
    "delete": "Delete a job permanently and free its name.",
    "audit-log": "Show who did what to a job: its creation, its suspensions, updates and retries, its keys' ends and rewraps, its exports and its deletion.",
    "accept-source": "Accept the relation that now has the name of a job's table as the one that the job signs.",
    "bench": "Compare the rate of a whole job with the limit: the rate at which the processor can sign if it does nothing else.",
    "simulate": "Predict how a job scales on Kubernetes, without a cluster: the operator's own decisions on a model of everything else.",
    "doctor": "Check the services, schema, streams, consumers, leases and keys; report problems and how to fix them.",
    "migrate": "Bring the database schema up to date in one transaction.",
    "completion": "Print the script with which a shell completes commands and options.",
    "debug": "Open psql, show streams and logs, and stop the embedded services.",
    "worker": "Run one worker of a job.",
    "operator": "Watch SigningJobs on Kubernetes and run them.",
}
"""What each command is for: the first sentence of its own help, so that `vaultstream --help` loads none of them."""


class Commands(TyperGroup):
    """The commands. Those whose modules are not loaded have a summary alone, until one of them is asked for."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        loaded = dict(self.commands)
        summaries = {name: TyperCommand(name, help=text) for name, text in SUMMARIES.items()}
        self.commands = {**summaries, **loaded}
        self._unloaded = set(summaries) - set(loaded)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in self._unloaded:
            load(args[0])
            self.commands[args[0]] = typer.main.get_group(app).commands[args[0]]
            self._unloaded.discard(args[0])
        return super().resolve_command(ctx, args)


EXIT_CODES = """
Exit codes: 0 done · 1 failed · 2 bad input · 3 ended with dead letters · 4 verification found a problem ·
5 a service is unreachable · 6 a private key can't be unwrapped · 130 interrupted (run again to resume).
"""

HELP = ["--help", "-h"]

COMPLETE_VARIABLE = "_VAULTSTREAM_COMPLETE"
"""Environment variable in which a shell's script asks for completions."""

app = typer.Typer(
    name="vaultstream",
    cls=Commands,
    help="Signs records in bulk, and proves it: one valid signature per record, one signer per key, whatever crashes.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": HELP},
)


def complete() -> None:
    """Prepares the application to answer a shell's script, see `COMPLETE_VARIABLE`."""
    from typer._completion_classes import completion_init  # noqa: PLC0415 - only shells need it

    completion_init()


def _show_version(wanted: bool) -> None:
    if wanted:
        from vaultstream_cli.output import print_line  # noqa: PLC0415 - `--help` does without

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
