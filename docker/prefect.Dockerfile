# Prefect's server and gymforge's worker: the project and its locked dependencies in one environment.
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE}
USER 0:0
RUN if ! command -v git >/dev/null || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then \
      apt-get update \
      && apt-get install --yes --no-install-recommends ca-certificates git python3 python3-venv \
      && rm -rf /var/lib/apt/lists/*; \
    fi
WORKDIR /gymforge
# `docker/ca.pem`, where there is one, holds the CA certificates of a proxy that signs anew.
COPY requirements.lock docker/ca.pe[m] ./
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt
RUN if [ -f ca.pem ]; then cat ca.pem >> /etc/ssl/certs/ca-certificates.crt; fi \
    && python3 -m venv /venv \
    && /venv/bin/pip install --quiet --no-cache-dir uv \
    && /venv/bin/uv pip install --quiet --no-cache --python /venv/bin/python --require-hashes --requirement requirements.lock
COPY . .
# What releases, reports and publishing need besides, at the versions that the tests ran with.
RUN /venv/bin/uv pip install --quiet --no-cache --python /venv/bin/python --constraint requirements-dev.lock '.[docker,release,report]'
ENV PATH=/venv/bin:${PATH} DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false
WORKDIR /work
