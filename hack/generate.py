"""Writes the generated files: the CRD, the API reference, the files of the chart, and the picture of the architecture.

With --check, reports whether they are up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

import api_reference
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


def main() -> None:
    """Writes the files, or with --check exits with 1 if one is not up to date."""
    files = generated()
    if "--check" not in sys.argv[1:]:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return
    different = [
        str(path.relative_to(ROOT))
        for path, text in files.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if different:
        sys.exit(f"error: {', '.join(different)} differ from their sources.\n  try: make generate")


if __name__ == "__main__":
    main()
