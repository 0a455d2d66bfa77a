"""Checks the seal key, the folder of copies, that Postgres continues what is in it, and that jobs that have ended are sealed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vaultstream.audit.seals.sealed_logs import rollback
from vaultstream.crypto.seal_keys import load_seal_keys
from vaultstream.doctor.findings import Finding, failed, failed_by, ok, warning
from vaultstream.errors import CustodyError, ProofError
from vaultstream.plurals import counted
from vaultstream.proof.checkpoint import unverified_checkpoint
from vaultstream.sealing.folder import CHECKPOINT, read_copy
from vaultstream.store.logs import find_log, leaf_hashes
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vaultstream.store.database import Connection

KEY_CHECK = "seal key"
FOLDER_CHECK = "copies of seals"
JOBS_CHECK = "seals of jobs"
KEPT_CHECK = "kept checkpoints"
_SHOWN = 3
"""Jobs that are named; of the rest, only the number is given."""


async def examine_seals(
    connection: Connection, key_file: Path, folder: Path, *, unborn: bool
) -> list[Finding]:
    """Checks what seals need, and which jobs have none.

    Args:
        connection: to a database with our schema.
        key_file: path of the file of the seal key.
        folder: where copies are written.
        unborn: whether a missing key will be created by itself.
    """
    seals = await connection.fetchval(query("may_seal"))
    findings = examine_seal_files(key_file, folder, seals=seals, unborn=unborn)
    if await connection.fetchval(query("may_read_seals")):
        names = [row["name"] for row in await connection.fetch(query("list_unsealed"))]
        findings.append(judge_unsealed(names))
        findings += await examine_kept(connection, folder)
    return findings


async def examine_kept(connection: Connection, folder: Path) -> list[Finding]:
    """Checks that the logs of seals in Postgres continue the checkpoints that lie in the folder of copies.

    No signature is verified: sealers refuse a log that does not continue such a file, and a file that no seal key has signed.
    """
    faults, unknown = [], []
    paths = _kept_checkpoints(folder)
    for path in paths:
        try:
            head = unverified_checkpoint(read_copy(path) or b"")
            log = await find_log(connection, head.origin)
            if log is None:
                unknown.append(head.origin)
                continue
            leaves = await leaf_hashes(connection, log, last=min(log.size, head.size))
            if fault := rollback(head, leaves):
                faults.append(f"{path}: {fault}")
        except (OSError, ProofError) as error:
            faults.append(f"{path}: {error}")
    return judge_kept(folder, len(paths), faults, unknown)


def _kept_checkpoints(folder: Path) -> list[Path]:
    own = folder / CHECKPOINT
    return [*([own] if own.exists() else []), *sorted(folder.glob(f"tenants/*/{CHECKPOINT}"))]


def judge_kept(
    folder: Path, compared: int, faults: Sequence[str], unknown: Sequence[str] = ()
) -> list[Finding]:
    """Returns the findings about the kept checkpoints; none if nothing was kept.

    Args:
        folder: of copies.
        compared: how many checkpoints it has.
        faults: why Postgres does not continue some of them.
        unknown: the origins of logs of which Postgres has nothing: before its first seal, the database may be another one.
    """
    hint = (
        f"If you restored a backup, move {folder} aside, and keep it: it shows what is missing. If nobody did, ask who changed the "
        "database. Another database needs a seal key and a folder of its own (VAULTSTREAM_SEAL_KEY_FILE, VAULTSTREAM_SEALS_DIR)."
    )
    findings = []
    if faults:
        told = f"Postgres was rolled back, or is another database, so no job is sealed: {'; '.join(faults)}."
        findings.append(failed(KEPT_CHECK, told, hint))
    if unknown:
        told = f"Postgres has nothing of logs that {folder} has checkpoints of, so they can't be continued: {', '.join(unknown)}."
        findings.append(warning(KEPT_CHECK, told, hint))
    if findings or not compared:
        return findings
    return [ok(KEPT_CHECK, f"Postgres continues the logs that {folder} has checkpoints of.")]


def examine_seal_files(path: Path, folder: Path, *, seals: bool, unborn: bool = False) -> list[Finding]:
    """Checks the file of the seal key, and if there is one, the folder of copies.

    Args:
        path: of the file.
        folder: of copies.
        seals: whether this login may seal jobs. Without it, the file need not be here.
        unborn: whether the file will be created by itself.
    """
    if path.exists():
        try:
            keys = load_seal_keys(path)
        except CustodyError as error:
            return [failed_by(KEY_CHECK, error)]
        former = f" and {counted(len(keys.former), 'former key')}" if keys.former else ""
        found = ok(KEY_CHECK, f"{path} has the key of the log {keys.origin}{former}.")
        return [found, examine_folder(folder)]
    if unborn:
        return [ok(KEY_CHECK, f"{path} does not exist yet; the first command that needs it creates it.")]
    if not seals:
        return [ok(KEY_CHECK, "Not checked: this user may not seal jobs, and needs no seal key.")]
    return [
        warning(
            KEY_CHECK,
            f"There is no seal key at {path}, so jobs are signed and not sealed.",
            "Set VAULTSTREAM_SEAL_KEY_FILE to its file, or `vaultstream seal-key create` if there never was one.",
        )
    ]


def examine_folder(path: Path) -> Finding:
    """Checks that copies of plans, seals and checkpoints can be written."""
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return warning(
            FOLDER_CHECK,
            f"No copy of a seal can be written to {path}: {place} is not a folder that this user may write.",
            "Make it writable, or set VAULTSTREAM_SEALS_DIR to another folder. Without copies, a database that was rolled back is "
            "noticed only by those who kept a checkpoint.",
        )
    return ok(FOLDER_CHECK, f"{path} {'can be written' if place == path else 'does not exist yet'}.")


def judge_unsealed(names: Sequence[str]) -> Finding:
    """Returns the finding about complete jobs that are not sealed as complete."""
    if not names:
        return ok(JOBS_CHECK, "Postgres has a seal of each complete job; `vaultstream verify` checks it.")
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return warning(
        JOBS_CHECK,
        f"{counted(len(names), 'complete job')} {'is' if len(names) == 1 else 'are'} not sealed: {', '.join(names[:_SHOWN])}{more}. "
        "Nothing outside of Postgres says how many records were signed.",
        "`vaultstream log seal JOB` seals what Postgres has now.",
    )
