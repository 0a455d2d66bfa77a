"""`vaultstream operator`: watches SigningJobs on Kubernetes, and makes them happen."""

from __future__ import annotations

from importlib.util import find_spec

from vaultstream.errors import UsageError
from vaultstream.settings import Settings
from vaultstream_cli.app import app, command

NEEDED = ("kopf", "kubernetes")


@command(app, "operator", worker=True)
async def operator(_: Settings) -> None:
    """Watch SigningJobs on Kubernetes and run them. Settings come from the environment; SIGTERM ends it."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UsageError(
            f"The operator needs {' and '.join(missing)}, which this installation lacks.",
            hint="pip install 'vaultstream[operator]'",
        )
    from vaultstream_operator.main import run_operator  # noqa: PLC0415 - kopf is not for everyone
    from vaultstream_operator.settings import load_operator_settings  # noqa: PLC0415 - likewise

    await run_operator(load_operator_settings())
