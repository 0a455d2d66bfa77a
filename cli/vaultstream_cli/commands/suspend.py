"""`vaultstream suspend` and `vaultstream resume`."""

from __future__ import annotations

from vaultstream.local.session import open_session
from vaultstream.local.submission import change_suspension
from vaultstream.settings import Settings
from vaultstream_cli.app import JobName, Json, command
from vaultstream_cli.output import note, print_object
from vaultstream_cli.root import app


@command(app, "suspend", part="operator", names=("job",))
async def suspend(settings: Settings, *, job: JobName, json: Json = False) -> None:
    """Suspend a job, as spec.suspend does: its workers finish the batches in flight and exit, and `run` ends with exit code 0.

    Suspending a suspended job changes nothing. Exits 2 if the job has ended, or is one of Kubernetes.
    """
    await _change(settings, job, suspended=True, as_json=json)


@command(app, "resume", part="operator", names=("job",))
async def resume(settings: Settings, *, job: JobName, json: Json = False) -> None:
    """Let a suspended job go on, as spec.suspend: false does. No worker is started: `vaultstream run JOB` goes on with it.

    Resuming a job that is not suspended changes nothing. Exits 2 if the job has ended, or is one of Kubernetes.
    """
    await _change(settings, job, suspended=False, as_json=json)


async def _change(settings: Settings, name: str, *, suspended: bool, as_json: bool) -> None:
    async with (
        open_session(settings, pool_size=1, existing=True, nats=False) as session,
        session.pool.acquire() as connection,
    ):
        job, changed = await change_suspension(connection, name, suspended=suspended)
    if as_json:
        print_object({"job": job.name, "token": job.token, "state": str(job.state), "changed": changed})
    elif suspended:
        note(
            f"Job {job.name} {'' if changed else 'was '}suspended{'' if changed else ' before'}. "
            f"`vaultstream resume {job.name}` lets it go on."
        )
    else:
        note(
            f"Job {job.name} {'resumed' if changed else 'is not suspended'}. `vaultstream run {job.name}` goes on with it."
        )
