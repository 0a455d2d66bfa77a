"""`vaultstream submit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaultstream.api import JobState
from vaultstream.api.loader import load_signing_jobs
from vaultstream.local.session import open_session
from vaultstream.local.submission import submit_jobs
from vaultstream.settings import Settings
from vaultstream_cli.app import Json, command
from vaultstream_cli.input import interruptible
from vaultstream_cli.manifests import ManifestFile, one_or_all
from vaultstream_cli.output import note, print_object
from vaultstream_cli.root import app

if TYPE_CHECKING:
    from vaultstream.local.submission import Submitted


@command(app, "submit", part="operator", names=("job",))
async def submit(settings: Settings, *, file: ManifestFile, json: Json = False) -> None:
    """Create a SigningJob without working on it, as `kubectl apply` does; `vaultstream run JOB` signs its records.

    Its table and columns are checked. A job of that name gets what changed in fields that can be changed. All jobs of a file are
    created, or none. Exits 0, or 2 if a job or its source is invalid.
    """
    with interruptible():
        manifests = load_signing_jobs(file)
    async with (
        open_session(settings, pool_size=1, nats=False) as session,
        session.pool.acquire() as connection,
    ):
        submitted = await submit_jobs(connection, manifests)
    if json:
        print_object(one_or_all([_to_json(each) for each in submitted]))
        return
    for each in submitted:
        note(_said(each))


def _to_json(submitted: Submitted) -> dict[str, Any]:
    job = submitted.job
    return {
        "job": job.name,
        "token": job.token,
        "state": str(job.state),
        "created": submitted.created,
        "resumed": submitted.resumed,
    }


def _said(submitted: Submitted) -> str:
    job = submitted.job
    if job.ended:
        return f"Job {job.name} has already ended; `vaultstream delete {job.name}` frees its name."
    what = "created" if submitted.created else "resumed" if submitted.resumed else "was there already"
    if job.state is JobState.SUSPENDED:
        return f"Job {job.name} {what}, suspended. `vaultstream resume {job.name}`, then `vaultstream run {job.name}` signs its records."
    if submitted.resumed:
        what += ", as spec.suspend is not set"
    return f"Job {job.name} {what}. `vaultstream run {job.name}` signs its records; `vaultstream cancel {job.name}` gives it up."
