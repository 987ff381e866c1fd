# The machine that untrusted Python runs on: an interpreter, git, one unprivileged user, nothing of gymforge's own.
# The agent is sent in when a container starts, so stored environments outlive releases of it.
# No CA bundle: apt verifies packages by signature over plain HTTP, and nothing else here downloads.
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE}
USER 0:0
RUN if ! command -v git >/dev/null || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then \
      apt-get update \
      && apt-get install --yes --no-install-recommends ca-certificates git python3 python3-venv \
      && rm -rf /var/lib/apt/lists/*; \
    fi \
    && if ! getent passwd 1000 >/dev/null; then \
      echo 'gym:x:1000:1000::/home/gym:/bin/sh' >> /etc/passwd && echo 'gym:x:1000:' >> /etc/group; \
    fi \
    && mkdir -p /env /testbed /home/gym /gymforge/testbed \
    && chown 1000:1000 /env /testbed /home/gym /gymforge/testbed
USER 1000:1000
WORKDIR /testbed
