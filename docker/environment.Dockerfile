# One repository's environment: the machine above, and what was built in a sandbox, in a single layer without build tools.
ARG MACHINE
FROM ${MACHINE}
# Holds `env/` (mounted nowhere: the root is read-only) and `gymforge/testbed/` (copied to /testbed at start).
ADD environment.tar /
