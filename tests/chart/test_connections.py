"""The NetworkPolicies permit exactly the wanted connections, according to an independent analyzer."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from support.chart import NAMESPACE, ROOT, Rendered, render
from support.connections import Connection, Place, allowed
from vaultstream_operator.core.children import Owner, labels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.unit

PORTS = (53, 80, 443, 4222, 5432, 6443, 8080, 8222)
TEAMS = ("team-a", "team-b")
WORKERS = tuple(f"{role} of {team}" for team in TEAMS for role in ("keys", "records", "signing"))
OWN = ("operator", "test", "kek", "postgres", "nats", *WORKERS)
OTHERS = ("outside", "stranger", "prometheus", "pretender", "dns", "their postgres", "their nats")


def own_pods(chart: Rendered) -> Iterator[Place]:
    for kind in ("Deployment", "StatefulSet", "Pod", "Job"):
        for manifest in chart.of(kind):
            template = manifest if kind == "Pod" else manifest["spec"]["template"]
            own = template["metadata"]["labels"]
            yield Place(own["app.kubernetes.io/component"], NAMESPACE, own)


def places(chart: Rendered, teams: tuple[str, ...] = TEAMS) -> dict[str, Place]:
    """Our pods, and others without policies of their own: only our policies restrict the connections between them."""
    signer = labels(Owner("team-a", "receipts", "0" * 36), "signing", "token")
    found = [
        *own_pods(chart),
        *(
            Place(f"{role} of {team}", team, labels(Owner(team, "receipts", "0" * 36), role, "token"))
            for team in teams
            for role in ("keys", "records", "signing")
        ),
        Place("outside", "", {}),
        Place("stranger", "team-a", {"app": "web"}),
        Place("prometheus", "monitoring", {"app": "prometheus"}),
        Place("pretender", "elsewhere", signer),
        Place("dns", "kube-system", {"k8s-app": "kube-dns"}),
        Place("their postgres", "postgres", {"cnpg.io/cluster": "signing"}),
        Place("their nats", "nats", {"app.kubernetes.io/name": "nats"}),
    ]
    return {place.name: place for place in found}


def permitted(chart: Rendered, folder: Path, teams: tuple[str, ...] = TEAMS) -> set[str]:
    """Returns every permitted connection from or to one of our pods."""
    pairs = permutations(places(chart, teams).values(), 2)
    asked = [
        Connection(source, target, port)
        for source, target in pairs
        for port in PORTS
        if {source.name, target.name} - set(OTHERS)
    ]
    return {str(connection) for connection in allowed(chart, asked, folder)}


def test_the_bundled_chart_permits_only_the_wanted_connections(tmp_path: Path) -> None:
    wanted = {
        *(f"{client} > postgres:5432" for client in ("operator", "test", *WORKERS)),
        *(f"{client} > nats:4222" for client in ("operator", "test", *WORKERS)),
        # The API server has an address, which no pod selector matches.
        *(
            f"{client} > {target}:{port}"
            for client in ("operator", "kek")
            for target in OTHERS
            for port in (443, 6443)
        ),
        *(f"{client} > dns:53" for client in ("operator", "test", *WORKERS)),
        *(f"{reader} > {target}:8080" for reader in OTHERS for target in ("operator", *WORKERS)),
    }
    found = permitted(render("--set", "jobNamespaces={team-a,team-b}"), tmp_path)
    assert sorted(found - wanted) == []
    assert sorted(wanted - found) == []


def test_production_values_permit_only_external_services_and_a_named_reader_of_metrics(
    tmp_path: Path,
) -> None:
    chart = render("--values", ROOT / "examples/production/vaultstream-values.yaml")
    clients = ("operator", "test", *WORKERS)
    wanted = {
        *(f"{client} > dns:53" for client in clients),
        *(f"{client} > their postgres:5432" for client in clients),
        *(f"{client} > their nats:4222" for client in clients),
        *(f"operator > {target}:{port}" for target in OTHERS for port in (443, 6443)),
        *(f"prometheus > {target}:8080" for target in ("operator", *WORKERS)),
    }
    found = permitted(chart, tmp_path)
    assert sorted(found - wanted) == []
    assert sorted(wanted - found) == []


def test_without_policies_every_connection_is_permitted(tmp_path: Path) -> None:
    """The analyzer can also permit a connection."""
    chart = render("--set", "jobNamespaces={team-a,team-b}", "--set", "networkPolicy.enabled=false")
    ours, all_places = len(OWN), len(OWN) + len(OTHERS)
    pairs = all_places * (all_places - 1) - len(OTHERS) * (len(OTHERS) - 1)
    assert ours == len(places(chart)) - len(OTHERS)
    assert len(permitted(chart, tmp_path)) == pairs * len(PORTS)
