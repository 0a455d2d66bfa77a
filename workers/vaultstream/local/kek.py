"""The file of key-encryption keys: when a new one may be made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from vaultstream.crypto.keyring import create_keyring
from vaultstream.errors import CustodyError, DatabaseError
from vaultstream.local.services import inspect_services, used_before
from vaultstream.settings import kek_file
from vaultstream.store.database import connect
from vaultstream.store.keys import kek_ids_in_use

if TYPE_CHECKING:
    from pathlib import Path

    from vaultstream.settings import Settings


@dataclass(frozen=True)
class NewKekFile:
    """A file that was created.

    Attributes:
        path: path of the file.
        kek_id: the key-encryption key in it.
        unchecked: why the database could not be asked for wrapped keys; None if that was not needed, or it answered.
    """

    path: Path
    kek_id: str
    unchecked: str | None = None


async def make_kek_file(settings: Settings, *, force: bool = False) -> NewKekFile:
    """Creates the file of key-encryption keys that the settings name, unless a lost file must be restored instead.

    Args:
        settings: name the file, the database and the data directory.
        force: create it even if keys are, or may be, wrapped by another file; they stay lost then.

    Raises:
        CustodyError: the file exists, it can't be written, or keys are, or may be, wrapped by another file.
    """
    path, unchecked = kek_file(settings), None
    if not force and not path.exists():
        used = settings.kek_file is None and used_before(settings.data_dir)
        in_use, unchecked = await _keks_in_use(settings, used=used)
        if why := refusal(in_use, used_folder=settings.data_dir if used else None):
            raise CustodyError(
                why,
                hint=f"Put the old file back at {path}, or give up the keys that it wrapped with --force.",
            )
    return NewKekFile(path, create_keyring(path).primary.kek_id, unchecked)


def refusal(in_use: set[str], *, used_folder: Path | None) -> str | None:
    """Returns why no new file may be created; None if it may.

    Args:
        in_use: key-encryption keys that wrapped keys of the database need.
        used_folder: the data directory, if services ran in it before and no other file is named.
    """
    if in_use:
        return f"Keys are wrapped by {', '.join(sorted(in_use))}, which a new file would not have."
    if used_folder is not None:
        return f"{used_folder} was used before: keys may be wrapped by a file that is no longer there."
    return None


async def _keks_in_use(settings: Settings, *, used: bool) -> tuple[set[str], str | None]:
    """Returns the key-encryption keys that the database needs, and why it could not be asked. Starts no database."""
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
    elif used and (running := inspect_services(settings.data_dir).postgres) is not None:
        url = running.url
    else:
        return set(), None
    try:
        async with connect(url) as connection:
            return await kek_ids_in_use(connection), None
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return set(), None  # the schema is not there yet
    except DatabaseError as error:
        return set(), error.message
