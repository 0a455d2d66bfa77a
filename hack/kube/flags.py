"""The command lines of the control plane, as pure functions of directories, addresses and certificates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from kube.certificates import Authority, KeyPair

SERVICE_CIDR = "198.19.0.0/16"
"""Addresses of Services, in the range reserved for tests (RFC 2544)."""

_FIRST_SERVICE = "198.19.0.1"  # the Service `kubernetes`, through which pods reach the API
_LOOPBACK = "127.0.0.1"
_ISSUER = "https://kubernetes.default.svc.cluster.local"
_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True)
class ControlPlane:
    """The configuration of one control plane with its three servers.

    Args:
        data: the directory of etcd's data.
        host: the address of the API; etcd listens on loopback.
        ports: the ports of `api`, `etcd` and `peer`.
        authority: issues the certificates of servers and users.
    """

    data: Path
    host: str
    ports: dict[str, int]
    authority: Authority

    def etcd(self) -> list[str]:
        """Returns the arguments of etcd. It requires a client certificate, because it holds all Secrets."""
        server = self._etcd_pair()
        client, peer = self._etcd_url(), f"http://{_LOOPBACK}:{self.ports['peer']}"
        return [
            f"--data-dir={self.data}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--client-cert-auth",
            f"--trusted-ca-file={self.authority.pair.certificate}",
            f"--cert-file={server.certificate}",
            f"--key-file={server.key}",
            "--unsafe-no-fsync",  # safe if a server crashes, not if the machine does
            "--log-level=warn",
        ]

    def apiserver(self) -> list[str]:
        """Returns the arguments of kube-apiserver: RBAC, the default admission plug-ins, service account tokens."""
        authority, etcd, accounts = self.authority, self._etcd_pair(), self._accounts_pair()
        ca = authority.pair.certificate
        hosts = (*_NAMES, self.host, _LOOPBACK, _FIRST_SERVICE)
        server = authority.issue("apiserver", "kube-apiserver", hosts=dict.fromkeys(hosts))
        proxy = authority.issue("front-proxy-client", "front-proxy-client")
        return [
            f"--bind-address={self.host}",
            f"--advertise-address={self.host}",
            f"--secure-port={self.ports['api']}",
            f"--etcd-servers={self._etcd_url()}",
            f"--etcd-cafile={ca}",
            f"--etcd-certfile={etcd.certificate}",
            f"--etcd-keyfile={etcd.key}",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            f"--client-ca-file={ca}",
            f"--tls-cert-file={server.certificate}",
            f"--tls-private-key-file={server.key}",
            f"--service-account-issuer={_ISSUER}",
            f"--service-account-key-file={accounts.certificate}",
            f"--service-account-signing-key-file={accounts.key}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            f"--requestheader-client-ca-file={ca}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={proxy.certificate}",
            f"--proxy-client-key-file={proxy.key}",
            "--shutdown-watch-termination-grace-period=1s",  # otherwise open watches delay its exit by a minute
            # Endpoints on loopback are invalid, and the endpoint reconciler would log errors all the time.
            f"--endpoint-reconciler-type={'none' if self.host == _LOOPBACK else 'lease'}",
        ]

    def controllers(self, kubeconfig: Path) -> list[str]:
        """Returns the arguments of kube-controller-manager, which listens on no port."""
        ca = self.authority.pair
        return [
            f"--kubeconfig={kubeconfig}",
            f"--root-ca-file={ca.certificate}",
            f"--service-account-private-key-file={self._accounts_pair().key}",
            f"--cluster-signing-cert-file={ca.certificate}",
            f"--cluster-signing-key-file={ca.key}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--secure-port=0",
            # Each controller first requests a token. With the default of 20 calls per second, that would take longer
            # than the rest of the startup.
            "--kube-api-qps=100",
            "--kube-api-burst=200",
        ]

    def _etcd_url(self) -> str:
        return f"https://{_LOOPBACK}:{self.ports['etcd']}"

    def _etcd_pair(self) -> KeyPair:
        return self.authority.issue("etcd", "etcd", hosts=(_LOOPBACK,))

    def _accounts_pair(self) -> KeyPair:
        return self.authority.issue("service-accounts", "service-accounts")
