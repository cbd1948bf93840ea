#!/usr/bin/env bash
# Backs up the running stack into a new folder: deploy/compose/backup.sh FOLDER. docs/stack.md explains the order.
set -euo pipefail
umask 077

target=${1:?"name the folder: deploy/compose/backup.sh FOLDER"}
if [ -e "$target" ]; then echo "$target exists already; name another folder" >&2; exit 1; fi
partial=$target.partial
rm -rf "$partial"
mkdir -p "$partial"

dump() { docker compose exec -T postgres pg_dump --username postgres --format custom "$1" > "$partial/$1.dump"; }
inside() { docker compose run --rm -T --no-deps "$@"; }

dump airflow
inside backup python3 deploy/compose/objects.py versions > "$partial/tables.json"
dump mlflow
tables=$(< "$partial/tables.json")
inside backup python3 deploy/compose/objects.py save "$tables" > "$partial/objects.tar"
# tar exits with 1 if a file grew while it was read. The logs of running tasks do.
docker compose exec -T scheduler tar --create --directory /var/lib/tailrace . > "$partial/home.tar" || [ $? -eq 1 ]
inside backup tar --create --directory /var/lib/notebooks . > "$partial/notebooks.tar" || [ $? -eq 1 ]
# .env has the Fernet key. Without it, connections stored in Airflow cannot be read.
if [ -e .env ]; then cp .env "$partial/env"; fi
# Written last: a folder without this file is not a complete backup.
(cd "$partial" && sha256sum -- * > SHA256SUMS)
mv "$partial" "$target"
du -sh "$target"
