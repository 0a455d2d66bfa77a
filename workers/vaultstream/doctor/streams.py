"""Checks NATS and JetStream: reachable, with the right streams, and in agreement with Postgres."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, cast

from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError
from nats.js.errors import ServiceUnavailableError as JetStreamUnavailableError

from vaultstream.api import JobState
from vaultstream.bus.answers import JETSTREAM_HINT, find_overlap, foreign_error, overlap_error
from vaultstream.bus.inspection import StreamState, list_streams
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.records import MAX_BATCH_MESSAGE_BYTES, ConsumerLag, RecordsStream
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM
from vaultstream.crypto.envelope import MAX_KEY_MESSAGE_BYTES
from vaultstream.doctor.findings import Finding, failed, ok, warning
from vaultstream.doctor.revocations import examine_stream_states
from vaultstream.errors import redact
from vaultstream.plurals import counted
from vaultstream.role import WorkerRole
from vaultstream.store.batches import count_pending_through
from vaultstream.store.jobs import find_job
from vaultstream.visible import visible

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence

    from nats.js.api import AccountInfo

    from vaultstream.bus.connection import Bus
    from vaultstream.doctor.jobs import OpenJob
    from vaultstream.store.database import Connection

OTHER_INSTALLATION = (
    "Leave it if another installation of VaultStream, with a database of its own, uses this NATS; give each installation a NATS "
    "account of its own."
)
NEARLY_FULL = 0.9
MAX_TOKENS = 3
"""Tokens of jobs that one finding names."""

_WANTED: dict[str, dict[str, object]] = {
    RECORDS_STREAM: {
        "subjects": ["records.>"],
        "retention": "workqueue",
        "storage": "file",
        "max_msg_size": MAX_BATCH_MESSAGE_BYTES,
    },
    KEYS_STREAM: {
        "subjects": ["keys.>"],
        "retention": "limits",
        "storage": "file",
        "max_msgs_per_subject": 1,
        "max_msg_size": MAX_KEY_MESSAGE_BYTES,
    },
}


async def examine_bus(bus: Bus, url: str) -> tuple[list[Finding], list[StreamState] | None]:
    """Checks NATS alone; also returns the streams, None if there is no JetStream."""
    try:
        account = await bus.answer(bus.jetstream.account_info())
    except (NotFoundError, JetStreamUnavailableError):
        return [
            failed(
                "NATS",
                f"It answers at {redact(url)}, but without JetStream for this account.",
                JETSTREAM_HINT,
            )
        ], None
    return [
        ok("NATS", f"It answers at {redact(url)}, with JetStream."),
        judge_storage(account),
    ], await list_streams(bus)


def judge_storage(account: AccountInfo) -> Finding:
    """Checks that JetStream has storage left."""
    used, limit = account.storage, account.limits.max_storage
    if limit is not None and limit > 0:
        text = f"{used / 1024**2:,.1f} of {limit / 1024**2:,.0f} MiB are used."
        if used > NEARLY_FULL * limit:
            return warning("JetStream storage", text, "Raise the account's max_storage.")
        return ok("JetStream storage", text)
    return ok("JetStream storage", f"{used / 1024**2:,.1f} MiB are used; the account has no limit.")


def judge_stream(
    name: str,
    stream: StreamState | None,
    *,
    wanted_now: bool,
    replicas: int = 1,
    tenant: str | None = None,
    overlapping: Sequence[str] = (),
) -> Finding:
    """Compares a stream with its required configuration.

    Args:
        name: the stream's name.
        stream: its state; None if it is missing.
        wanted_now: whether workers that should have created it are connected.
        replicas: the number of replicas that it must have, at least.
        tenant: in whose account it is, or should be.
        overlapping: streams of others that have some of its subjects.
    """
    check = f"stream {name}" if tenant is None else f"stream {name} of tenant {tenant}"
    if stream is None:
        return _missing(check, name, wanted_now=wanted_now, overlapping=overlapping)
    differing = [
        f"{field} is {getattr(stream, field)} instead of {value}"
        for field, value in _WANTED[name].items()
        if getattr(stream, field) != value
    ]
    differing += [f"configuration has {field}" for field in stream.foreign]
    if differing:
        foreign = foreign_error(name, stream.subjects, cast("list[str]", _WANTED[name]["subjects"]))
        return failed(
            check,
            f"Its {'; its '.join(differing)}.",
            (foreign and foreign.hint)
            or f"Remove it (`nats stream rm {name}`): workers create it again from Postgres.",
        )
    if stream.replicas < replicas:
        return warning(
            check,
            f"It has {counted(stream.replicas, 'replica')}, and VAULTSTREAM_NATS_REPLICAS asks for {replicas}.",
            "Run a job with that setting: its workers add replicas.",
        )
    if stream.limits:
        named = ", ".join(f"{limit} = {value:g}" for limit, value in stream.limits.items())
        return warning(
            check,
            f"It has limits that drop messages: {named}.",
            "Remove the limits. Dropped messages are published again from Postgres, which costs time.",
        )
    return ok(check, f"It is configured correctly and has {counted(stream.messages, 'message')}.")


def _missing(check: str, name: str, *, wanted_now: bool, overlapping: Sequence[str]) -> Finding:
    if overlapping:
        error = overlap_error(name, overlapping)
        return failed(check, error.message, error.hint or "")
    if wanted_now:
        return warning(
            check, "It is missing.", "The workers create it again within a second or two; check again."
        )
    return ok(check, "It does not exist yet; the first worker of a job creates it.")


async def examine_streams(
    connection: Connection, bus: Bus, streams: Sequence[StreamState], open_jobs: Sequence[OpenJob]
) -> list[Finding]:
    """Compares streams and consumers with the jobs in Postgres.

    Args:
        connection: to Postgres.
        bus: a connection of the auditor, or of a user who may do everything.
        streams: those of the bus's own account.
        open_jobs: all jobs that have not ended, of all tenants.
    """
    findings: list[Finding] = []
    for tenant in sorted({open_job.job.tenant or "" for open_job in open_jobs} | {""}):
        jobs = [open_job for open_job in open_jobs if (open_job.job.tenant or "") == tenant]
        try:
            found = await list_streams(bus, tenant) if tenant else streams
            findings += await _examine_account(
                connection, bus.of_tenant(tenant or None), found, jobs, tenant or None
            )
        except (NoRespondersError, JetStreamUnavailableError):
            findings.append(
                failed(
                    f"NATS account of tenant {tenant}",
                    "This user's account does not import its JetStream.",
                    "Add the tenant's account and its imports to nats-server's configuration; see docs/production.md.",
                )
            )
    return findings


async def _examine_account(
    connection: Connection,
    bus: Bus,
    streams: Sequence[StreamState],
    open_jobs: Sequence[OpenJob],
    tenant: str | None,
) -> list[Finding]:
    present = {stream.name: stream for stream in streams}
    wanted_now = any(open_job.workers for open_job in open_jobs)
    findings = [
        judge_stream(
            name,
            present.get(name),
            wanted_now=wanted_now,
            replicas=bus.replicas,
            tenant=tenant,
            overlapping=[] if name in present else await find_overlap(bus, subjects, except_for=name),
        )
        for name, subjects in ((RECORDS_STREAM, ["records.>"]), (KEYS_STREAM, ["keys.>"]))
    ]
    running = [open_job for open_job in open_jobs if open_job.job.state is JobState.RUNNING]
    for open_job in running:
        if RECORDS_STREAM in present:
            findings.append(await _consumer(connection, bus, open_job))
        if KEYS_STREAM in present:
            held = await KeysStream(bus).count(open_job.job.token)
            findings.append(judge_keys_stream(open_job, held))
            findings += await examine_stream_states(connection, bus, open_job)
    if RECORDS_STREAM in present:
        findings += await _left_over(connection, present[RECORDS_STREAM])
    if KEYS_STREAM in present:
        findings += await _keys_of_nobody(connection, await KeysStream(bus).counts())
    return findings


async def _consumer(connection: Connection, bus: Bus, open_job: OpenJob) -> Finding:
    # Read the lag first: between the two reads, the number of pending batches can only decrease.
    lag = await RecordsStream(bus).lag(open_job.job.token)
    pending = await count_pending_through(connection, open_job.job.job_no, open_job.job.published_through)
    return judge_consumer(open_job, lag, pending)


def judge_consumer(open_job: OpenJob, lag: ConsumerLag | None, pending: int) -> Finding:
    """Compares a running job's consumer with the pending batches that were published to JetStream."""
    check = f"consumer of {open_job.job.name}"
    manned = any(worker.role == WorkerRole.RECORDS for worker in open_job.workers)
    remedy = (
        "The records worker repairs it within a second or two; check again."
        if manned
        else "Run the job: its records worker repairs it."
    )
    if lag is None:
        return warning(check, "It is missing: signers get no batches.", remedy)
    if lag.total < pending:
        lost = counted(pending - lag.total, "batch", "batches")
        return warning(check, f"JetStream has lost {lost} that Postgres has as pending.", remedy)
    return ok(
        check,
        f"Its lag is {counted(lag.total, 'batch', 'batches')}; Postgres has {pending:,} of them as pending.",
    )


def judge_keys_stream(open_job: OpenJob, held: int) -> Finding:
    """Compares the keys of a running job in the stream with those in Postgres."""
    check = f"keys of {open_job.job.name}"
    total = open_job.keys.total
    if held > total:
        return warning(
            check,
            f"The stream has {counted(held - total, 'key')} more than the {total:,} of the job.",
            f"Signers ignore them, and they fill the stream. Find out who publishes them; then remove them: {purge(open_job.job.token)}",
        )
    if held < total:
        return warning(
            check,
            f"The stream is incomplete: it has {held:,} of {counted(total, 'key')}.",
            "Signers read the rest from Postgres; a keys worker publishes them again.",
        )
    return ok(check, f"The stream is complete: it has {counted(total, 'key')}.")


def purge(token: str) -> str:
    """Returns the command that removes the messages about a job's keys."""
    return f"nats stream purge {KEYS_STREAM} --subject {shlex.quote(f'keys.{visible(token)}.>')}"


async def _keys_of_nobody(connection: Connection, counts: Counter[str]) -> list[Finding]:
    """Finds messages under tokens of no open job. Anybody who may publish keys can make as many tokens as he likes."""
    ended, unknown = {}, {}
    for token, number in counts.items():
        job = await find_job(connection, token)
        if job is None:
            unknown[token] = number
        elif job.ended:
            ended[token] = number
    check, findings = f"stream {KEYS_STREAM}", []
    if ended:
        what = f"It has {counted(sum(ended.values()), 'message')} about keys of ended jobs: {_named(ended)}."
        findings.append(
            warning(
                check, what, f"They are harmless, and fill the stream. To remove them: {purge(min(ended))}"
            )
        )
    if unknown:
        what = f"It has {counted(sum(unknown.values()), 'message')} about keys of no job of this database: {_named(unknown)}."
        findings.append(warning(check, what, OTHER_INSTALLATION))
    return findings


def _named(tokens: Mapping[str, int]) -> str:
    named = ", ".join(visible(token) for token in sorted(tokens)[:MAX_TOKENS])
    return named + (f" and {len(tokens) - MAX_TOKENS:,} more" if len(tokens) > MAX_TOKENS else "")


async def _left_over(connection: Connection, stream: StreamState) -> list[Finding]:
    findings = []
    for consumer in stream.consumers:
        job = await find_job(connection, consumer.name)
        check, remove = f"consumer {consumer.name}", f"`nats consumer rm {stream.name} {consumer.name}`"
        if job is None and not consumer.foreign:
            findings.append(
                warning(check, "It does not belong to a job of this database.", OTHER_INSTALLATION)
            )
        elif consumer.foreign:
            if job is None:
                remove = f"{remove}, unless another installation has made it"
            what = f"Its {', '.join(consumer.foreign)} {'is' if len(consumer.foreign) == 1 else 'are'} not what VaultStream sets."
            findings.append(
                failed(
                    check, what, f"Remove it: {remove}. The records worker of an open job creates it again."
                )
            )
        elif job is not None and job.ended:
            findings.append(
                warning(check, "It does not belong to an open job.", f"It is harmless; {remove} removes it.")
            )
    return findings
