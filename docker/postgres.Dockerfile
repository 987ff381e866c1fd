# The database of Prefect's server, from Debian's own packages.
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE}
USER 0:0
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql \
    && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/* \
    && install -d -o postgres -g postgres /var/lib/postgresql/data
USER postgres
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
CMD ["sh", "-c", "set -e; cd /var/lib/postgresql/data; bin=$(ls -d /usr/lib/postgresql/*/bin); \
  if [ ! -s PG_VERSION ]; then umask 077; printf '%s' \"$POSTGRES_PASSWORD\" > /tmp/password; \
  \"$bin/initdb\" --pgdata=. --username=prefect --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 >/dev/null; rm /tmp/password; \
  echo 'host all prefect all scram-sha-256' >> pg_hba.conf; fi; \
  exec \"$bin/postgres\" -D . -c listen_addresses='*' -c unix_socket_directories=/tmp"]
