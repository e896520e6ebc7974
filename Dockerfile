# The image of spoe-guard: python3, the compiled package and what it needs; no compiler, no pip, not root.
#
#   docker build -t spoe-guard .          (podman and buildah too; with `--format docker`, or HEALTHCHECK is lost)
#   docker run --read-only -p 12345:12345 spoe-guard run --listen 0.0.0.0:12345 --agent agent:9000
#
# Nothing here is for one architecture. Each platform gets the base, the packages and the compiler that are its own:
#   docker buildx build --platform linux/amd64,linux/arm64 .     (compiled by emulation where the machine is another one: slowly)
#
# BASE may be any Debian 12 or later, or an image that brings python3 >= 3.11 itself (python:3.13-slim). A tag moves: what you run
# build by digest, --build-arg BASE=debian:bookworm-slim@sha256:... (`docker buildx imagetools inspect debian:bookworm-slim` says it).
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS runtime
RUN command -v python3 \
    || { apt-get update && apt-get install --yes --no-install-recommends python3 && rm -rf /var/lib/apt/lists /var/cache/apt/archives; }

FROM runtime AS build
ARG TARGETPLATFORM
RUN echo "compiled on $(uname -m) for ${TARGETPLATFORM:-this machine}"
RUN python3 -c 'import ensurepip' \
    || { apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists /var/cache/apt/archives; }
# What compiles stays behind in this stage. A base that brings its own python3 has the headers of it, too.
RUN { command -v cc && [ -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]; } \
    || { apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev \
        && rm -rf /var/lib/apt/lists /var/cache/apt/archives; }
# Of every package one version, by the hashes of its files (`make lock`), and nothing that would have to be built first.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY .ci/locks /src/.ci/locks
RUN python3 -m venv /opt/build && python3 -m venv /opt/spoe-guard \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: --requirement /src/.ci/locks/build.txt \
    && /opt/spoe-guard/bin/pip install --require-hashes --only-binary :all: --requirement /src/.ci/locks/runtime.txt
COPY . /src
# pip has done its work then: an image that cannot install anything has less to offer to an intruder.
RUN SPOE_GUARD_COMPILE=require /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /opt/build/wheels /src \
    && /opt/spoe-guard/bin/pip install --no-deps --no-index /opt/build/wheels/*.whl \
    && /opt/spoe-guard/bin/pip check \
    && /opt/spoe-guard/bin/pip uninstall --yes pip setuptools

# The Python packages of the image as a CycloneDX SBOM, told by the environment itself. `make sbom` takes it out of the image.
# Debian's packages are in the one that BuildKit attests (--sbom=true), as .github/workflows does.
FROM build AS sbom
RUN python3 -m venv /opt/sbom \
    && /opt/sbom/bin/pip install --require-hashes --only-binary :all: --requirement /src/.ci/locks/sbom.txt \
    && /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file /opt/spoe-guard.cdx.json /opt/spoe-guard

FROM runtime
COPY --from=build /opt/spoe-guard /opt/spoe-guard
COPY --from=sbom /opt/spoe-guard.cdx.json /opt/spoe-guard/
# `make image` says which commit it was made from.
ARG BASE
ARG REVISION=unknown
LABEL org.opencontainers.image.title="spoe-guard" \
    org.opencontainers.image.description="A transparent proxy between HAProxy and an SPOE agent" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.source="https://github.com/your_org/spoe-guard" \
    org.opencontainers.image.documentation="https://your_org.github.io/spoe-guard/" \
    org.opencontainers.image.base.name="${BASE}"
ENV PATH=/opt/spoe-guard/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# By number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 10001:10001
# admin.listen's default; change it here (--health-cmd, docker-compose's healthcheck) where you change it there.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/healthz', timeout=2)"]
# Exec form: spoe-guard itself is PID 1 and gets SIGTERM.
ENTRYPOINT ["spoe-guard"]
CMD ["run"]
