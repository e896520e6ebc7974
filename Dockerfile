# The image of spoe-guard: python3, the compiled package and what it needs; no compiler, no pip, not root.
#
#   docker build -t spoe-guard .          (podman and buildah too; with `--format docker`, or HEALTHCHECK is lost)
#   docker run --read-only -p 12345:12345 spoe-guard run --listen 0.0.0.0:12345 --agent agent:9000
#
# BASE may be any Debian 12 or later, or an image that brings python3 >= 3.11 itself (python:3.13-slim).
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS runtime
RUN command -v python3 \
    || { apt-get update && apt-get install --yes --no-install-recommends python3 && rm -rf /var/lib/apt/lists /var/cache/apt/archives; }

FROM runtime AS build
RUN python3 -c 'import ensurepip' \
    || { apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists /var/cache/apt/archives; }
# What compiles stays behind in this stage. A base that brings its own python3 has the headers of it, too.
RUN { command -v cc && [ -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]; } \
    || { apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev \
        && rm -rf /var/lib/apt/lists /var/cache/apt/archives; }
RUN python3 -m venv /opt/spoe-guard
COPY . /src
# pip has done its work then: an image that cannot install anything has less to offer to an intruder.
RUN SPOE_GUARD_COMPILE=require /opt/spoe-guard/bin/pip install --no-cache-dir /src \
    && /opt/spoe-guard/bin/pip uninstall --yes pip setuptools

FROM runtime
COPY --from=build /opt/spoe-guard /opt/spoe-guard
ENV PATH=/opt/spoe-guard/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# By number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 10001:10001
# admin.listen's default; change it here (--health-cmd, docker-compose's healthcheck) where you change it there.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/healthz', timeout=2)"]
# Exec form: spoe-guard itself is PID 1 and gets SIGTERM.
ENTRYPOINT ["spoe-guard"]
CMD ["run"]
