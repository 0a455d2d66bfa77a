"""Checks jobs that have not ended: what they wait for, their leases and their keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.api import JobState
from vaultstream.doctor.findings import Finding, failed, ok, warning
from vaultstream.doctor.held_back import examine_held_back
from vaultstream.doctor.logins import examine_connect, examine_logins
from vaultstream.doctor.transactions import examine_transactions
from vaultstream.plurals import counted
from vaultstream.store.jobs import Job, list_jobs, read_stored_jobs, unreadable_spec
from vaultstream.store.progress import JobSnapshot, find_snapshot
from vaultstream.store.sessions import list_worker_sessions
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.errors import InvalidJobError
    from vaultstream.store.database import Connection
    from vaultstream.store.sessions import WorkerSession

LONGEST_SECONDS = 3600.0
"""The longest that a lease or a renewal of it may be asked for; see functions/lease_keys.sql."""
SHOWN = 3
"""Leases named one by one; of the rest, only the number is given."""


@dataclass(frozen=True)
class HeldLease:
    """A lease of a job that has not ended; `seconds_left` is negative if it has expired, `seconds_held` counts from its begin."""

    job_no: int
    job: str
    key_id: str
    holder: str
    seconds_left: float
    seconds_held: float = 0.0


@dataclass(frozen=True)
class KeysAhead:
    """Keys of a job whose leases begin in the future, up to so many seconds ahead."""

    job: str
    keys: int
    seconds: float


@dataclass(frozen=True)
class Suspects:
    """Pending batches of a job that are signed alone, because signers lost leases while they had them."""

    job: str
    batches: int
    records: int
    first: Sequence[int]
    """The first of them, by number."""
    error: str | None
    """Of the last attempt that one of them had alone."""


@dataclass(frozen=True)
class OpenJob(JobSnapshot):
    """A job that has not ended, with its counts and its connected workers."""

    workers: list[WorkerSession]


async def read_open_jobs(connection: Connection) -> list[OpenJob]:
    """Returns the jobs that have not ended."""
    sessions = await list_worker_sessions(connection)
    tokens = [job.token for job in await list_jobs(connection) if not job.ended]
    snapshots = [await find_snapshot(connection, token) for token in tokens]
    return [
        OpenJob(
            snapshot.job,
            snapshot.progress,
            snapshot.keys,
            snapshot.read_at,
            [session for session in sessions if session.job_no == snapshot.job.job_no],
        )
        for snapshot in snapshots
        if snapshot is not None and not snapshot.job.ended
    ]


async def examine_jobs(connection: Connection, open_jobs: Sequence[OpenJob]) -> list[Finding]:
    """Checks the jobs, their keys and leases."""
    jobs, invalid = await read_stored_jobs(connection, deleted=True)
    ended = [job for job in jobs if job.state is JobState.FAILED and job.deleted_at is None]
    leases = [HeldLease(**dict(row)) for row in await connection.fetch(query("list_held_leases"))]
    sessions = await list_worker_sessions(connection)
    return [
        *judge_specs(jobs, invalid),
        *judge_failed(ended),
        *(finding for open_job in open_jobs for finding in judge_job(open_job)),
        *judge_suspects([Suspects(**dict(row)) for row in await connection.fetch(query("list_suspects"))]),
        *judge_leases(leases, sessions),
        judge_bounds(leases),
        *await examine_transactions(connection),
        *await examine_held_back(connection),
        *await examine_logins(connection),
        *await examine_connect(connection),
        *judge_clock([KeysAhead(**dict(row)) for row in await connection.fetch(query("list_keys_ahead"))]),
    ]


def judge_specs(jobs: Sequence[Job], invalid: Sequence[InvalidJobError]) -> list[Finding]:
    """Returns a finding for each job whose spec can't be read, which no other finding is about, or only in part."""
    check = "specs of jobs"
    return [
        *(failed(check, error.message, error.hint) for error in invalid),
        *(
            failed(
                check,
                unreadable_spec(job.name, job.unreadable),
                "The job has ended: `verify` and exports read what is fixed, and the rest has its defaults. Find out who changed it: "
                f"`vaultstream audit-log {job.token}`.",
            )
            for job in jobs
            if job.unreadable
        ),
    ]


def judge_failed(ended: Sequence[Job]) -> list[Finding]:
    """Returns a finding for each job that has failed."""
    return [
        warning(
            f"job {job.name}",
            f"It failed: {job.message}",
            f"Run `vaultstream delete {job.name}` when you no longer need it.",
        )
        for job in ended
    ]


def judge_job(open_job: OpenJob) -> list[Finding]:
    """Returns what keeps a job from making progress, or one finding that it is well."""
    job, progress, keys = open_job.job, open_job.progress, open_job.keys
    check = f"job {job.name}"
    findings = []
    if job.message:
        findings.append(warning(check, f"It is {job.state} and waits: {job.message}"))
    if progress.batches_failing:
        batches = counted(progress.batches_failing, "batch", "batches")
        findings.append(
            warning(
                check,
                f"{batches} failed and will be tried again: {progress.last_error}",
                "When its attempts are used up, a batch is split, so that only the bad records become dead letters.",
            )
        )
    if keys.total and not keys.active:
        findings.append(
            failed(
                check,
                f"It has no active key ({counted(keys.total, 'key')} in total): it waits for one.",
                f"`vaultstream keys add {job.name} --count N`",
            )
        )
    if job.state is JobState.RUNNING and not open_job.workers:
        findings.append(
            warning(
                check,
                "It is Running, but none of its workers is connected.",
                "Run it again: it continues where it stopped.",
            )
        )
    return findings or [
        ok(check, f"It is {job.state}, {progress.settled:,} of {progress.records:,} records settled.")
    ]


def judge_leases(leases: Sequence[HeldLease], sessions: Sequence[WorkerSession]) -> list[Finding]:
    """Finds leases that expired and were not taken over, and leases whose holders are not connected."""
    findings = []
    expired = [lease for lease in leases if lease.seconds_left <= 0]
    if expired:
        findings.append(
            warning(
                "leases",
                f"{counted(len(expired), 'lease')} expired and {'was' if len(expired) == 1 else 'were'} not taken over: "
                f"{_names(expired)}. Their signers died or lost the connection.",
                "Run the job: its next signer takes over the keys.",
            )
        )
    orphaned = [
        lease
        for lease in leases
        if lease.seconds_left > 0 and not any(session.is_holder(lease.holder) for session in sessions)
    ]
    if orphaned:
        longest = max(lease.seconds_left for lease in orphaned)
        findings.append(
            warning(
                "leases",
                f"{counted(len(orphaned), 'key')} {'is' if len(orphaned) == 1 else 'are'} leased by signers that are not "
                f"connected: {_names(orphaned)}.",
                f"Nothing to do: all of them expire within {longest:.0f} s.",
            )
        )
    if findings:
        return findings
    if not leases:
        return [ok("leases", "No key is leased.")]
    return [ok("leases", f"{counted(len(leases), 'lease')} in force, each held by a connected signer.")]


def judge_bounds(leases: Sequence[HeldLease]) -> Finding:
    """Returns whether leases keep to their bounds: an hour for each request, a day in all."""
    check = "lease bounds"
    if beyond := [lease for lease in leases if lease.seconds_left > LONGEST_SECONDS + 1]:
        longest = max(lease.seconds_left for lease in beyond)
        return warning(
            check,
            f"{counted(len(beyond), 'lease')} last{'s' if len(beyond) == 1 else ''} for up to {longest:,.0f} s more, and nobody may ask "
            f"for more than {LONGEST_SECONDS:,.0f} s: {_names(beyond)}. Someone wrote that to the table, or the clock of Postgres was set back.",
            "Find out which. `vaultstream keys revoke` ends the lease of a key.",
        )
    if old := [lease for lease in leases if lease.seconds_left > 0 and lease.seconds_held > LONGEST_SECONDS]:
        longest = max(lease.seconds_held for lease in old)
        return warning(
            check,
            f"{counted(len(old), 'lease')} {'has' if len(old) == 1 else 'have'} been renewed for up to {longest:,.0f} s: {_names(old)}. "
            "A signer that keeps a key for as long as that signs a very large batch, or keeps it from others.",
            "Nothing to do if the batch is that large: no lease is renewed beyond a day. If the login is an intruder's, "
            "`vaultstream keys revoke` ends the lease.",
        )
    return ok(check, "No request for a lease lasts longer than 1 h, and no lease is renewed beyond 24 h.")


def judge_suspects(suspects: Sequence[Suspects]) -> list[Finding]:
    """Names the batches that are signed alone because they may be what ended their signers."""
    findings = []
    for each in suspects:
        more = f" and {each.batches - len(each.first):,} more" if each.batches > len(each.first) else ""
        numbers = f"{', '.join(f'{number:,}' for number in each.first)}{more}"
        last = f" The last attempt: {each.error}." if each.error else ""
        findings.append(
            warning(
                f"suspects of {each.job}",
                f"{counted(each.batches, 'batch', 'batches')} with {counted(each.records, 'record')} ({numbers}) lost the leases of "
                f"two or more signers, so each is signed alone.{last}",
                "If signers are killed, for example for lack of memory, see how their pods or processes ended. A batch that ends "
                "its signer again is split, until the record at fault is a dead letter.",
            )
        )
    return findings


def judge_clock(ahead: Sequence[KeysAhead]) -> list[Finding]:
    """Finds keys that a clock set back has left with leases in the future."""
    return [
        warning(
            "leases",
            f"{counted(each.keys, 'key')} of job {each.job} {'has its' if each.keys == 1 else 'have their'} present or next "
            f"lease up to {each.seconds:,.0f} s in the future: the clock of Postgres was set back. Signatures have the "
            "right time, but the lease history does not, and the keys of signers that die stay leased for that long.",
            f"Correct the clock. Then replace the keys: `vaultstream keys add {each.job} --count {each.keys}`, and retire them with "
            f"`vaultstream keys retire {each.job} KEY_ID`.",
        )
        for each in ahead
    ]


def _names(leases: Sequence[HeldLease]) -> str:
    named = ", ".join(f"{lease.key_id} (by {lease.holder})" for lease in leases[:SHOWN])
    return named if len(leases) <= SHOWN else f"{named} and {len(leases) - SHOWN:,} more"
