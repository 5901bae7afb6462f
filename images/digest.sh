#!/bin/sh
# The digest of what goes into the images: the lock, the Containerfile and the project's wheel.
set -eu
cd "$(dirname "$0")/.."
cat constraints.txt images/Containerfile build/project/*.whl | sha256sum | cut -d ' ' -f 1
