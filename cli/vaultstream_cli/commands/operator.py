"""`vaultstream operator`: watches SigningJobs on Kubernetes and runs them."""

from __future__ import annotations

from vaultstream.settings import Settings
from vaultstream_cli.app import command
from vaultstream_cli.extras import require_operator
from vaultstream_cli.root import app


@command(app, "operator", worker=True, part="operator")
async def operator(_: Settings) -> None:
    """Watch SigningJobs on Kubernetes and run them. Settings come from the environment; SIGTERM stops it."""
    require_operator()
    from vaultstream_operator.main import run_operator  # noqa: PLC0415 - kopf is an extra
    from vaultstream_operator.settings import load_operator_settings  # noqa: PLC0415 - kopf is an extra

    await run_operator(load_operator_settings())
