"""`vaultstream run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vaultstream.api import JobState
from vaultstream.api.loader import load_signing_jobs
from vaultstream.crypto.keyring import load_keyring
from vaultstream.errors import UsageError, VaultStreamError
from vaultstream.local.runner import require_ours
from vaultstream.local.session import open_session
from vaultstream.local.submission import submit_jobs
from vaultstream.settings import Settings
from vaultstream.store.jobs import get_job
from vaultstream.store.privileges import EVERY_PART
from vaultstream.store.roles import require_every_part
from vaultstream_cli.app import Json, command
from vaultstream_cli.input import interruptible
from vaultstream_cli.manifests import OptionalManifestFile, one_or_all
from vaultstream_cli.output import note, print_error, print_object
from vaultstream_cli.root import app
from vaultstream_cli.running import MaxSigners, run_and_show
from vaultstream_cli.summary import Summary, print_summary, require_all_signed

if TYPE_CHECKING:
    from vaultstream.local.session import Session
    from vaultstream.store.jobs import Job


@command(app, "run", part=EVERY_PART, names=("job",))
async def run(
    settings: Settings,
    *,
    job: Annotated[
        str | None, typer.Argument(help="Name of a job that is there: submitted, interrupted or resumed.")
    ] = None,
    file: OptionalManifestFile = None,
    max_signers: MaxSigners = None,
    json: Json = False,
) -> None:
    """Run SigningJobs to their end on this machine: those of a file, one after the other, or one that was created before.

    An interrupted job of the same name is resumed; one that has ended is only reported. Exits 0 if every record is signed, 3
    if some are dead letters. Ctrl-C drains: batches in flight are finished, then it exits 130. Of several jobs, each is run, and
    the first that is not all signed gives the exit code.
    """
    if (job is None) == (file is None):
        raise UsageError(
            "Give the file of a job with -f FILE, or the name of one that is there.", field="--file"
        )
    with interruptible():
        manifests = load_signing_jobs(file) if file else []
    async with open_session(settings, existing=job is not None, runs=True) as session:
        load_keyring(session.services.kek_file)  # without it, a job would be created that nobody can work on
        async with session.pool.acquire() as connection:
            if job is not None:
                jobs = [await get_job(connection, job)]
                if jobs[0].deleted_at:
                    raise UsageError(f"Job {jobs[0].name} was deleted, so it can't be run.")
                require_ours(jobs[0], f"kubectl edit signingjob {jobs[0].name}")
            else:
                await require_every_part(connection)  # as with the keys: no job that only waits
                submitted = await submit_jobs(connection, manifests)
                jobs = [each.job for each in submitted]
                for each in submitted:
                    if each.resumed:
                        note(
                            f"Job {each.job.name} was suspended and is resumed: spec.suspend is not set in {file}."
                        )
        annotations = [each.metadata.annotations for each in manifests] or [{}]
        summaries = [
            await _run(session, each, annotations=its, max_signers=max_signers, shown=not json)
            for each, its in zip(jobs, annotations, strict=True)
        ]
    if json:
        print_object(one_or_all([summary.to_json() for summary in summaries]))
    _require_each_signed(summaries)


async def _run(
    session: Session, job: Job, *, annotations: dict[str, str], max_signers: int | None, shown: bool
) -> Summary:
    if job.ended:
        note(f"Job {job.name} has already ended; `vaultstream delete {job.name}` frees its name.")
    summary = await run_and_show(session, job.token, max_signers=max_signers, annotations=annotations)
    if shown:
        print_summary(summary)
    if summary.job.state is JobState.SUSPENDED:
        note(
            f"Job {job.name} is suspended (spec.suspend); no workers are running. `vaultstream resume {job.name}` lets it go on."
        )
    return summary


def _require_each_signed(summaries: list[Summary]) -> None:
    """Raises the error of the first job that is not all signed; those of later ones are printed before."""
    errors = []
    for summary in summaries:
        try:
            if summary.job.state is not JobState.SUSPENDED:
                require_all_signed(summary)
        except VaultStreamError as error:
            errors.append(error)
    if errors:
        for later in errors[1:]:
            print_error(later)
        raise errors[0]
