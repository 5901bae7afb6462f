#!/bin/sh
# In a builder stage, without an index: install.sh packages EXTRAS, then install.sh project.
set -eu
python=/opt/packages/bin/python
pip="/pip/bin/pip --python $python install --disable-pip-version-check --no-cache-dir --no-index"

case $1 in
packages)
    python3 -m venv /pip
    python3 -m venv --without-pip /opt/packages
    $python - "$2" >/requirements.txt <<'END'
import sys, tomllib
project = tomllib.load(open("/pyproject.toml", "rb"))["project"]
extras = [project["optional-dependencies"][extra] for extra in sys.argv[1].split(",")]
print(*project["dependencies"], *sum(extras, []), sep="\n")
END
    $pip --find-links /wheels -c /constraints.txt -r /requirements.txt
    packages=$($python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    # What only the packages' developers need, a tenth of the whole: their tests, torch's test programs, and its headers,
    # with which code is compiled for a GPU alone.
    rm -rf "$packages/torch/test" "$packages"/torch/bin/*[Tt]est*
    [ "$($python -c 'import torch; print(torch.version.cuda)')" != None ] || rm -rf "$packages/torch/include"
    find "$packages" -type d -name tests -prune -exec rm -rf {} +
    echo /opt/switchpoint >"$packages/switchpoint.pth"
    ;;
project)
    $pip --no-deps --target /opt/switchpoint /project/*.whl
    ;;
esac
