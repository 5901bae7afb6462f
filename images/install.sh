#!/bin/sh
# In a builder stage: the project with these extras from /wheels into /opt/switchpoint, at the versions of the lock.
set -eu
extras=$1
python3 -m venv /pip
python3 -m venv --without-pip /opt/switchpoint
/pip/bin/pip --python /opt/switchpoint/bin/python install --disable-pip-version-check --no-cache-dir \
    --no-index --find-links /wheels -c /constraints.txt "switchpoint[$extras]"

# What only developers of the packages need, a tenth of the whole: their tests, and torch's headers and test programs.
packages=$(/opt/switchpoint/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
rm -rf "$packages/torch/include" "$packages/torch/test" "$packages"/torch/bin/*Test
find "$packages" -type d -name tests -prune -exec rm -rf {} +
