"""`vaultstream delete`."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultstream.errors import ExitCode, UsageError
from vaultstream.local.deletion import require_idle
from vaultstream.local.runner import require_ours
from vaultstream.local.session import open_session
from vaultstream.settings import Settings
from vaultstream.store.progress import read_job
from vaultstream_cli.app import Json, command
from vaultstream_cli.deleting import Policy, confirmed, delete_job_sealed, report_deleted
from vaultstream_cli.output import note
from vaultstream_cli.root import app


@command(app, "delete", part="operator", names=("job",))
async def delete(
    settings: Settings,
    *,
    job: Annotated[str, typer.Argument(help="Name of the job, or its token.")],
    policy: Annotated[
        Policy | None,
        typer.Option(
            "--policy",
            help="Retain keeps signatures, dead letters, lease history and public keys; Delete keeps nothing. "
            "[default: the job's spec.deletionPolicy]",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation prompt.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Delete even while the job's workers are connected or NATS is unreachable."
        ),
    ] = False,
    json: Json = False,
) -> ExitCode:
    """Delete a job permanently and free its name. Its private keys are always deleted; source records are never deleted.

    On a terminal it asks first. Without a terminal, only the policy Delete needs --yes, because it can't be undone. What
    Retain keeps is found by the job's token, and `delete TOKEN --policy Delete` deletes it too.
    """
    async with open_session(settings, existing=True) as session:
        async with session.pool.acquire() as connection:
            snapshot = await read_job(connection, job)
            found, signed = snapshot.job, snapshot.progress.signed
            if found.deleted_at is None:
                require_ours(found, f"kubectl delete signingjob {found.name}")
            if not force:
                await require_idle(connection, found)
        chosen = policy or Policy(found.spec.deletion_policy)
        if found.deleted_at is not None and chosen is Policy.RETAIN:
            raise UsageError(
                f"Job {found.name} was already deleted, and its signatures were retained.",
                hint=f"`vaultstream delete {found.token} --policy Delete` deletes the signatures too.",
            )
        if not yes and not confirmed(found, chosen, signed):
            note("Nothing was deleted.")
            return ExitCode.FAILURE
        cleared = await delete_job_sealed(session, found, chosen, force=force)
    report_deleted(found, chosen, signed, cleared=cleared, as_json=json)
    return ExitCode.OK
