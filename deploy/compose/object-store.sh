#!/bin/sh
# Starts SeaweedFS with the keys and rights of object-store.json, which are filled in from the environment.
# object-store.sh FOLDER [OPTION ...]. The configuration with the keys is written where only this user can read it.
#
# Only S3 listens for the other containers. The master, the volume server and the filer ask for no login, so they listen
# on 127.0.0.1. S3's gRPC port would let anyone add a key with all rights; it asks for a token that is signed with
# OBJECT_STORE_SIGNING_KEY, which nothing else has.
set -eu
umask 077

here=$(dirname "$0")
folder=$1
shift
keys=$(mktemp)
awk '{
    while (match($0, /\$\{[A-Z_]+\}/)) {
        name = substr($0, RSTART + 2, RLENGTH - 3)
        if (ENVIRON[name] == "") { print name " is not set: run make secrets" > "/dev/stderr"; exit 1 }
        $0 = substr($0, 1, RSTART - 1) ENVIRON[name] substr($0, RSTART + RLENGTH)
    }
    print
}' "$here/object-store.json" > "$keys"
export WEED_JWT_SIGNING_KEY="${OBJECT_STORE_SIGNING_KEY:?run make secrets}"
export WEED_JWT_FILER_SIGNING_KEY="$OBJECT_STORE_SIGNING_KEY"

# No telemetry, no catalogs, no users that are made through S3: object-store.json has all of them. A bucket begins with
# seven volumes. With the number of volumes left to SeaweedFS, which divides the free space by a volume's size, the first
# bucket would take them all on a small disk, and the second could not be written. The volumes grow as they are filled.
exec weed -logtostderr=true server -dir="$folder" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.peers=none -master.telemetry=false -master.volumeSizeLimitMB=4096 -volume.max=1000 \
    -filer -s3 -s3.ip.bind=0.0.0.0 -s3.port=9000 -s3.config="$keys" -s3.iam=false \
    -s3.port.iceberg=0 -s3.port.lance=0 -s3.autoCreateBucket=false "$@"
