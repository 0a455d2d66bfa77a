"""The images that the product is tried out with: its own, and those of NATS and Postgres where none can be pulled."""

from __future__ import annotations

import os
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
        name: under which it is built and loaded.
        dockerfile: from the root of the repository, which is the context.
    """

    name: str
    dockerfile: str = "Dockerfile"

    @property
    def archive(self) -> Path:
        """Where `build_without_engine` writes it."""
        return FOLDER / f"{self.name.rpartition('/')[2].replace(':', '-')}.tar"


# The name says where it comes from: no registry is asked for what is of localhost.
PRODUCT = Image("localhost/vaultstream:dev")
NATS = Image("localhost/vaultstream-nats:dev", "hack/kube/dockerfiles/nats/Dockerfile")
POSTGRES = Image("localhost/vaultstream-postgres:dev", "hack/kube/dockerfiles/postgres/Dockerfile")


async def engine_runs() -> bool:
    """Whether there is a container engine that answers; a `docker` command alone is none."""
    try:
        return await succeeds("docker", "info")
    except FileNotFoundError:
        return False


async def build_with_engine(image: Image, *, report: Report = to_stderr) -> None:
    """Builds an image into the container engine's store."""
    report(f"Building {image.name} with docker")
    await run("docker", "build", "--tag", image.name, "--file", image.dockerfile, ".", cwd=ROOT)


async def build_without_engine(image: Image, *options: str, report: Report = to_stderr) -> Path:
    """Builds an image with hack/image, as root; returns the path of its archive.

    Args:
        image: which.
        options: more ones of `buildah build`.
        report: is called with lines of progress.
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
        *options,
    )
    await run(*words, cwd=ROOT, env=dict(os.environ))
    return image.archive
