#!/usr/bin/env bash
# Times ONNX files on a Raspberry Pi, or any other Linux board, over ssh: one connection carries the files and
# time_onnx.py there and the milliseconds back. Nothing stays on the board.
#   vipnas latency build-table resnet-tiny --threads 4 --runtime command \
#     --command "scripts/devices/raspberry_pi.sh pi@raspberrypi {threads} {rounds} {onnx_files}"
# Assumes: ssh to the board without a password (ssh-copy-id); there python3 with numpy and onnxruntime, which PYTHON
# may name, as PYTHON=venv/bin/python.
set -euo pipefail
if [ $# -lt 4 ]; then
  echo "usage: raspberry_pi.sh HOST THREADS ROUNDS FILE.onnx..." >&2
  exit 2
fi
host=$1 threads=$2 rounds=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -- "$here/time_onnx.py" "$@" "$work"
names=$(cd "$work" && printf ' "$d"/%q' *.onnx)
# What the board runs; the arguments are numbers and names without spaces of ours.
printf -v there 'd=$(mktemp -d) && trap '\''rm -rf "$d"'\'' EXIT && tar -xf - -C "$d" && %q "$d/time_onnx.py" --threads %q --rounds %q%s' \
  "${PYTHON:-python3}" "$threads" "$rounds" "$names"
tar -cf - -C "$work" . | ssh -o BatchMode=yes -o ConnectTimeout=20 "$host" "$there"
