"""Views of SigningJobs, from their objects on the API server. Others shape these objects: what can't be read is reported."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from vaultstream.api import SigningJobSpec
from vaultstream.foreign_json import is_deeper
from vaultstream.plurals import counted
from vaultstream_operator.adapters.ailing import Body
from vaultstream_operator.api.status import JobStatus
from vaultstream_operator.core.children import Owner
from vaultstream_operator.core.view import ObjectView

log = logging.getLogger(__name__)

MOST_SPEC_LEVELS: Final = 50
"""Levels of a spec. An affinity has a dozen. `read_foreign_json` cuts off levels only below these."""
MOST_SPEC_BYTES: Final = 65_536
MOST_METADATA_BYTES: Final = 131_072
"""Of a SigningJob, as JSON, without what the API server adds. Annotations of kubectl repeat the spec."""


def view_of(body: Body) -> ObjectView:
    """Returns the view of a SigningJob. A spec that is not valid for this version is None, and `problem` is the reason."""
    metadata = body["metadata"]
    spec, problem = None, ""
    too_large = _too_large(body)
    try:
        if too_large:
            problem = too_large
        elif is_deeper(body.get("spec"), MOST_SPEC_LEVELS):
            problem = f"spec: has more than {MOST_SPEC_LEVELS} levels: remove what is nested so deeply."
        else:
            spec = SigningJobSpec.model_validate(body.get("spec") or {})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        problem = f"spec.{'.'.join(str(step) for step in first['loc'])}: {first['msg']}."
    try:
        status = JobStatus.model_validate(body.get("status") or {})
    except ValidationError:
        log.warning("can't read the status of %s: replacing it", metadata["name"])
        status = JobStatus()
    return ObjectView(
        owner=Owner(metadata["namespace"], metadata["name"], metadata["uid"]),
        generation=metadata["generation"],
        resource_version=metadata["resourceVersion"],
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
        finalizers=tuple(metadata.get("finalizers") or ()),
        annotations=metadata.get("annotations") or {},
        spec=spec,
        problem=problem,
        status=status,
        too_large=bool(too_large),
    )


def _too_large(body: Body) -> str:
    """Returns what of a SigningJob is too large to be read at each change; empty if nothing is."""
    metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    for part, value, most in (
        ("metadata", metadata, MOST_METADATA_BYTES),
        ("spec", body.get("spec"), MOST_SPEC_BYTES),
    ):
        try:
            size = len(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
        except RecursionError:
            continue
        if size > most:
            return f"its {part} has {counted(size, 'byte')}, at most {most:,} are allowed."
    return ""


def newer_view(job: ObjectView, metadata: dict[str, Any]) -> ObjectView:
    """Returns the view of a SigningJob after a write of ours, with the metadata in the answer."""
    return replace(job, resource_version=metadata["resourceVersion"], generation=metadata["generation"])
