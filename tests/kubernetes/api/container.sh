#!/usr/bin/env bash
# Runs a command as a container would see it: in a mount namespace of its own, volumes at their mount paths.
# usage: unshare --mount --propagation private container.sh MOUNTS KEEP OVERLAYS WORKDIR COMMAND...
#   MOUNTS    file, one "source<TAB>target" a line, outer targets first
#   KEEP      file, one folder of the host a line that stays visible where a volume is mounted above it
#   OVERLAYS  empty folder for what makes missing mount points appear without touching the host
set -euo pipefail
mounts=$1 keep=$2 overlays=$3 workdir=$4
shift 4
mount -t tmpfs tmpfs "$overlays"
owned=() # folders beneath which nothing of the host is written

make_writable() { # overlays the nearest existing parent of $1, unless it is the container's own already
    local parent=$1 mine layer
    for mine in "${owned[@]}"; do
        case $parent/ in "$mine"/*) return ;; esac
    done
    while [ ! -d "$parent" ]; do parent=$(dirname "$parent"); done
    if [ "$parent" = / ]; then
        echo "container.sh: cannot make the mount point $1 directly under /" >&2
        exit 125
    fi
    layer=$overlays/${parent//\//_}
    mkdir -p "$layer/upper" "$layer/work"
    mount -t overlay overlay -o "lowerdir=$parent,upperdir=$layer/upper,workdir=$layer/work" "$parent"
    owned+=("$parent")
}

keep_visible() { # binds what KEEP names beneath the target $2 into the folder $1 that will cover it
    local kept
    while read -r kept; do
        case $kept in
        "$2"/*)
            mkdir -p "$1${kept#"$2"}"
            mount --rbind "$kept" "$1${kept#"$2"}"
            ;;
        esac
    done < "$keep"
}

while IFS=$'\t' read -r source target; do
    target=$(readlink -m "$target")
    if [ -d "$source" ]; then
        keep_visible "$source" "$target"
        if [ ! -d "$target" ]; then
            make_writable "$target"
            mkdir -p "$target"
        fi
    elif [ ! -e "$target" ]; then
        make_writable "$(dirname "$target")"
        mkdir -p "$(dirname "$target")"
        touch "$target"
    fi
    mount --rbind "$source" "$target"
    owned+=("$target")
done < "$mounts"

cd "$workdir"
exec "$@"
