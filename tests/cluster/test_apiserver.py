"""The API server for tests is a real one: it keeps its objects and its port, enforces RBAC, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import pytest

from kube.apiserver import ApiServer
from kube.client import RefusedError
from kube.daemons import Daemon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
START_SECONDS = 15.0


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """A server that a test may restart and kill."""
    async with ApiServer(tmp_path / "own") as server:
        yield server


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def create_config_map(server: ApiServer, namespace: str, name: str, **data: str) -> None:
    await server.client.call("POST", f"/api/v1/namespaces/{namespace}/configmaps", config_map(name, **data))


async def read_config_map(server: ApiServer, namespace: str, name: str) -> dict[str, str]:
    found = await server.client.call("GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}")
    return dict(found["data"])


def crd(group: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {"size": {"type": "integer", "minimum": 1}},
            }
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }


def widget(group: str, size: int) -> str:
    document = {
        "apiVersion": f"{group}/v1",
        "kind": "Widget",
        "metadata": {"name": "one"},
        "spec": {"size": size},
    }
    return json.dumps(document)


async def test_it_is_up_within_seconds(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    started = time.monotonic()
    async with ApiServer(tmp_path / "timed") as server:
        seconds = time.monotonic() - started
        assert await server.client.is_ready()
    record_property("start_seconds", round(seconds, 2))
    assert seconds < START_SECONDS


async def test_kubectl_creates_a_custom_resource_and_bad_ones_are_refused(
    api_server: ApiServer, namespace: str
) -> None:
    group = f"{namespace}.example.org"
    await api_server.kubectl("apply", "-f", "-", stdin=json.dumps(crd(group)))
    await api_server.kubectl("wait", "--for=condition=Established", f"crd/widgets.{group}", "--timeout=30s")
    await api_server.kubectl("apply", "-n", namespace, "-f", "-", stdin=widget(group, 3))
    size = await api_server.kubectl(
        "get", f"widgets.{group}", "one", "-n", namespace, "-o", "jsonpath={.spec.size}"
    )
    assert size.stdout == "3"

    refused = await api_server.kubectl(
        "apply", "-n", namespace, "-f", "-", stdin=widget(group, 0), check=False
    )
    assert refused.status != 0
    assert "spec.size" in refused.stderr
    await api_server.kubectl("delete", f"crd/widgets.{group}")


async def test_controllers_create_the_pods_of_a_deployment(api_server: ApiServer, namespace: str) -> None:
    await api_server.kubectl(
        "create", "deployment", "web", "-n", namespace, "--image=localhost/none:none", "--replicas=2"
    )
    await api_server.kubectl(
        "wait", "deployment/web", "-n", namespace, "--for=jsonpath={.status.replicas}=2", "--timeout=30s"
    )
    pods = await api_server.kubectl("get", "pods", "-n", namespace, "-o", "name")
    assert len(pods.stdout.split()) == 2


async def test_a_service_account_may_do_only_what_rbac_grants(api_server: ApiServer, namespace: str) -> None:
    await api_server.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    config = await api_server.service_account_kubeconfig(namespace, "reader")
    who = await api_server.kubectl("auth", "whoami", "-o", "json", config=config)
    user = json.loads(who.stdout)["status"]["userInfo"]["username"]
    assert user == f"system:serviceaccount:{namespace}:reader"

    denied = await api_server.kubectl("get", "configmaps", config=config, check=False)
    assert denied.status != 0
    assert "forbidden" in denied.stderr.lower()

    await api_server.kubectl(
        "create", "role", "read", "-n", namespace, "--verb=list", "--resource=configmaps"
    )
    await api_server.kubectl(
        "create",
        "rolebinding",
        "read",
        "-n",
        namespace,
        "--role=read",
        f"--serviceaccount={namespace}:reader",
    )
    assert (await api_server.kubectl("get", "configmaps", config=config)).stdout
    secrets = await api_server.kubectl("get", "secrets", config=config, check=False)
    assert "forbidden" in secrets.stderr.lower()
    elsewhere = await api_server.kubectl("get", "configmaps", "-n", "default", config=config, check=False)
    assert "forbidden" in elsewhere.stderr.lower()


async def test_only_a_user_in_system_masters_may_do_everything(api_server: ApiServer) -> None:
    nobody = api_server.user_kubeconfig("somebody", groups=["guests"])
    assert (await api_server.kubectl("get", "nodes", config=nobody, check=False)).status != 0
    admin = api_server.user_kubeconfig("somebody", groups=["system:masters"])
    assert (await api_server.kubectl("get", "nodes", config=admin, check=False)).status == 0


async def test_no_token_is_issued_for_an_unknown_service_account(
    api_server: ApiServer, namespace: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        await api_server.service_account_kubeconfig(namespace, "nobody")
    assert refused.value.status == 404


async def test_etcd_refuses_clients_without_a_certificate(own_server: ApiServer) -> None:
    etcd = json.loads((own_server.directory / "ports.json").read_text())["etcd"]
    probe = await asyncio.to_thread(
        subprocess.run, ["curl", "-sk", f"https://127.0.0.1:{etcd}/version"], capture_output=True, check=False
    )
    assert probe.returncode != 0


async def test_a_restart_keeps_port_and_objects(own_server: ApiServer) -> None:
    url, before = own_server.url, own_server.pids()
    await create_config_map(own_server, "default", "kept", key="value")
    await own_server.restart()
    after = own_server.pids()
    assert own_server.url == url
    assert after["kube-apiserver"] != before["kube-apiserver"]
    assert after["etcd"] == before["etcd"]
    assert await read_config_map(own_server, "default", "kept") == {"key": "value"}


async def test_it_restarts_after_kill_9_with_the_same_port_and_objects(own_server: ApiServer) -> None:
    url = own_server.url
    await create_config_map(own_server, "default", "kept", key="value")
    await own_server.kill()
    assert own_server.pids()["kube-apiserver"] is None
    assert not await own_server.client.is_ready()
    await own_server.start()
    assert own_server.url == url
    assert await read_config_map(own_server, "default", "kept") == {"key": "value"}


async def test_it_restarts_after_all_its_processes_were_killed(own_server: ApiServer) -> None:
    await create_config_map(own_server, "default", "kept", key="value")
    killed = [psutil.Process(pid) for pid in own_server.pids().values()]
    assert len(killed) == 3
    for process in killed:
        process.kill()
    psutil.wait_procs(killed, timeout=10)
    await own_server.start()
    assert all(own_server.pids().values())
    assert await read_config_map(own_server, "default", "kept") == {"key": "value"}


async def test_another_process_adopts_a_server_that_runs(own_server: ApiServer) -> None:
    other = ApiServer(own_server.directory)
    await other.start()
    assert other.pids() == own_server.pids()


async def test_two_servers_at_the_same_time_are_independent(tmp_path: Path, api_server: ApiServer) -> None:
    async with asyncio.TaskGroup() as group:
        one, two = ApiServer(tmp_path / "one"), ApiServer(tmp_path / "two")
        starts = [group.create_task(server.start()) for server in (one, two)]
    try:
        assert all(start.done() for start in starts)
        assert len({one.url, two.url, api_server.url}) == 3
        await create_config_map(one, "default", "mine", of="one")
        with pytest.raises(RefusedError):
            await read_config_map(two, "default", "mine")
    finally:
        await one.down()
        await two.down()


async def test_down_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    directory = tmp_path / "gone"
    server = ApiServer(directory)
    await server.start()
    processes = [psutil.Process(pid) for pid in server.pids().values() if pid]
    assert len(processes) == 3
    await server.down()
    assert not any(process.is_running() for process in processes)
    assert not directory.exists()
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if str(directory) in " ".join(p.info["cmdline"] or [])
    ]


async def test_a_server_that_can_not_start_says_why(tmp_path: Path) -> None:
    server = ApiServer(tmp_path / "broken", arguments=["--no-such-flag"])
    with pytest.raises(Exception, match=r"kube-apiserver does not start.*no-such-flag") as failed:
        await server.start()
    assert "kube-apiserver.log" in str(getattr(failed.value, "hint", ""))
    await server.down()


async def test_a_reused_process_id_is_not_killed(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, "sleeper")
    daemon.start(["sleep", "600"])
    record = tmp_path / "run/sleeper.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"command": ["sleep", "601"]}))
    await daemon.stop()
    record.write_text(json.dumps(content))
    assert daemon.pid == content["pid"]
    await daemon.kill()
    assert daemon.pid is None


def test_the_command_starts_it_shows_its_status_and_stops_it(tmp_path: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [str(ROOT / "hack/apiserver"), *arguments, "--dir", str(tmp_path / "cli")]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)

    try:
        up = command("up")
        assert up.returncode == 0, up.stderr
        assert Path(up.stdout.strip()).is_file()
        status = command("status")
        assert status.returncode == 0
        assert status.stdout.count("running") == 3
    finally:
        down = command("down")
    assert down.returncode == 0
    assert not (tmp_path / "cli").exists()
    assert command("status").returncode == 1
