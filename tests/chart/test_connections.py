"""The connections that the NetworkPolicies let through are those that are wanted, in the opinion of somebody else's analyser."""

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
OTHERS = ("outside", "stranger", "prometheus", "pretender")


def own_pods(chart: Rendered) -> Iterator[Place]:
    for kind in ("Deployment", "StatefulSet", "Pod", "Job"):
        for manifest in chart.of(kind):
            template = manifest if kind == "Pod" else manifest["spec"]["template"]
            own = template["metadata"]["labels"]
            yield Place(own["app.kubernetes.io/component"], NAMESPACE, own)


def places(chart: Rendered, teams: tuple[str, ...] = TEAMS) -> dict[str, Place]:
    """Our pods, and others: without policies of their own, whatever reaches them is for us to forbid."""
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
    ]
    return {place.name: place for place in found}


def let_through(chart: Rendered, folder: Path, teams: tuple[str, ...] = TEAMS) -> set[str]:
    """Every connection with one of our pods at an end that is allowed."""
    pairs = permutations(places(chart, teams).values(), 2)
    asked = [
        Connection(source, target, port)
        for source, target in pairs
        for port in PORTS
        if {source.name, target.name} - set(OTHERS)
    ]
    return {str(connection) for connection in allowed(chart, asked, folder)}


def test_the_bundled_chart_lets_through_what_is_wanted_and_nothing_else(tmp_path: Path) -> None:
    wanted = {
        *(f"{client} > postgres:5432" for client in ("operator", "test", *WORKERS)),
        *(f"{client} > nats:4222" for client in ("operator", "test", *WORKERS)),
        # The API server is at an address, which no selector of pods names.
        *(
            f"{client} > {target}:{port}"
            for client in ("operator", "kek")
            for target in OTHERS
            for port in (443, 6443)
        ),
        # Names are asked of whoever answers.
        *(f"{client} > {target}:53" for client in ("operator", "test", *WORKERS) for target in OTHERS),
        *(f"{reader} > {target}:8080" for reader in OTHERS for target in ("operator", *WORKERS)),
    }
    found = let_through(render("--set", "jobNamespaces={team-a,team-b}"), tmp_path)
    assert sorted(found - wanted) == []
    assert sorted(wanted - found) == []


def test_services_of_ones_own_and_a_named_reader_of_metrics_are_all_that_production_values_let_through(
    tmp_path: Path,
) -> None:
    chart = render("--values", ROOT / "examples/production/vaultstream-values.yaml")
    clients = ("operator", "test", *WORKERS)
    wanted = {
        *(
            f"{client} > {target}:{port}"
            for client in clients
            for target in OTHERS
            for port in (53, 4222, 5432)
        ),
        *(f"operator > {target}:{port}" for target in OTHERS for port in (443, 6443)),
        *(f"prometheus > {target}:8080" for target in ("operator", *WORKERS)),
    }
    found = let_through(chart, tmp_path)
    assert sorted(found - wanted) == []
    assert sorted(wanted - found) == []


def test_without_policies_everything_is_let_through(tmp_path: Path) -> None:
    """The analyser can say yes."""
    chart = render("--set", "jobNamespaces={team-a,team-b}", "--set", "networkPolicy.enabled=false")
    ours, all_places = len(OWN), len(OWN) + len(OTHERS)
    pairs = all_places * (all_places - 1) - len(OTHERS) * (len(OTHERS) - 1)
    assert ours == len(places(chart)) - len(OTHERS)
    assert len(let_through(chart, tmp_path)) == pairs * len(PORTS)
