#!/usr/bin/env bash
# The floors hold here, and scripts/check-floors notices each kind of violation. usage: test_floors.sh ROOT
set -euo pipefail
root=$1
"$root/scripts/check-floors" "$root"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
git init -q "$scratch"
must_refuse() { # file, its only line
    mkdir -p "$scratch/$(dirname "$1")"
    printf '%s\n' "$2" >"$scratch/$1"
    git -C "$scratch" add "$1"
    if "$root/scripts/check-floors" "$scratch" 2>/dev/null; then
        echo "not noticed: $1: $2" >&2
        exit 1
    fi
    git -C "$scratch" rm -qf "$1"
}
must_refuse train/a.c '#include "node/host.h"'
must_refuse train/a.c '#include "imaging/image.h"'
must_refuse privacy/a.c '#include "imaging/image.h"'
must_refuse privacy/a.c '#include "base/rng.h"'
must_refuse node/a.c '#include "base/rng.h"'
must_refuse node/a.c '#include "base/scratch.h"'
must_refuse node/a.c '#include "coordinator/host.h"'
must_refuse audit/a.c '#include "proto/net/client.h"'
must_refuse base/a.c '#include "hash.h"'
must_refuse base/a.c '#include <sqlite3.h>'
must_refuse node/a.c '#include <openssl/evp.h>'
must_refuse train/conv.c '#include <cblas.h>'
must_refuse imaging/image.c '#include "dcmtk/dcmdata/dctk.h"'
must_refuse node/a.cpp '#include "base/err.h"'
