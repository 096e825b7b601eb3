#!/usr/bin/env bash
# Makes a virtual environment and installs vipnas into it, in place, with the versions of constraints.txt.
#   scripts/setup_environment.sh FOLDER [EXTRA]       EXTRA: dev, openvino, or both as dev,openvino
# PYTHON names the interpreter (default python3). Which build of torch comes, CPU or CUDA, is the package index's answer.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:?"usage: scripts/setup_environment.sh FOLDER [EXTRA]"}
extra=${2:-}
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
  echo "vipnas needs Python 3.10 or newer; '$python' is not (choose one with PYTHON=…)" >&2
  exit 2
fi
if [ ! -x "$folder/bin/python" ]; then
  "$python" -m venv "$folder" || { echo "cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
fi

echo "installing vipnas into $folder (about a minute; a gigabyte or two)"
# --no-compile: most modules are never imported, and those that are get compiled then.
"$folder/bin/python" -m pip install -qq --disable-pip-version-check --no-input --no-compile \
  --constraint constraints.txt --editable ".${extra:+[$extra]}"
echo "installed: $("$folder/bin/python" -c 'import importlib.metadata as m; print("vipnas", m.version("vipnas"), "with torch", m.version("torch"))')"
