"""The native extension: hack/native builds it where it can, else goes on with one line; a wheel has the one of its sources alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import native_wheel

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PROGRAMS = (
    "cat", "cp", "cut", "dirname", "env", "find", "grep", "head", "mkdir", "mktemp", "mv", "rm", "sed", "sh", "sha256sum", "sort", "tail", "uname",
)  # fmt: skip
SOURCE = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_multibuffer", NULL, 0, NULL, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit__multibuffer(void) { return PyModuleDef_Init(&module); }
"""
on_its_platform = pytest.mark.skipif(
    os.uname()[::4] != ("Linux", "x86_64"), reason="the extension is for Linux on x86-64"
)
with_a_compiler = pytest.mark.skipif(
    not shutil.which("cc") or not Path(sysconfig.get_path("include"), "Python.h").exists(),
    reason="needs a C compiler and Python.h",
)


class Tree:
    """A copy of what hack/native reads, with a source of its own and an empty library, so that it downloads nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.programs = root / "programs"
        self.source = root / native_wheel.BUILT.replace("built.sha256", "multibuffer.c")
        self.extension = root / native_wheel.EXTENSION
        for name in (
            "hack/native",
            "constraints/native.txt",
            "pyproject.toml",
            "hack/native_wheel.py",
            ".gitignore",
        ):
            (root / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, root / name)
        for folder in (
            "workers/native",
            "workers/vaultstream/crypto",
            "build/native/lib",
            "build/native/include",
            "programs",
        ):
            (root / folder).mkdir(parents=True)
        self.source.write_text(SOURCE)
        self.library = root / "build/native/lib/libcrypto_mb.a"
        self.library.write_bytes(b"!<arch>\n")
        (root / "build/native/include/library.h").write_text("extern int library;\n")
        files = [
            "constraints/native.txt",
            "build/native/lib/libcrypto_mb.a",
            "build/native/include/library.h",
        ]
        hashes = subprocess.run(["sha256sum", *files], cwd=root, check=True, capture_output=True).stdout
        (root / "build/native/files.sha256").write_bytes(hashes)
        for name in PROGRAMS:
            found = shutil.which(name)
            assert found
            (self.programs / name).symlink_to(found)

    def program(self, name: str, *lines: str) -> Path:
        path = self.programs / name
        path.unlink(missing_ok=True)
        path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        path.chmod(0o755)
        return path

    def build(
        self, *options: str, path: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        python = () if options and options[-1].startswith("/") else (sys.executable,)
        return subprocess.run(
            [self.root / "hack/native", *options, *python],
            env={"PATH": path or os.environ["PATH"], "HOME": str(self.root), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def goes_on_without(self, ran: subprocess.CompletedProcess[str]) -> str:
        """Returns the one line that says why."""
        assert (ran.returncode, ran.stderr) == (0, "")
        (line,) = ran.stdout.splitlines()
        assert line.startswith("Going on without the native extension: ")
        assert line.endswith(". `make native` tries again.")
        assert not self.extension.exists()
        assert not (self.root / native_wheel.BUILT).exists()
        return line


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@on_its_platform
@with_a_compiler
def test_it_is_built_once_for_its_sources(tree: Tree) -> None:
    assert tree.build().stdout == "Built the native extension\n"
    first = tree.extension.stat()
    assert tree.build().stdout == "The native extension is up to date\n"
    assert tree.extension.stat() == first
    tree.source.with_name("another.c").write_text("extern int another;\n")
    assert tree.build().stdout == "Built the native extension\n"


@on_its_platform
@with_a_compiler
def test_it_is_built_again_with_other_flags_or_another_compiler(tree: Tree) -> None:
    for environment in ({}, {"CFLAGS": "-O1"}, {"CFLAGS": "-O1", "CC": "cc"}, {"CC": "cc"}, {}):
        assert tree.build(**environment).stdout == "Built the native extension\n"
        assert tree.build(**environment).stdout == "The native extension is up to date\n"
        assert native_wheel.is_built(tree.root)


@on_its_platform
@with_a_compiler
@pytest.mark.parametrize("changed", ["lib/libcrypto_mb.a", "include/library.h", "include/another.h"])
def test_a_library_that_was_changed_after_its_download_is_not_linked(tree: Tree, changed: str) -> None:
    with (tree.root / "build/native" / changed).open("ab") as file:
        file.write(b"\n")
    assert "its library could not be downloaded" in tree.goes_on_without(tree.build(PIP_NO_INDEX="1"))
    assert not tree.library.exists()


@on_its_platform
@with_a_compiler
def test_what_does_not_compile_leaves_no_extension_of_older_sources(tree: Tree) -> None:
    assert tree.build().returncode == 0
    tree.source.write_text(SOURCE + "what is this")
    assert "it does not compile (workers/native/multibuffer.c:" in tree.goes_on_without(tree.build())
    assert "error:" in (tree.root / "build/native.log").read_text()


@on_its_platform
@with_a_compiler
def test_what_is_in_no_library_is_found_before_it_is_used(tree: Tree) -> None:
    tree.source.write_text(SOURCE.replace("{ return", "{ extern void absent(void); absent(); return"))
    assert "undefined symbol: absent" in tree.goes_on_without(tree.build())


@on_its_platform
def test_without_a_compiler_the_installation_goes_on(tree: Tree) -> None:
    assert "there is no C compiler" in tree.goes_on_without(tree.build(path=str(tree.programs)))


@on_its_platform
@with_a_compiler
def test_without_headers_of_python_the_installation_goes_on(tree: Tree) -> None:
    python = tree.program("python3", "echo /nowhere/include")
    assert "/nowhere/include has no Python.h" in tree.goes_on_without(tree.build(str(python)))


@on_its_platform
@with_a_compiler
def test_without_its_library_the_installation_goes_on(tree: Tree) -> None:
    shutil.rmtree(tree.root / "build")
    why = tree.goes_on_without(tree.build(PIP_NO_INDEX="1"))
    assert "its library could not be downloaded (ERROR: No matching distribution found for ipp-crypto-" in why


@on_its_platform
@with_a_compiler
def test_a_library_with_another_hash_is_not_linked(tree: Tree) -> None:
    shutil.rmtree(tree.root / "build")
    for name in ("ipp_crypto_static", "ipp_crypto_include"):
        with zipfile.ZipFile(tree.root / f"{name}-2026.2.0-py3-none-any.whl", "w") as other:
            other.writestr(f"{name}-2026.2.0.data/data/lib/libcrypto_mb.a", "!<arch>\n")
    why = tree.goes_on_without(tree.build(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tree.root)))
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in why


@pytest.mark.parametrize("machine", ["Linux aarch64", "Darwin arm64", "Darwin x86_64"])
def test_on_another_platform_the_installation_goes_on(tree: Tree, machine: str) -> None:
    system, processor = machine.split()
    tree.program("uname", f"[ $1 = -s ] && echo {system} || echo {processor}")
    assert f"this is {system} on {processor}" in tree.goes_on_without(tree.build(path=str(tree.programs)))


@on_its_platform
@with_a_compiler
def test_whatever_fails_in_it_the_installation_goes_on(tree: Tree) -> None:
    python = tree.program("python3", "exit 3")
    assert "a command of hack/native failed" in tree.goes_on_without(tree.build(str(python)))


@on_its_platform
def test_where_it_is_required_its_absence_is_an_error(tree: Tree) -> None:
    ran = tree.build("--required", path=str(tree.programs))
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: The native extension was not built: there is no C compiler")


def wheel(tree: Tree) -> Path:
    for package in ("operator/vaultstream_operator", "cli/vaultstream_cli", "workers/vaultstream"):
        (tree.root / package).mkdir(parents=True, exist_ok=True)
        (tree.root / package / "__init__.py").touch()
    for name in ("README.md", "LICENSE", "NOTICE", "workers/vaultstream/version.py"):
        shutil.copy(ROOT / name, tree.root / name)
    shutil.rmtree(tree.root / "dist", ignore_errors=True)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist"],
        cwd=tree.root, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    (made,) = (tree.root / "dist").glob("*.whl")
    return made


@on_its_platform
@with_a_compiler
def test_a_wheel_has_the_extension_of_its_sources_or_is_for_every_platform(tree: Tree) -> None:
    assert wheel(tree).name.endswith("-py3-none-any.whl")
    assert tree.build().returncode == 0
    with_it = wheel(tree)
    assert with_it.name.endswith("-cp311-abi3-manylinux_2_28_x86_64.whl")
    with zipfile.ZipFile(with_it) as made:
        assert "vaultstream/crypto/_multibuffer.abi3.so" in made.namelist()
        (bill,) = (name for name in made.namelist() if "/sboms/" in name)
        listed_there = {each["name"]: each["version"] for each in json.loads(made.read(bill))["components"]}
    pins = (ROOT / native_wheel.PINS).read_text()
    assert listed_there.keys() == {"ipp-crypto-static", "ipp-crypto-include"}
    assert all(f"{name}=={version} " in pins for name, version in listed_there.items())
    listed = subprocess.run(
        ["tar", "-tzf", *(tree.root / "dist").glob("*.tar.gz")], capture_output=True, text=True, check=True
    ).stdout
    assert "/workers/native/multibuffer.c\n" in listed
    assert "_multibuffer.abi3.so" not in listed
    assert "built.sha256" not in listed

    tree.source.write_text(SOURCE + "\n")
    assert wheel(tree).name.endswith("-py3-none-any.whl")


@pytest.mark.skipif(not native_wheel.is_built(ROOT), reason="the native extension is not built")
def test_the_extension_needs_libc_alone() -> None:
    assert native_wheel.platform((ROOT / native_wheel.EXTENSION).read_bytes()) == "manylinux_2_28_x86_64"


@pytest.mark.parametrize(
    ("strings", "platform"),
    [
        ([b"libc.so.6", b"GLIBC_2.2.5", b"GLIBC_2.28"], "manylinux_2_28_x86_64"),
        ([b"libc.so.6", b"GLIBC_2.2.5", b"GLIBC_2.29"], "linux_x86_64"),
        ([b"libc.so.6", b"GLIBC_2.4", b"GLIBC_ABI_DT_RELR"], "linux_x86_64"),
        ([b"libc.so.6", b"libcrypto.so.3", b"GLIBC_2.4"], "linux_x86_64"),
        ([b"libc.musl-x86_64.so.1"], "linux_x86_64"),
    ],
)
def test_a_wheel_is_for_every_linux_only_if_that_is_true(strings: list[bytes], platform: str) -> None:
    assert native_wheel.platform(b"\0".join([b"ELF", *strings, b""])) == platform
