#!/bin/sh
# Collects with this machine's own pip (`PYTHON -m pip`) all that the images install: the project's wheel in
# build/project, those of the packages in build/wheels (or in WHEELS).
set -eu
cd "$(dirname "$0")/.."
pip="${PYTHON:-python3} -m pip --disable-pip-version-check"
wheels=${WHEELS:-build/wheels}

# The build backend would take modules of earlier builds along. The date makes equal files equal wheels.
rm -rf build/lib build/bdist.* build/project
SOURCE_DATE_EPOCH=315532800 $pip wheel --no-deps -w build/project .
rm -rf build/lib build/bdist.*
$pip download -c constraints.txt --find-links "$wheels" -d "$wheels" "$(echo build/project/*.whl)[data,mlflow-server,s3]"
rm -f "$wheels"/switchpoint-*.whl

# Some packages come as source only; the images have no build tools.
for source in "$wheels"/*.tar.gz "$wheels"/*.zip; do
    [ -e "$source" ] || continue
    $pip wheel --no-deps -w "$wheels" "$source"
    rm "$source"
done
