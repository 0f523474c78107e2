#!/bin/sh
# Run once by the PostgreSQL container, on its empty disk: a role and a database of its own for each
# service, which no other role may enter.
set -eu
for service in gateway identity users tweets graph engagements timelines search notifications; do
  psql --set=ON_ERROR_STOP=1 --username=postgres --set="service=$service" \
    --set="password=$POSTGRES_PASSWORD" <<'SQL'
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"service";
REVOKE CONNECT ON DATABASE :"service" FROM PUBLIC;
SQL
done
# From other containers with TLS only.
sed -i 's/^host all all all /hostssl all all all /' "$PGDATA/pg_hba.conf"
grep -q '^hostssl all all all ' "$PGDATA/pg_hba.conf"
psql --set=ON_ERROR_STOP=1 --username=postgres \
  --command='REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC'
