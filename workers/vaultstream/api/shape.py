"""What a job may ask of its workers' pods: resources, placement, labels and annotations."""

from typing import Annotated, ClassVar

from pydantic import Field

from vaultstream.api.base import CheckedAs, JsonObject, Model, Rule, Whole
from vaultstream.api.pods import Annotations, ClassName, Labels, Resources, Toleration, label_names

Tolerations = Annotated[tuple[Annotated[JsonObject, CheckedAs(Toleration)], ...], Field(max_length=32)]


class PodShape(Model):
    """Settings of pods. They apply only on Kubernetes."""

    resources: Annotated[JsonObject, CheckedAs(Resources)] = Field(default_factory=dict)
    """Kubernetes only: the container's `requests` and `limits`."""
    node_selector: Labels = Field(default_factory=dict)
    """Kubernetes only: labels that a node must have to run the pod."""
    tolerations: Tolerations = ()
    """Kubernetes only: the pod's tolerations."""
    affinity: JsonObject = Field(default_factory=dict)
    """Kubernetes only: the pod's affinity to nodes and to other pods."""
    priority_class_name: ClassName | None = None
    """Kubernetes only: the pod's priority class. If unset, the cluster's default."""
    pod_labels: Labels = Field(default_factory=dict)
    """Kubernetes only: labels to add to the pod."""
    pod_annotations: Annotations = Field(default_factory=dict)
    """Kubernetes only: annotations to add to the pod."""

    rules: ClassVar[tuple[Rule, ...]] = (
        label_names("nodeSelector", lambda shape: shape.node_selector),
        label_names("podLabels", lambda shape: shape.pod_labels),
        label_names("podAnnotations", lambda shape: shape.pod_annotations),
    )


class SignerSpec(PodShape):
    """Settings of each signing worker. All fields except `concurrency` configure its pod and apply only on Kubernetes.

    They take precedence over those of `workers`.
    """

    concurrency: Annotated[Whole, Field(ge=1, le=64)] = 64
    """Maximum number of batches in flight per signer, each under its own key. A signer takes only as many as keep it busy."""
    topology_spread_constraints: Annotated[tuple[JsonObject, ...], Field(max_length=32)] = ()
    """Kubernetes only: how pods are spread across zones and nodes."""
