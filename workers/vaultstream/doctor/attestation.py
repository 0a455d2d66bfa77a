"""Checks who attests checkpoints: the settings can be used, and the newest checkpoint of the installation's log is attested."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from vaultstream.crypto.seal_keys import load_seal_keys
from vaultstream.doctor.findings import Finding, failed_by, ok, warning
from vaultstream.errors import VaultStreamError
from vaultstream.sealing.attested import cosignature_of, timestamp_of
from vaultstream.sealing.timestamp import TimestampAuthority
from vaultstream.sealing.witness import parse_witnesses
from vaultstream.store.attestations import newest_attested
from vaultstream.store.logs import find_log

if TYPE_CHECKING:
    from pathlib import Path

    from vaultstream.settings import Settings
    from vaultstream.store.database import Connection

_CHECK = "attestation"


async def examine_attestation(connection: Connection, settings: Settings, seal_key: Path) -> list[Finding]:
    """Checks the witnesses and the authority of timestamps of the settings; nothing if there are none."""
    if not (settings.witnesses or settings.timestamp_url):
        return []
    try:
        witnesses = parse_witnesses(settings.witnesses or "")
        authority = TimestampAuthority.of(settings)
        origin = load_seal_keys(seal_key).origin
    except VaultStreamError as error:
        return [failed_by(_CHECK, error)]
    try:
        found = await find_log(connection, origin)
        newest = await newest_attested(connection, found) if found is not None else None
    except asyncpg.InsufficientPrivilegeError:
        return [ok(_CHECK, "Not checked: this user may not read who attests checkpoints.")]
    if newest is None:
        return [ok(_CHECK, f"The log {origin} has no checkpoint yet that witnesses could cosign.")]
    missing = [f"the witness {each.key.name}" for each in witnesses if cosignature_of(newest, each) is None]
    if authority is not None and timestamp_of(newest, authority) is None:
        missing.append(f"the authority of timestamps {authority.address.host}")
    if missing:
        return [
            warning(
                _CHECK,
                f"The newest checkpoint of the log {origin}, of {newest.size} entries, is not attested by {', '.join(missing)}.",
                "It is offered when a job runs. The log of its records worker says why it is not attested.",
            )
        ]
    return [ok(_CHECK, f"All who are asked attest the newest checkpoint of the log {origin}.")]
