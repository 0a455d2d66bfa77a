"""The chart's release, managed by helm as users do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kube import binaries
from kube.commands import Output, run
from kube.images import NATS, POSTGRES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

CHART = ROOT / "charts/vaultstream"
NAME = "vaultstream"
_TIMEOUT = "5m"
"""Helm's own default timeout."""


def values(image: str, *, namespaces: list[str]) -> dict[str, Any]:
    """The values for the tests: the images built here, these namespaces, small enough for two cores."""

    def reference(name: str) -> dict[str, str]:
        repository, _, tag = name.rpartition(":")
        return {"repository": repository, "tag": tag}

    return {
        "image": reference(image),
        "jobNamespaces": namespaces,
        "workers": {"terminationGracePeriodSeconds": 30},
        "bundled": {
            "postgres": {"image": reference(POSTGRES.name), "persistence": {"size": "2Gi"}},
            "nats": {"image": reference(NATS.name)},
        },
    }


@dataclass(frozen=True)
class Release:
    """A release of the chart in an existing namespace."""

    kubeconfig: Path
    namespace: str

    async def upgrade(self, given: dict[str, Any], *, chart: Path = CHART, wait: bool = True) -> None:
        """Installs or upgrades the release."""
        options = ["--wait", "--timeout", _TIMEOUT] if wait else []
        await self.helm(
            "upgrade", "--install", NAME, chart, "--values", "-", *options, stdin=json.dumps(given)
        )

    async def rollback(self) -> None:
        """Rolls back to the previous revision."""
        await self.helm("rollback", NAME, "--wait", "--timeout", _TIMEOUT)

    async def uninstall(self) -> None:
        """Uninstalls the release; its pods may still be terminating."""
        await self.helm("uninstall", NAME, "--wait", "--timeout", _TIMEOUT)

    async def helm(self, *arguments: str | Path, stdin: str = "") -> Output:
        program = (await binaries.ensure(["helm"], pinned=True))["helm"]
        place = ("--kubeconfig", self.kubeconfig, "--namespace", self.namespace)
        return await run(program, *place, *arguments, stdin=stdin)
