"""SigningJobs as YAML."""

from __future__ import annotations

import yaml

from vaultstream.api import SigningJob


def shortest_yaml(job: SigningJob) -> str:
    """Returns the shortest manifest that is equivalent to `job`: values that equal their default are omitted."""
    manifest = job.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    # Escapes what is not ASCII: PyYAML writes Unicode line breaks as they are, and reads them as newlines.
    return yaml.safe_dump(manifest, sort_keys=False)
