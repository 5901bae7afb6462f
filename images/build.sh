#!/bin/sh
# Builds one image without a network: build.sh TARGET TAG. DOCKER, BASE, TRAINER_BASE, TRAINER_WHEELS come from `make`.
set -eu
cd "$(dirname "$0")/.."
target=$1 tag=$2
${DOCKER:-docker} build --network none --file images/Containerfile --target "$target" --tag "$tag" \
    --build-arg "BASE=$BASE" --build-arg "TRAINER_BASE=$TRAINER_BASE" --build-arg "TRAINER_WHEELS=$TRAINER_WHEELS" \
    --build-arg "VERSION=${tag##*:}" --build-arg "REVISION=$(git describe --always --dirty --abbrev=40 --match=)" \
    --build-arg "DIGEST=$(images/digest.sh)" .
