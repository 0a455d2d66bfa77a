"""Checks the settings of seals, witnesses and timestamps before a job runs by them: a worker only waits, or goes on without."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vaultstream.errors import UsageError, VaultStreamError
from vaultstream.sealing.posting import Address
from vaultstream.sealing.timestamp import TimestampAuthority
from vaultstream.sealing.witness import parse_witnesses
from vaultstream.settings import seals_dir

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultstream.settings import Settings


def require_usable_seals(settings: Settings) -> None:
    """Checks what people have set for seals, and for those who attest them. Asks nobody, and creates nothing.

    A folder that is missing is created later; one on a disk that is full or away is waited for.

    Raises:
        UsageError: a setting can't be used; its field is the variable.
    """
    _named("VAULTSTREAM_WITNESSES", lambda: parse_witnesses(settings.witnesses or ""))
    _named("VAULTSTREAM_TIMESTAMP_URL", lambda: settings.timestamp_url and Address(settings.timestamp_url))
    _named("VAULTSTREAM_TIMESTAMP_URL", lambda: TimestampAuthority.of(settings))
    _require_folder(settings)


def require_seal_key(settings: Settings) -> None:
    """Checks that the file of the seal key is there, if a setting names it.

    Raises:
        UsageError: it is not: jobs would be signed without a seal.
    """
    path = settings.seal_key_file
    if path is None:
        return
    try:
        path.stat()
    except OSError as error:
        what = (
            "does not exist" if isinstance(error, FileNotFoundError) else f"can't be read: {error.strerror}"
        )
        raise UsageError(
            f"VAULTSTREAM_SEAL_KEY_FILE names {path}, which {what}.",
            hint="Correct it, or unset it; `vaultstream seal-key create` creates the file, if nothing was sealed before.",
            field="VAULTSTREAM_SEAL_KEY_FILE",
        ) from None


def _named(setting: str, read: Callable[[], object]) -> None:
    try:
        read()
    except VaultStreamError as error:
        raise UsageError(
            f"{setting} can't be used. {error.message}" if setting not in error.message else error.message,
            hint=error.hint or f"Correct {setting} in the environment or in .env, or unset it.",
            field=setting,
        ) from None


def _require_folder(settings: Settings) -> None:
    path = place = seals_dir(settings)
    if not settings.seals_dir and not os.path.isdir(place.parent):  # noqa: PTH112 - as below
        return  # nothing wrong with seals: the data directory is judged by who opens it
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not os.path.isdir(place):  # noqa: PTH112 - that of Path raises where a folder may not be entered
        what = "VAULTSTREAM_SEALS_DIR names" if settings.seals_dir else "Copies of seals belong in"
        raise UsageError(
            f"{what} {path}, and {place} is not a folder.",
            hint="Set VAULTSTREAM_SEALS_DIR to a folder for copies of seals; it is created if it is missing.",
            field="VAULTSTREAM_SEALS_DIR",
        )
