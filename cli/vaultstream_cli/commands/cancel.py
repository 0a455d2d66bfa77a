"""`vaultstream cancel`."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultstream.errors import ExitCode, UsageError
from vaultstream.local.runner import require_ours
from vaultstream.local.running import CANCELED
from vaultstream.local.session import open_session
from vaultstream.local.submission import change_suspension, workers_left
from vaultstream.settings import Settings
from vaultstream.store.progress import read_job
from vaultstream_cli.app import Json, command
from vaultstream_cli.deleting import Policy, confirmed, delete_job_sealed, report_deleted
from vaultstream_cli.output import note
from vaultstream_cli.root import app


@command(
    app,
    "cancel",
    part="operator",
    names=("job",),
    interrupted="If the job was stopped, it is suspended: cancel it again, or `vaultstream resume` it.",
)
async def cancel(
    settings: Settings,
    *,
    job: Annotated[str, typer.Argument(help="Name of the job, or its token.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation prompt.")] = False,
    wait_seconds: Annotated[
        float,
        typer.Option(
            "--wait-seconds", min=0, help="How long to wait for its workers to finish their batches."
        ),
    ] = 60.0,
    json: Json = False,
) -> ExitCode:
    """Give up a job that has not ended: stop its workers, then delete it by its spec.deletionPolicy, as `kubectl delete` does.

    Its workers finish the batches in flight first. Retain keeps what was signed, under the job's token; Delete keeps nothing. Its
    private keys are destroyed. Asks like `delete`. Exits 1 if the answer is no, 2 if the job has ended, is one of Kubernetes or
    keeps its workers for longer than --wait-seconds.
    """
    async with open_session(settings, existing=True) as session:
        async with session.pool.acquire() as connection:
            snapshot = await read_job(connection, job)
        found = snapshot.job
        require_ours(found, f"kubectl delete signingjob {found.name}")
        if found.ended:
            raise UsageError(
                f"Job {found.name} has ended, so there is nothing to cancel.",
                hint=f"`vaultstream delete {found.name}` deletes it.",
            )
        policy = Policy(found.spec.deletion_policy)
        if not yes and not confirmed(found, policy, snapshot.progress.signed, verb="Cancel"):
            note("Nothing was canceled.")
            return ExitCode.FAILURE
        async with session.pool.acquire() as connection:
            await change_suspension(connection, found.token, suspended=True, why=CANCELED)
        if not await workers_left(session.pool, found, seconds=wait_seconds):
            raise UsageError(
                f"Job {found.name} has workers after {wait_seconds:g} s, so it was not canceled; it stays suspended.",
                hint=f"Cancel it again with a larger --wait-seconds, or `vaultstream resume {found.name}` lets it go on.",
            )
        async with session.pool.acquire() as connection:
            signed = (await read_job(connection, found.token)).progress.signed
        cleared = await delete_job_sealed(session, found, policy)
    report_deleted(found, policy, signed, cleared=cleared, as_json=json, done="canceled")
    return ExitCode.OK
