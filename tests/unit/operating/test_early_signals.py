"""An operator that is asked to exit as soon as it answers its first probe."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from support.scraping import ask
from support.waiting import eventually

pytestmark = pytest.mark.unit

NOWHERE = "127.0.0.1:9"
KUBECONFIG = f"""
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "http://{NOWHERE}"}}}}]
users: [{{name: u, user: {{token: t}}}}]
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
current-context: c
"""


@pytest.mark.parametrize("lease", ["", "vaultstream/vaultstream-operator"])
async def test_from_its_first_answer_on_an_operator_exits_cleanly_and_is_not_ready_before_it_has_looked(
    tmp_path: Path, lease: str
) -> None:
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    own = {
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "DATABASE_URL": f"postgresql://u:p@{NOWHERE}/d",
        "VAULTSTREAM_NATS_URL": f"nats://{NOWHERE}",
        "VAULTSTREAM_OPERATOR_PORT": str(port),
        "VAULTSTREAM_LEASE": lease,
    }
    program = [sys.executable, "-m", "vaultstream_cli", "operator"]
    with subprocess.Popen(program, env=os.environ | own) as operator:  # noqa: ASYNC220 - it returns at once
        try:

            def serves() -> bool:
                with suppress(OSError):
                    return ask(port, "/livez").status == 200
                return False

            await eventually(serves, seconds=60)
            operator.send_signal(signal.SIGTERM)
            with suppress(OSError):  # it may have exited
                assert ask(port, "/readyz").status == 503
            assert operator.wait(60) == 0
        finally:
            operator.kill()
