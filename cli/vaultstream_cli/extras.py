"""Optional dependencies that an installation may lack."""

from __future__ import annotations

from importlib.util import find_spec

from vaultstream.errors import MissingExtraError

_OPERATOR = ("kopf", "kubernetes")


def require_operator() -> None:
    """Checks that the packages for Kubernetes are installed.

    Raises:
        MissingExtraError: some are missing; the hint is the command that installs them.
    """
    if missing := [name for name in _OPERATOR if find_spec(name) is None]:
        raise MissingExtraError("This command", *missing, extra="operator")
