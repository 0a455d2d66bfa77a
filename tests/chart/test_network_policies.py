"""What the NetworkPolicies permit, computed pod by pod: a cluster that does not enforce them would not show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml

from support.chart import CHART, NAMESPACE, ROOT, Manifest, Rendered, render
from vaultstream_operator.core.children import Owner, labels

pytestmark = pytest.mark.unit

POSTGRES, NATS, METRICS, API = 5432, 4222, 8080, 6443
PORTS = {"postgres": POSTGRES, "nats": NATS, "operator": METRICS}


@dataclass(frozen=True)
class Pod:
    """A pod, or something outside the cluster if the namespace is empty."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    address: str = "198.51.100.7"


OUTSIDE = Pod("outside", "", {})
STRANGER = Pod("stranger", "team-a", {"app": "web"})
PROMETHEUS = Pod("prometheus", "monitoring", {"app": "prometheus"})


def template_pod(manifest: Manifest) -> Pod:
    template = manifest if manifest["kind"] == "Pod" else manifest["spec"]["template"]
    return Pod(
        template["metadata"]["labels"]["app.kubernetes.io/component"],
        NAMESPACE,
        template["metadata"]["labels"],
    )


def worker(namespace: str, role: str) -> Pod:
    return Pod(role, namespace, labels(Owner(namespace, "receipts", "0" * 36), role, "token"))


def selects(selector: Mapping[str, Any] | None, own: Mapping[str, str]) -> bool:
    """Whether a label selector matches; an empty one matches everything."""
    selector = selector or {}
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] == "In"
        if own.get(expression["key"]) not in expression["values"]:
            return False
    return all(own.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def is_peer(peer: Mapping[str, Any], pod: Pod, namespace: str) -> bool:
    assert peer.keys() <= {"podSelector", "namespaceSelector", "ipBlock"}
    if "ipBlock" in peer:
        return not pod.namespace and ip_address(pod.address) in ip_network(peer["ipBlock"]["cidr"])
    if not pod.namespace:
        return False
    if "namespaceSelector" in peer:
        there = selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": pod.namespace})
    else:
        there = pod.namespace == namespace
    return there and selects(peer.get("podSelector"), pod.labels)


def permits(policies: list[Manifest], way: str, own: Pod, other: Pod, port: int) -> bool:
    """Whether `own` may be reached from (ingress) or reach (egress) `other`; without a policy on `own`, it may."""
    field, peers = ("ingress", "from") if way == "Ingress" else ("egress", "to")
    mine = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == own.namespace
        and selects(policy["spec"]["podSelector"], own.labels)
        and way in policy["spec"]["policyTypes"]
    ]
    if not mine:
        return True
    return any(
        (not rule.get(peers) or any(is_peer(peer, other, own.namespace) for peer in rule[peers]))
        and (not rule.get("ports") or port in {each["port"] for each in rule["ports"]})
        for policy in mine
        for rule in policy["spec"].get(field) or ()
    )


def reaches(chart: Rendered, source: Pod, target: Pod, port: int) -> bool:
    policies = chart.of("NetworkPolicy")
    leaves = not source.namespace or permits(policies, "Egress", source, target, port)
    arrives = not target.namespace or permits(policies, "Ingress", target, source, port)
    return leaves and arrives


@pytest.fixture(scope="module")
def chart() -> Rendered:
    return render("--set", "jobNamespaces={team-a,team-b}")


@pytest.fixture(scope="module")
def pods(chart: Rendered) -> dict[str, Pod]:
    own = [
        template_pod(manifest)
        for kind in ("Deployment", "StatefulSet", "Pod", "Job")
        for manifest in chart.of(kind)
    ]
    return {pod.name: pod for pod in own}


def test_workers_and_the_operator_reach_both_services(chart: Rendered, pods: dict[str, Pod]) -> None:
    clients = [pods["operator"], pods["test"]]
    clients += [
        worker(team, role) for team in ("team-a", "team-b") for role in ("keys", "records", "signing")
    ]
    for client in clients:
        assert reaches(chart, client, pods["postgres"], POSTGRES), client
        assert reaches(chart, client, pods["nats"], NATS), client


def test_the_job_that_creates_the_demo_records_reaches_postgres(
    chart: Rendered, pods: dict[str, Pod]
) -> None:
    job = yaml.safe_load((ROOT / "hack/kube/demo-records.yaml").read_text())
    assert reaches(chart, template_pod(job), pods["postgres"], POSTGRES)


def test_no_other_client_reaches_the_services(chart: Rendered, pods: dict[str, Pod]) -> None:
    pretender = Pod("pretender", "elsewhere", worker("team-a", "signing").labels)
    for client in (OUTSIDE, STRANGER, PROMETHEUS, pretender):
        assert not reaches(chart, client, pods["postgres"], POSTGRES), client
        assert not reaches(chart, client, pods["nats"], NATS), client
    assert not reaches(chart, pods["operator"], pods["nats"], 8222)  # its monitoring port


def test_the_services_reach_nothing(chart: Rendered, pods: dict[str, Pod]) -> None:
    for server in (pods["postgres"], pods["nats"]):
        for target in (OUTSIDE, STRANGER, pods["operator"], worker("team-a", "keys")):
            assert not reaches(chart, server, target, 443), (server, target)
            assert not reaches(chart, server, target, METRICS), (server, target)
    assert not reaches(chart, pods["nats"], pods["postgres"], POSTGRES)


def test_only_the_operator_and_the_key_hook_reach_the_api_server(
    chart: Rendered, pods: dict[str, Pod]
) -> None:
    for name, pod in pods.items():
        assert reaches(chart, pod, OUTSIDE, API) is (name in {"operator", "kek"}), name
    for role in ("keys", "records", "signing"):
        assert not reaches(chart, worker("team-a", role), OUTSIDE, API)
        assert not reaches(chart, worker("team-a", role), OUTSIDE, 443)


def test_the_key_hook_reaches_nothing_else(chart: Rendered, pods: dict[str, Pod]) -> None:
    for target, port in ((pods["postgres"], POSTGRES), (pods["nats"], NATS), (OUTSIDE, 80)):
        assert not reaches(chart, pods["kek"], target, port), target
    for source in (STRANGER, pods["operator"], worker("team-a", "signing")):
        assert not reaches(chart, source, pods["kek"], METRICS), source


def test_workers_reach_neither_each_other_nor_other_pods(chart: Rendered) -> None:
    signer = worker("team-a", "signing")
    for target in (worker("team-b", "signing"), STRANGER, OUTSIDE):
        for port in (80, 443, METRICS, POSTGRES):
            assert not reaches(chart, signer, target, port), (target, port)


def test_only_readers_named_in_the_values_reach_metrics(chart: Rendered, pods: dict[str, Pod]) -> None:
    assert reaches(chart, PROMETHEUS, pods["operator"], METRICS)
    assert reaches(chart, PROMETHEUS, worker("team-a", "signing"), METRICS)
    named = "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=monitoring"
    narrow = render("--set", "jobNamespaces={team-a}", "--set", named)
    assert reaches(narrow, PROMETHEUS, worker("team-a", "signing"), METRICS)
    assert not reaches(narrow, STRANGER, worker("team-a", "signing"), METRICS)
    assert not reaches(narrow, STRANGER, pods["operator"], METRICS)


def test_external_services_are_reached_on_their_ports() -> None:
    values = CHART / "ci" / "external-values.yaml"
    chart = render("--values", values, "--set", "external.postgresPorts={6432}")
    signer = worker("team-a", "signing")
    postgres, nats = Pod("postgres", "", {}, "192.0.2.10"), Pod("nats", "", {}, "192.0.2.20")
    assert reaches(chart, signer, postgres, 6432)
    assert reaches(chart, signer, nats, NATS)
    for target in (postgres, nats, OUTSIDE, STRANGER):
        for port in (POSTGRES, 443):
            assert not reaches(chart, signer, target, port), (target, port)
    for port in (53, NATS, 6432):
        assert not reaches(chart, signer, OUTSIDE, port), port
    assert not reaches(chart, signer, postgres, NATS)
    assert not reaches(chart, signer, nats, 6432)


def test_the_api_server_is_reached_where_the_values_say_it_is(pods: dict[str, Pod]) -> None:
    chart = render("--set", "networkPolicy.apiServerTo[0].ipBlock.cidr=192.0.2.1/32")
    server = Pod("api", "", {}, "192.0.2.1")
    for name in ("operator", "kek"):
        assert reaches(chart, pods[name], server, API), name
        assert not reaches(chart, pods[name], OUTSIDE, API), name


def test_names_are_resolved_by_the_dns_servers_of_the_values(chart: Rendered) -> None:
    signer = worker("team-a", "signing")
    coredns = Pod("coredns", "kube-system", {"k8s-app": "kube-dns"})
    assert reaches(chart, signer, coredns, 53)
    for other in (OUTSIDE, STRANGER, Pod("other", "kube-system", {"k8s-app": "other"})):
        assert not reaches(chart, signer, other, 53), other
    cache = "networkPolicy.dnsTo=null", "networkPolicy.dnsPorts={5353}"
    anywhere = render(
        "--set", "jobNamespaces={team-a}", *(word for each in cache for word in ("--set", each))
    )
    assert reaches(anywhere, signer, OUTSIDE, 5353)
    assert not reaches(anywhere, signer, OUTSIDE, 53)
