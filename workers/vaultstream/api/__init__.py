"""The types of a SigningJob, as users write it."""

from vaultstream.api.scaling import (
    Fallback,
    ScaleDownRules,
    ScaleUpRules,
    ScalingBehavior,
    ScalingPolicy,
    ScalingSpec,
)
from vaultstream.api.shape import PodShape, SignerSpec
from vaultstream.api.signingjob import (
    Algorithm,
    Backoff,
    JobState,
    KeysSpec,
    RecordsSpec,
    RetriesSpec,
    SignatureForm,
    SignatureSpec,
    SigningJob,
    SigningJobSpec,
    changed_immutable_fields,
)

__all__ = [
    "Algorithm",
    "Backoff",
    "Fallback",
    "JobState",
    "KeysSpec",
    "PodShape",
    "RecordsSpec",
    "RetriesSpec",
    "ScaleDownRules",
    "ScaleUpRules",
    "ScalingBehavior",
    "ScalingPolicy",
    "ScalingSpec",
    "SignatureForm",
    "SignatureSpec",
    "SignerSpec",
    "SigningJob",
    "SigningJobSpec",
    "changed_immutable_fields",
]
