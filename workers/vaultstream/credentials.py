"""Credentials that rotate: the files of a mounted Secret, read again at each connect."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vaultstream.errors import UsageError

if TYPE_CHECKING:
    from vaultstream.settings import Settings

log = logging.getLogger(__name__)

SECRET_VARIABLE: Final = "VAULTSTREAM_CREDENTIALS_SECRET"  # noqa: S105 - the name of a variable
"""Name of the Secret that the folder of credentials is mounted from. It is only shown."""

DATABASE_FILE: Final = "database-url"
SOURCE_DATABASE_FILE: Final = "source-database-url"
NATS_URL: Final = "nats-url"
NATS_USER: Final = "nats-user"
NATS_PASSWORD: Final = "nats-password"  # noqa: S105 - the name of a file
NATS_CREDS: Final = "nats-creds"
NATS_NKEY: Final = "nats-nkey"
CERTIFICATE: Final = "tls.crt"
CERTIFICATE_KEY: Final = "tls.key"

_FILES: Final = {
    "DATABASE_URL": DATABASE_FILE,
    "VAULTSTREAM_SOURCE_DATABASE_URL": SOURCE_DATABASE_FILE,
    "VAULTSTREAM_NATS_URL": NATS_URL,
    "VAULTSTREAM_NATS_USER": NATS_USER,
    "VAULTSTREAM_NATS_PASSWORD": NATS_PASSWORD,
}
"""The file of each variable."""

UrlSource = str | Callable[[], str]
"""A connection string, or what returns it as it is now."""


def url_now(url: UrlSource) -> str:
    """Returns the connection string as it is now."""
    return url if isinstance(url, str) else url()


@dataclass(frozen=True)
class CredentialFiles:
    """The files of a folder, each with one credential. A file that is missing, empty or unreadable is not there.

    Args:
        folder: where they are; None: there are none.
    """

    folder: Path | None

    def text(self, name: str, otherwise: str = "") -> str:
        """Returns the text of a file, without white space around it; `otherwise` if it is not there."""
        if self.folder is None:
            return otherwise
        try:
            return (self.folder / name).read_text("utf-8").strip() or otherwise
        except FileNotFoundError:
            return otherwise
        except (OSError, UnicodeError) as error:
            log.warning("the credential %s can't be read: %s", name, type(error).__name__)
            return otherwise

    def path(self, name: str) -> Path | None:
        """Returns the path of a file, None if it is not there."""
        if self.folder is None or not (self.folder / name).is_file():
            return None
        return self.folder / name


NO_FILES: Final = CredentialFiles(None)


def require_credentials_dir(settings: Settings) -> None:
    """Checks that the folder of credentials is there, if a setting names one.

    Raises:
        UsageError: it is not: the credentials of variables would be used in their place.
    """
    folder = settings.credentials_dir
    if folder is not None and not os.path.isdir(folder):  # noqa: PTH112 - that of Path raises where a folder may not be entered
        raise UsageError(
            f"VAULTSTREAM_CREDENTIALS_DIR names {folder}, which is not a folder.",
            hint="Correct it, or unset it to use the variables.",
            field="VAULTSTREAM_CREDENTIALS_DIR",
        )


def current_database_url(settings: Settings) -> UrlSource:
    """Returns the connection string of Postgres, as it is at each connect.

    Raises:
        UsageError: there is none.
    """
    files = CredentialFiles(settings.credentials_dir)
    given = settings.database_url.get_secret_value() if settings.database_url else files.text(DATABASE_FILE)
    if not given:
        raise UsageError("A worker needs DATABASE_URL.")
    return partial(files.text, DATABASE_FILE, given) if files.folder else given


def current_source_url(settings: Settings) -> UrlSource | None:
    """Returns the connection string by which records are read, as it is at each connect; None: that of Postgres."""
    files, given = CredentialFiles(settings.credentials_dir), settings.source_database_url
    text = given.get_secret_value() if given else files.text(SOURCE_DATABASE_FILE)
    if not text:
        return None
    return partial(files.text, SOURCE_DATABASE_FILE, text) if files.folder else text


def where_to_correct(*variables: str, otherwise: str) -> str:
    """Returns where a person corrects these variables: in a Secret if they were mounted from one; else `otherwise`."""
    secret = os.environ.get(SECRET_VARIABLE)
    if not secret:
        return otherwise
    keys = [_FILES[variable] for variable in variables]
    return (
        f"Correct {' and '.join(keys)} in the Secret {secret}: "
        "it is read again at each attempt, within two minutes after a change."
    )
