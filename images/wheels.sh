#!/bin/sh
# Collects in build/wheels all that the images install, with this machine's own pip (`PYTHON -m pip`).
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
wheels=build/wheels

# The build backend would take modules of earlier builds along. The date makes equal files equal wheels.
rm -rf build/lib build/bdist.* "$wheels"/switchpoint-*.whl
SOURCE_DATE_EPOCH=315532800 "$python" -m pip wheel --disable-pip-version-check --no-deps -w "$wheels" .
project=$(ls "$wheels"/switchpoint-*.whl)
"$python" -m pip download --disable-pip-version-check -c constraints.txt --find-links "$wheels" -d "$wheels" \
    "$project[data,gguf,s3]"

# Some packages come as source only; the images have no build tools.
for source in "$wheels"/*.tar.gz "$wheels"/*.zip; do
    [ -e "$source" ] || continue
    "$python" -m pip wheel --disable-pip-version-check --no-deps -w "$wheels" "$source"
    rm "$source"
done
