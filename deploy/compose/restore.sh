#!/usr/bin/env bash
# Restores a backup on empty volumes and starts the stack: deploy/compose/restore.sh FOLDER.
# The stack reads its passwords from .env, so first copy the backup's file `env` to .env.
set -euo pipefail

source=${1:?"name the backup: deploy/compose/restore.sh FOLDER"}
if [ ! -e "$source/SHA256SUMS" ]; then
    echo "$source has no file SHA256SUMS: it is not a backup, or the backup was interrupted" >&2
    exit 1
fi
(cd "$source" && sha256sum --quiet --check SHA256SUMS)

inside() { docker compose run --rm -T --no-deps "$@"; }
tables() {
    docker compose exec -T postgres psql --username postgres --dbname "$1" --tuples-only --no-align \
        --command "select count(*) from pg_tables where schemaname = 'public'"
}

docker compose up --detach --wait postgres object-store
for database in airflow mlflow; do
    if [ "$(tables "$database")" != 0 ]; then
        echo "The database $database is not empty. A backup is restored only on empty volumes. Nothing was changed." >&2
        exit 1
    fi
done
inside buckets
inside buckets python3 deploy/compose/objects.py load < "$source/objects.tar"
for database in airflow mlflow; do
    docker compose exec -T postgres pg_restore --username postgres --dbname "$database" --no-owner \
        --role "$database" --single-transaction --exit-on-error < "$source/$database.dump"
done
inside scheduler tar --extract --directory /var/lib/tailrace --no-overwrite-dir < "$source/home.tar"
if [ -e "$source/notebooks.tar" ]; then
    inside backup tar --extract --directory /var/lib/notebooks --no-overwrite-dir < "$source/notebooks.tar"
fi
docker compose up --detach --wait
