"""SigningJobs as YAML."""

from __future__ import annotations

from vaultstream.api import SigningJob
from vaultstream.api.document import yaml_text


def shortest_yaml(job: SigningJob) -> str:
    """Returns the shortest manifest that is equivalent to `job`: values that equal their default are omitted."""
    manifest = job.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return yaml_text(manifest)
