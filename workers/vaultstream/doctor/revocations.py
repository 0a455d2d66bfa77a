"""Compares revoked keys in Postgres with the file of revocations and with the stream of keys: a restored backup revives keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.bus.keys import KeysStream, reused_by, revived_by
from vaultstream.crypto.revocations import load_revocations
from vaultstream.doctor.findings import Finding, failed, failed_by, ok, warning
from vaultstream.errors import BusError, CustodyError
from vaultstream.plurals import counted
from vaultstream.store.jobs import list_jobs
from vaultstream.store.keys import list_keys, list_public_keys, list_revived

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vaultstream.bus.connection import Bus
    from vaultstream.crypto.revocations import Revocations
    from vaultstream.doctor.jobs import OpenJob
    from vaultstream.store.database import Connection

_CHECK = "revocations"
_SHOWN = 3
"""Keys that are named; of the rest, only the number is given."""


async def examine_revocations(connection: Connection, path: Path) -> list[Finding]:
    """Checks the file of revocations, and that Postgres agrees with it."""
    try:
        revocations = load_revocations(path)
    except CustodyError as error:
        return [failed_by(_CHECK, error)]
    findings = []
    unrecorded = 0
    for job in await list_jobs(connection):
        revived = await list_revived(connection, job.job_no, revocations)
        if revived:
            findings.append(judge_revived(job.name, revived, path))
        unrecorded += await _count_unrecorded(connection, job.job_no, revocations)
    return [*findings, judge_file(path, len(revocations.entries), unrecorded, revived=bool(findings))]


async def _count_unrecorded(connection: Connection, job_no: int, revocations: Revocations) -> int:
    revoked = [key.key_id for key in await list_keys(connection, job_no) if key.state == "revoked"]
    if not revoked:
        return 0
    public_keys = await list_public_keys(connection, job_no)
    return sum(revocations.find(key_id, public_keys[key_id]) is None for key_id in revoked)


def judge_revived(job: str, key_ids: Sequence[str], path: Path) -> Finding:
    """Returns the finding for keys that the file names and Postgres does not have as revoked."""
    return failed(
        f"revocations of {job}",
        f"{path} has {_named(key_ids)} as revoked, and Postgres has not: a backup from before the revocation was restored.",
        f"No signer uses them. Run the job: its keys worker revokes them again; or `vaultstream keys revoke {job} {key_ids[0]}`.",
    )


def judge_file(path: Path, entries: int, unrecorded: int, *, revived: bool) -> Finding:
    """Returns the finding about the file itself; `unrecorded`: revoked keys in Postgres that it does not name."""
    if unrecorded:
        return warning(
            _CHECK,
            f"{counted(unrecorded, 'revoked key')} {'is' if unrecorded == 1 else 'are'} not in {path}: restoring a backup could "
            "make them active again unnoticed.",
            "Run `vaultstream keys revoke JOB KEY_ID` for them again, or set VAULTSTREAM_REVOCATIONS_FILE to the file that has them.",
        )
    if not entries:
        return ok(_CHECK, "No key was revoked.")
    agreed = "" if revived else "; Postgres agrees"
    return ok(_CHECK, f"{path} has {counted(entries, 'revoked key')}{agreed}.")


async def examine_stream_states(connection: Connection, bus: Bus, open_job: OpenJob) -> list[Finding]:
    """Compares the states of a running job's keys in the stream with Postgres; nothing if this user may not read messages."""
    states = {key.key_id: key.state for key in await list_keys(connection, open_job.job.job_no)}
    try:
        told = await KeysStream(bus).states(open_job.job.token, states)
    except BusError:
        return []
    return judge_stream_states(open_job.job.name, told, states)


def judge_stream_states(job: str, told: Mapping[str, str], states: Mapping[str, str]) -> list[Finding]:
    """Finds keys that the stream has as revoked, or as retired, and Postgres has not."""
    findings = []
    if reused := reused_by(told, states):
        findings.append(
            warning(
                f"retired keys of {job}",
                f"The stream of keys has {_named(reused)} as retired, and Postgres has not: a backup from before that was restored, "
                "and the key signs again.",
                f"`vaultstream keys retire {job} {' '.join(reused[:_SHOWN])}` if it is not to sign any more.",
            )
        )
    if revived := revived_by(told, states):
        findings.append(
            failed(
                f"revocations of {job}",
                f"The stream of keys has {_named(revived)} as revoked, and Postgres has not: a backup from before the revocation "
                "was restored, or someone forged the messages.",
                f"`vaultstream keys revoke {job} {revived[0]}`; if it was never revoked, remove its message with "
                "`nats stream purge --subject`, and the keys worker publishes it again.",
            )
        )
    return findings


def _named(key_ids: Sequence[str]) -> str:
    named = ", ".join(key_ids[:_SHOWN])
    more = f" and {len(key_ids) - _SHOWN:,} more" if len(key_ids) > _SHOWN else ""
    return f"{'key' if len(key_ids) == 1 else 'keys'} {named}{more}"
