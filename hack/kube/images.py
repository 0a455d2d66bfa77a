"""The images for trials: VaultStream's own, and NATS and Postgres for hosts that can't pull images."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kube.binaries import Report, to_stderr
from kube.commands import run, succeeds

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build/images"


@dataclass(frozen=True)
class Image:
    """An image of this repository.

    Args:
        name: the name of the image, with its tag.
        dockerfile: its path from the root of the repository, which is the build context.
    """

    name: str
    dockerfile: str = "Dockerfile"

    @property
    def archive(self) -> Path:
        """The path of the archive that `build_without_engine` writes."""
        return FOLDER / f"{self.name.rpartition('/')[2].replace(':', '-')}.tar"


# Images of `localhost` are never pulled from a registry.
PRODUCT = Image("localhost/vaultstream:dev")
NATS = Image("localhost/vaultstream-nats:dev", "hack/kube/dockerfiles/nats/Dockerfile")
POSTGRES = Image("localhost/vaultstream-postgres:dev", "hack/kube/dockerfiles/postgres/Dockerfile")


async def engine_runs() -> bool:
    """Returns whether a container engine answers; a `docker` command alone is not enough."""
    try:
        return await succeeds("docker", "info")
    except FileNotFoundError:
        return False


async def build_with_engine(image: Image, *, report: Report = to_stderr) -> None:
    """Builds an image into the container engine's store."""
    report(f"Building {image.name} with docker")
    named = ("--tag", image.name, "--file", image.dockerfile)
    await run("docker", "build", *named, *_labels(image), ".", cwd=ROOT)


def _labels(image: Image) -> tuple[str, ...]:
    """Returns the option that labels the product's image with its commit; none outside of a clone."""
    if image != PRODUCT:
        return ()
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return ("--build-arg", f"REVISION={found}") if found else ()


async def build_without_engine(image: Image, *options: str, report: Report = to_stderr) -> Path:
    """Builds an image with hack/image, as root; returns the path of its archive.

    Args:
        image: the image.
        options: additional options of `buildah build`.
        report: called with lines of progress.
    """
    report(f"Building {image.name} with buildah")
    FOLDER.mkdir(parents=True, exist_ok=True)
    words: tuple[str | Path, ...] = (
        ROOT / "hack/image",
        ".",
        image.name,
        image.archive,
        "--file",
        image.dockerfile,
        *_labels(image),
        *options,
    )
    await run(*words, cwd=ROOT, env=dict(os.environ))
    return image.archive
