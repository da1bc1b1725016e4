#!/bin/sh
# One database and one role each for MLflow and Optuna. Run by the postgres image on an empty volume, or by hand as a superuser
# (PGHOST, PGPORT, PGUSER as psql has them); SECRETS is the folder with the two password files.
set -eu
export SECRETS="${SECRETS:-/run/secrets}"
for NAME in mlflow optuna; do
    export NAME
    psql -v ON_ERROR_STOP=1 -v name="$NAME" -U "${PGUSER:-${POSTGRES_USER:-postgres}}" -d postgres <<'SQL'
\set password `cat "$SECRETS/${NAME}_password"`
create role :"name" login password :'password';
create database :"name" owner :"name";
revoke connect on database :"name" from public;
SQL
done
