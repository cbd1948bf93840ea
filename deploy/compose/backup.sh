#!/usr/bin/env bash
# A backup of the running stack into a new folder: deploy/compose/backup.sh FOLDER. docs/stack.md says why in this order.
set -euo pipefail
umask 077

target=${1:?"name the folder: deploy/compose/backup.sh FOLDER"}
if [ -e "$target" ]; then echo "$target is there already; name another folder" >&2; exit 1; fi
partial=$target.partial
rm -rf "$partial"
mkdir -p "$partial"

dump() { docker compose exec -T postgres pg_dump --username postgres --format custom "$1" > "$partial/$1.dump"; }
inside() { docker compose run --rm -T --no-deps "$@"; }

dump airflow
inside buckets python3 deploy/compose/objects.py versions > "$partial/tables.json"
dump mlflow
tables=$(< "$partial/tables.json")
inside buckets python3 deploy/compose/objects.py save "$tables" > "$partial/objects.tar"
# 1 is tar's word for a file that grew while it was read, as the logs of running tasks do.
docker compose exec -T scheduler tar --create --directory /var/lib/tailrace . > "$partial/home.tar" || [ $? -eq 1 ]
# Without its Fernet key, connections stored in Airflow are unreadable.
if [ -e .env ]; then cp .env "$partial/env"; fi
# Last of all: a folder without it is no backup.
(cd "$partial" && sha256sum -- * > SHA256SUMS)
mv "$partial" "$target"
du -sh "$target"
