"""The hook of the wheel's build: it includes the native extension if hack/native has built it from these sources."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

EXTENSION = "workers/vaultstream/crypto/_multibuffer.abi3.so"
BUILT = "workers/native/built.sha256"
PINS = "constraints/native.txt"
BILL = "native-extension.cdx.json"
GLIBC = (2, 28)
"""The C library of the oldest system that the extension may be for: that of manylinux_2_28, for which its library was built."""


class NativeWheel(BuildHookInterface[Any]):
    """Adds the extension, its tag and its bill of materials; without it the wheel is for every platform."""

    PLUGIN_NAME = "custom"
    _folder: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if version == "editable" or not is_built(root):
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{platform((root / EXTENSION).read_bytes())}"
        self._folder = Path(tempfile.mkdtemp())
        bill = self._folder / BILL
        bill.write_text(json.dumps(bill_of_materials((root / PINS).read_text()), indent=1) + "\n")
        build_data.setdefault("sbom_files", []).append(str(bill))
        build_data["force_include"][str(root / EXTENSION)] = EXTENSION.removeprefix("workers/")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        del version, build_data, artifact_path
        if self._folder is not None:
            shutil.rmtree(self._folder)


def bill_of_materials(pins: str) -> dict[str, Any]:
    """Returns what is linked into the extension, in the form of CycloneDX."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "file", "name": EXTENSION.removeprefix("workers/")}},
        "components": [
            {
                "type": "library",
                "supplier": {"name": "Intel Corporation"},
                "name": name,
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
                "purl": f"pkg:pypi/{name}@{version}",
            }
            for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", pins, flags=re.MULTILINE)
        ],
    }


def is_built(root: Path) -> bool:
    """Returns whether the extension is there, made of the sources that are there."""
    try:
        lines = (root / BUILT).read_text().splitlines()
        named = {line[66:]: line[:64] for line in lines if not line.startswith("#")}
        sources = {str(path.relative_to(root)) for path in (root / "workers/native").glob("*.[ch]")}
        return sources | {EXTENSION} <= named.keys() and all(
            hashlib.sha256((root / name).read_bytes()).hexdigest() == digest for name, digest in named.items()
        )
    except FileNotFoundError:
        return False


def platform(extension: bytes) -> str:
    """Returns the platform of the tag: any Linux with glibc from 2.28, if the extension needs nothing else."""
    versions = set(re.findall(rb"\0GLIBC_([\w.]+)(?=\0)", extension))
    libraries = set(re.findall(rb"\0(lib[\w.+-]*\.so[\w.]*)(?=\0)", extension))
    general = all(_is_old(version) for version in versions) and libraries <= {b"libc.so.6"}
    return "manylinux_2_28_x86_64" if general else "linux_x86_64"


def _is_old(version: bytes) -> bool:
    numbers = re.match(rb"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) <= GLIBC
