"""Which connections NetworkPolicies allow, according to cyclonus, which knows Kubernetes's rules and not our chart."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from kube import binaries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from support.chart import Rendered

_VERDICT = re.compile(r"is allowed\?\s*\|\s*(true|false)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """A pod; with an empty namespace, an address outside the cluster."""

    name: str
    namespace: str
    labels: Mapping[str, str]

    def to_peer(self) -> dict[str, Any]:
        if not self.namespace:
            return {"IP": "203.0.113.9"}
        internal = {
            "PodLabels": dict(self.labels),
            "NamespaceLabels": {"kubernetes.io/metadata.name": self.namespace},
            "Namespace": self.namespace,
        }
        return {"Internal": internal, "IP": "10.0.0.1"}


@dataclass(frozen=True)
class Connection:
    """A TCP connection from one place to another."""

    source: Place
    target: Place
    port: int

    def to_traffic(self) -> dict[str, Any]:
        ends = {"Source": self.source.to_peer(), "Destination": self.target.to_peer()}
        return {**ends, "Protocol": "TCP", "ResolvedPort": self.port, "ResolvedPortName": ""}

    def __str__(self) -> str:
        return f"{self.source.name} > {self.target.name}:{self.port}"


def allowed(chart: Rendered, connections: Sequence[Connection], folder: Path) -> list[Connection]:
    """Returns the connections that the chart's NetworkPolicies allow at both ends."""
    policies = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList"}
    (folder / "policies.yaml").write_text(yaml.safe_dump({**policies, "items": chart.of("NetworkPolicy")}))
    (folder / "traffic.json").write_text(json.dumps([each.to_traffic() for each in connections]))
    program = binaries.find("cyclonus", pinned=True)
    assert program
    files = [f"--policy-path={folder / 'policies.yaml'}", f"--traffic-path={folder / 'traffic.json'}"]
    done = subprocess.run(
        [program, "analyze", "--mode=query-traffic", *files],
        capture_output=True,
        text=True,
        check=True,
    )
    verdicts = [found.lower() == "true" for found in _VERDICT.findall(done.stdout)]
    assert len(verdicts) == len(connections), done.stdout[-2000:] + done.stderr[-2000:]
    return [each for each, verdict in zip(connections, verdicts, strict=True) if verdict]
