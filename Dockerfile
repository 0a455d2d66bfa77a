# syntax=docker/dockerfile:1
# VaultStream: one image for the operator, the workers and the command. Build it with docker, podman or buildah. Without a
# registry, hack/image builds it on its own base image.
#
# Any Debian with Python 3.11 or newer and its venv module works as the base; what runs is copied from it, see docs/adr/0024. The image to build with is of the same system, and has a C compiler and
# Python's headers; only the native extension comes from it.
ARG BASE_IMAGE=python:3.13-slim-trixie
ARG BUILD_IMAGE=python:3.13-trixie

# On x86-64, with the extension; elsewhere the image goes without it.
FROM ${BUILD_IMAGE} AS native
WORKDIR /build
COPY constraints/native.txt constraints/
COPY hack/native hack/
COPY workers/native workers/native
RUN cc -std=gnu11 -O2 -Wall -Wextra -static -Wl,--build-id=none -s -ffile-prefix-map="$PWD=." \
        workers/native/listener/listener.c -o vaultstream-listen
RUN mkdir -p workers/vaultstream/crypto \
    && python -m venv .venv \
    && hack/native --required

FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off
WORKDIR /build

# Packages first: they change less often than the code. Only wheels, each checked against its hash.
COPY constraints/build.txt constraints/image.txt constraints/sbom.txt constraints/
RUN python -m venv tools \
    && python -m venv --without-pip lister \
    && tools/bin/pip install --require-hashes --only-binary :all: --requirement constraints/build.txt \
    && python -m venv --without-pip /opt/vaultstream \
    && tools/bin/pip --python /opt/vaultstream/bin/python install --no-compile --no-deps \
        --require-hashes --only-binary :all: --requirement constraints/image.txt \
    && tools/bin/pip --python lister/bin/python install --no-compile --no-deps \
        --require-hashes --only-binary :all: --requirement constraints/sbom.txt

COPY pyproject.toml README.md LICENSE NOTICE ./
COPY constraints/native.txt constraints/
COPY hack/native hack/native_wheel.py hack/
COPY workers workers
COPY operator operator
COPY cli cli
COPY --from=native /build/workers workers
COPY --from=native /build/vaultstream-listen /opt/vaultstream/bin/
# Of the Kubernetes client, the login and the requests are used, and kopf uses three models: its classes for each kind, three quarters of
# all Python code, are left out. Bytecode without timestamps: the root file system is read-only, and builds are reproducible.
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && tools/bin/pip --python /opt/vaultstream/bin/python install --no-compile --no-deps --no-index wheels/*.whl \
    && find /opt/vaultstream -name direct_url.json -delete \
    && mkdir -p /opt/vaultstream/share \
    && sed "s/^dynamic = .*/version = \"$(ls wheels | cut -d - -f 2)\"/" pyproject.toml >listed.toml \
    && lister/bin/cyclonedx-py environment --output-reproducible --pyproject listed.toml \
        --output-file /opt/vaultstream/share/sbom.cdx.json /opt/vaultstream/bin/python \
    && find /opt/vaultstream/lib \( -path '*/kubernetes/client/*' -o -path '*/kubernetes/aio/client/*' \) \
        \( -path '*/api/*' -o -path '*/models/*' \) -name '*.py' ! -name __init__.py \
        ! -name v1_managed_fields_entry.py ! -name v1_object_meta.py ! -name v1_owner_reference.py -delete \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/vaultstream/lib \
    && find /opt/vaultstream -exec touch --no-dereference --date=@0 {} +

# The rest of the image: Python and the libraries that it links, without a shell, a package manager or a program with other rights.
# Everything must load there, or the build fails.
FROM build AS root
COPY hack/image_root.py hack/
RUN mkdir /root-of-image \
    && /opt/vaultstream/bin/python hack/image_root.py /root-of-image \
    && mkdir /root-of-image/opt && cp -a /opt/vaultstream /root-of-image/opt/ \
    && chroot /root-of-image /opt/vaultstream/bin/python -B -c "import ssl, vaultstream_operator.main, vaultstream.roles, vaultstream.engine" \
    && chroot /root-of-image /opt/vaultstream/bin/vaultstream-listen /opt/vaultstream/bin/python -B /opt/vaultstream/bin/vaultstream --help >/dev/null \
    && rm -rf /root-of-image/opt/vaultstream \
    && find /root-of-image -exec touch --no-dereference --date=@0 {} +

FROM ${BASE_IMAGE} AS base

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="VaultStream" \
      org.opencontainers.image.description="Signs records in bulk, and proves it: one valid signature per record, one signer per key, whatever crashes." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=root /root-of-image /
COPY --from=base /etc/ssl/certs /etc/ssl/certs
COPY --from=base /usr/share/ca-certificates /usr/share/ca-certificates
COPY --from=build /opt/vaultstream /opt/vaultstream
# Libraries look up the name of the user, and this user id has none, nor do ids that a cluster assigns: USER is used instead.
ENV PATH=/opt/vaultstream/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    USER=vaultstream
WORKDIR /tmp
USER 65532:65532
# Listens for the kubelet before Python has started, if it is a worker of a pod.
ENTRYPOINT ["vaultstream-listen", "vaultstream"]
