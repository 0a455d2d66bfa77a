"""Paths and addresses of the node. They are constants, because a host has at most one node."""

from __future__ import annotations

import os
from pathlib import Path

NODE = "node"
NODE_IP = "198.18.255.1"
API_PORT = 6443
POD_CIDR = "198.18.0.0/24"

RUN_DIR = Path("/run/vaultstream-cluster")
"""Sockets, whose paths must be short, and the mounts of containerd."""

NODE_LINK = "vscluster"
POD_LINK = "vscni0"
POD_NETWORK = "vaultstream-pods"


def state_dir() -> Path:
    """Returns the directory of the cluster's data; `CLUSTER_STATE` overrides it."""
    return Path(os.environ.get("CLUSTER_STATE") or "/var/lib/vaultstream-cluster")
