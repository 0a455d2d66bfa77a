"""Where the node's parts lie and which addresses they have. One node a host, so these are the same for all."""

from __future__ import annotations

import os
from pathlib import Path

NODE = "node"
NODE_IP = "198.18.255.1"
API_PORT = 6443
POD_CIDR = "198.18.0.0/24"

RUN_DIR = Path("/run/vaultstream-cluster")
"""Sockets, whose paths must be short; and what containerd mounts."""

NODE_LINK = "vscluster"
POD_LINK = "vscni0"
POD_NETWORK = "vaultstream-pods"


def state_dir() -> Path:
    """The directory of all that the cluster keeps; `CLUSTER_STATE` names another."""
    return Path(os.environ.get("CLUSTER_STATE") or "/var/lib/vaultstream-cluster")
