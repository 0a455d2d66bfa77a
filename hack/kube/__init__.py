"""Kubernetes for tests and for trying things out, with no container engine and no image registry.

Two forms, of the same real and pinned parts:

- `ApiServer`: etcd, kube-apiserver and kube-controller-manager on loopback. Up in seconds, needs no root, many at a time.
- `Cluster`: that, and a node of this host with kubelet, containerd, network and DNS, where pods run. Needs root; one a host.
"""
