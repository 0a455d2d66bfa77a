"""A Secret with keys is created in the cluster once, whoever asks, with the least permissions that this takes."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import pytest

from kube.client import RefusedError
from support.command import Command
from vaultstream.crypto.keyring import parse_keyring
from vaultstream.crypto.seal_keys import parse_seal_keys
from vaultstream.errors import ExitCode

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from kube.apiserver import ApiServer

    Make = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.cluster

NAME = "signing-kek"
RIGHTS = [
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [NAME], "verbs": ["get"]},
]


async def login(server: ApiServer, namespace: str, rules: list[dict[str, Any]]) -> Path:
    """The kubeconfig of a service account with these permissions."""
    role = {"metadata": {"name": "maker"}, "rules": rules}
    binding = {
        "metadata": {"name": "maker"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "maker"},
        "subjects": [{"kind": "ServiceAccount", "name": "maker", "namespace": namespace}],
    }
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    account = {"metadata": {"name": "maker"}}
    await server.client.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
    await server.client.call("POST", f"{rbac}/roles", role)
    await server.client.call("POST", f"{rbac}/rolebindings", binding)
    return await server.service_account_kubeconfig(namespace, "maker")


@pytest.fixture
async def maker(api_server: ApiServer, namespace: str) -> Path:
    return await login(api_server, namespace, RIGHTS)


@pytest.fixture
def make(tmp_path: Path, maker: Path, namespace: str) -> Make:
    """Runs the command, by default with just the permissions that it needs."""

    def run(
        *options: str, where: str = namespace, config: Path = maker, expect: int = ExitCode.OK
    ) -> subprocess.CompletedProcess[str]:
        words = ("kek", "create-secret", NAME, "--namespace", where, *options)
        return Command(tmp_path).run(*words, expect=expect, KUBECONFIG=str(config))

    return run


async def get(server: ApiServer, namespace: str) -> dict[str, Any]:
    return await server.client.call("GET", f"/api/v1/namespaces/{namespace}/secrets/{NAME}")


async def put(server: ApiServer, namespace: str, data: dict[str, str]) -> None:
    encoded = {key: b64encode(text.encode()).decode() for key, text in data.items()}
    body = {"metadata": {"name": NAME}, "data": encoded}
    await server.client.call("POST", f"/api/v1/namespaces/{namespace}/secrets", body)


async def test_a_key_is_created_for_workers_and_never_printed(
    api_server: ApiServer, namespace: str, make: Make
) -> None:
    said = make("--label", "team=a", "--annotation", "helm.sh/resource-policy=keep")
    secret = await get(api_server, namespace)
    assert secret["metadata"]["labels"] == {"team": "a"}
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert not secret.get("immutable"), "a rotation replaces the file"
    content = b64decode(secret["data"]["kek"])
    [kek] = parse_keyring(content, NAME).keks
    assert f"{namespace}/{NAME} with {kek.kek_id}: created" in said.stderr
    shown = said.stdout + said.stderr
    assert content.split()[-1].decode() not in shown
    assert secret["data"]["kek"] not in shown


async def test_an_existing_key_is_kept(api_server: ApiServer, namespace: str, make: Make) -> None:
    make()
    before = await get(api_server, namespace)
    said = make("--label", "team=b")
    assert "was not changed" in said.stderr
    assert await get(api_server, namespace) == before


async def test_of_many_concurrent_commands_one_creates_the_key(
    api_server: ApiServer, namespace: str, maker: Path, tmp_path: Path
) -> None:
    words = ("kek", "create-secret", NAME, "--namespace", namespace)
    running = [Command(tmp_path).start(*words, KUBECONFIG=str(maker)) for _ in range(4)]
    said = [process.communicate(timeout=110)[1] for process in running]
    assert [process.returncode for process in running] == [0] * len(running)
    assert sum("created" in text for text in said) == 1
    [kek] = parse_keyring(b64decode((await get(api_server, namespace))["data"]["kek"]), NAME).keks
    assert all(kek.kek_id in text for text in said)


async def test_each_namespace_gets_its_own_key(api_server: ApiServer, namespace: str, tmp_path: Path) -> None:
    other = f"{namespace}-b"
    await api_server.client.call("POST", "/api/v1/namespaces", {"metadata": {"name": other}})
    try:
        words = ("kek", "create-secret", NAME, "--namespace", namespace, "--namespace", other)
        Command(tmp_path).run(*words, KUBECONFIG=str(api_server.kubeconfig))
        keys = [(await get(api_server, where))["data"]["kek"] for where in (namespace, other)]
        assert keys[0] != keys[1]
    finally:
        await api_server.client.call("DELETE", f"/api/v1/namespaces/{other}")


async def test_each_namespace_gets_a_seal_key_for_a_log_of_its_own(
    api_server: ApiServer, namespace: str, maker: Path, tmp_path: Path
) -> None:
    words = ("seal-key", "create-secret", NAME, "--namespace", namespace, "--name", "example.com/sign")
    said, again = (Command(tmp_path).run(*words, KUBECONFIG=str(maker)) for _ in range(2))
    [entry] = (await get(api_server, namespace))["data"].items()
    keys = parse_seal_keys(b64decode(entry[1]), NAME)
    assert (entry[0], keys.origin) == ("seal-key", f"example.com/sign/{namespace}")
    assert f"{namespace}/{NAME} with {keys.signing.public_key.vkey}: created" in said.stderr
    assert "was not changed" in again.stderr
    assert keys.signing.skey not in said.stdout + said.stderr + again.stderr


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"other": "text"}, "has no entry 'kek'"),
        ({"kek": "# nothing\n"}, "has no key-encryption key"),
        ({"kek": "kek-000000000000 half-a-key\n"}, "Line 1 of Secret"),
    ],
    ids=["without", "empty", "damaged"],
)
async def test_an_unusable_secret_is_reported_and_kept(
    api_server: ApiServer, namespace: str, make: Make, data: dict[str, str], complaint: str
) -> None:
    await put(api_server, namespace, data)
    before = await get(api_server, namespace)
    said = make(expect=ExitCode.CUSTODY)
    assert complaint in said.stderr
    assert "half-a-key" not in said.stderr
    assert await get(api_server, namespace) == before


async def test_a_missing_permission_is_named(api_server: ApiServer, namespace: str, tmp_path: Path) -> None:
    reader = await login(api_server, namespace, RIGHTS[1:])
    words = ("kek", "create-secret", NAME, "--namespace", namespace)
    said = Command(tmp_path).run(*words, expect=ExitCode.USAGE, KUBECONFIG=str(reader))
    assert "cannot create resource" in said.stderr
    assert "the permissions to create Secrets" in said.stderr
    with pytest.raises(RefusedError, match="404"):
        await get(api_server, namespace)


async def test_a_missing_namespace_is_named(make: Make, api_server: ApiServer) -> None:
    said = make(where="nowhere", config=api_server.kubeconfig, expect=ExitCode.USAGE)
    assert "There is no namespace nowhere" in said.stderr
    assert "kubectl create namespace nowhere" in said.stderr


def test_a_label_that_the_api_server_rejects_is_reported_without_the_key(make: Make) -> None:
    said = make("--label", "team=two words", expect=ExitCode.USAGE)
    assert "rejects the Secret" in said.stderr
    assert "two words" in said.stderr
    assert "key-encryption keys" not in said.stderr


def test_a_label_without_a_value_is_refused(make: Make) -> None:
    assert (
        "--label team is not of the form NAME=VALUE" in make("--label", "team", expect=ExitCode.USAGE).stderr
    )


def test_an_unreachable_api_server_is_reported(make: Make, maker: Path, tmp_path: Path) -> None:
    away = tmp_path / "away.kubeconfig"
    text = maker.read_text()
    address = next(word for word in text.replace('"', " ").split() if word.startswith("https://"))
    away.write_text(text.replace(address, "https://127.0.0.1:1"))
    said = make(config=away, expect=ExitCode.SERVICE)
    assert "is unreachable" in said.stderr
