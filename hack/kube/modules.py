"""The Go modules that the binaries are built from, each pinned by a go.mod and a go.sum under tools/."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_TOOLS = Path(__file__).resolve().parent / "tools"
_VERSION_PACKAGE = "k8s.io/component-base/version"


@dataclass(frozen=True)
class GoModule:
    """One directory of tools/.

    Args:
        name: the name of the directory.
        source: the module whose version the directory pins.
        packages: maps each binary to the Go package that it is built from; `.` is a program of our own in the directory.
        tags: build tags, which leave out what is not needed.
    """

    name: str
    source: str
    packages: dict[str, str]
    tags: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        return _TOOLS / self.name

    @property
    def own(self) -> bool:
        """Whether the directory contains the program itself, not only a pinned version."""
        return "." in self.packages.values()

    @property
    def sums(self) -> bytes:
        """The content of go.sum and of our own sources, which identifies everything that the binaries are built from."""
        sources = sorted(self.directory.glob("*.go")) if self.own else []
        return b"".join(path.read_bytes() for path in (self.directory / "go.sum", *sources))

    @property
    def version(self) -> str:
        """The version that go.mod pins, such as `v1.37.2`."""
        for line in (self.directory / "go.mod").read_text(encoding="utf-8").splitlines():
            words = line.split()
            if self.source in words[:-1]:
                return words[words.index(self.source) + 1]
        raise LookupError(f"{self.directory}/go.mod does not pin {self.source}")

    @property
    def linker_flags(self) -> str:
        """Flags for the linker. They set the version of Kubernetes, without which clients refuse it."""
        flags = "-s -w"
        if self.name == "kubernetes":
            major, minor, _ = self.version.removeprefix("v").split(".")
            flags += f" -X {_VERSION_PACKAGE}.gitVersion={self.version}"
            flags += f" -X {_VERSION_PACKAGE}.gitMajor={major} -X {_VERSION_PACKAGE}.gitMinor={minor}"
        return flags


MODULES = (
    GoModule("etcd", "go.etcd.io/etcd/server/v3", {"etcd": "go.etcd.io/etcd/server/v3"}),
    GoModule(
        "kubernetes",
        "k8s.io/kubernetes",
        {
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in (
                "kube-apiserver",
                "kube-controller-manager",
                "kubectl",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
            )
        },
    ),
    GoModule(
        "containerd",
        "github.com/containerd/containerd/v2",
        {
            name: f"github.com/containerd/containerd/v2/cmd/{name}"
            for name in ("containerd", "containerd-shim-runc-v2", "ctr")
        },
    ),
    GoModule(
        "cni",
        "github.com/containernetworking/plugins",
        {
            name: f"github.com/containernetworking/plugins/plugins/{package}"
            for name, package in {
                "bridge": "main/bridge",
                "loopback": "main/loopback",
                "host-local": "ipam/host-local",
                "portmap": "meta/portmap",
            }.items()
        },
    ),
    GoModule("coredns", "github.com/coredns/coredns", {"coredns": "github.com/coredns/coredns"}),
    GoModule("helm", "helm.sh/helm/v4", {"helm": "helm.sh/helm/v4/cmd/helm"}),
    GoModule("kind", "sigs.k8s.io/kind", {"kind": "sigs.k8s.io/kind"}),
    GoModule(
        "helm-unittest",
        "github.com/helm-unittest/helm-unittest",
        {"helm-unittest": "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"},
    ),
    GoModule(
        "kube-score",
        "github.com/zegl/kube-score",
        {"kube-score": "github.com/zegl/kube-score/cmd/kube-score"},
    ),
    GoModule("kstatus", "sigs.k8s.io/cli-utils", {"kstatus": "."}),
    GoModule("health", "github.com/fluxcd/pkg/runtime", {"health": "."}),
    GoModule(
        "cyclonus",
        "github.com/mattfenwick/cyclonus",
        {"cyclonus": "github.com/mattfenwick/cyclonus/cmd/cyclonus"},
    ),
    # Without the discovery of targets in clouds, the build takes a fifth of the time.
    GoModule(
        "prometheus",
        "github.com/prometheus/prometheus",
        {"promtool": "github.com/prometheus/prometheus/cmd/promtool"},
        tags=("remove_all_sd",),
    ),
    GoModule(
        "torchwood",
        "filippo.io/torchwood",
        {"litewitness": "filippo.io/torchwood/cmd/litewitness"},
    ),
)


def module_of(binary: str) -> GoModule:
    """Returns the module that `binary` is built from."""
    return next(module for module in MODULES if binary in module.packages)
