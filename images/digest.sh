#!/bin/sh
# The digest of what goes into the images: the lock, how it is installed, and the project's wheel.
set -eu
cd "$(dirname "$0")/.."
cat constraints.txt images/Containerfile images/install.sh build/project/*.whl | sha256sum | cut -d ' ' -f 1
