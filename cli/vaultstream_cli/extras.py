"""What an installation may lack: the packages of an extra."""

from __future__ import annotations

from importlib.util import find_spec

from vaultstream.errors import UsageError

_OPERATOR = ("kopf", "kubernetes")


def require_operator() -> None:
    """Makes sure that the packages are there which talk to Kubernetes.

    Raises:
        UsageError: some are not; says how to install them.
    """
    if missing := [name for name in _OPERATOR if find_spec(name) is None]:
        raise UsageError(
            f"This needs {' and '.join(missing)}, which this installation lacks.",
            hint="pip install 'vaultstream[operator]'",
        )
