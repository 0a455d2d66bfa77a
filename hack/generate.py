"""Writes the generated files: the CRD, the API reference, files of the chart, the kustomize base, and the picture of the architecture.

With --check, reports whether they are up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

import api_reference
import kustomize_base
import nats_permissions
import nats_tenants
from architecture import Architecture
from vaultstream_operator.api.crd import CRD_NAME, custom_resource_definition, to_yaml

ROOT = Path(__file__).parents[1]
PYPROJECT = ROOT / "pyproject.toml"


def generated() -> dict[Path, str]:
    """Returns the path and content of each file."""
    definition = to_yaml(custom_resource_definition())
    return {
        ROOT / "crds" / f"{CRD_NAME}.yaml": definition,
        ROOT / "charts" / "vaultstream" / "files" / "crds" / f"{CRD_NAME}.yaml": definition,
        ROOT / "charts" / "vaultstream" / "files" / "nats-permissions.json": nats_permissions.as_json(),
        ROOT / "charts" / "vaultstream" / "files" / "nats-tenants.json": nats_tenants.as_json(),
        ROOT / "examples" / "production" / "nats-tenants.conf": nats_tenants.example(),
        ROOT / "docs" / "api-reference.md": api_reference.page(),
        ROOT / "docs" / "images" / "architecture.svg": Architecture(
            PYPROJECT.read_text(encoding="utf-8")
        ).svg(),
    }


def compare(files: dict[Path, str], *, write: bool) -> list[str]:
    """Returns the paths of the files that differ from their content; with `write`, writes them."""
    different = [
        path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in different if write else ():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
    return [str(path.relative_to(ROOT)) for path in different]


def main() -> None:
    """Writes the files, or with --check exits with 1 if one is not up to date."""
    write = "--check" not in sys.argv[1:]
    different = compare(generated(), write=write)
    base = kustomize_base.rendered()  # from files of the chart that were written above
    if base is None:
        print("Without helm, and Go to build it, deploy/kustomize is left as it is.")  # noqa: T201 - its output
    else:
        different += compare({kustomize_base.RENDERED: base}, write=write)
    if different and not write:
        sys.exit(f"error: {', '.join(different)} differ from their sources.\n  try: make generate")


if __name__ == "__main__":
    main()
