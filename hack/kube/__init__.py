"""Kubernetes for tests and trials, without a container engine or an image registry.

Two forms, built from the same pinned binaries:

- `ApiServer`: etcd, kube-apiserver and kube-controller-manager on loopback. Starts in seconds, needs no root, many per host.
- `Cluster`: the same, plus this host as a node with kubelet, containerd, network and DNS, to run pods. Needs root, one per host.
"""
