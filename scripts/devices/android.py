#!/usr/bin/env python3
"""Time ONNX files on an Android phone over adb, with onnxruntime's own ``onnxruntime_perf_test``.

    vipnas latency build-table resnet-tiny --threads 4 --runtime command \\
      --command "python3 scripts/devices/android.py --threads {threads} --rounds {rounds} {onnx_files}"

Assumes: adb sees one phone (or --serial says which), and onnxruntime_perf_test, built for Android, lies on it with its
library libonnxruntime.so, executable, in --folder. Files are pushed together and removed again. onnxruntime_perf_test
gives the median of the passes (where it is too old for that, the mean), so there is no spread.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

TOOL = "onnxruntime_perf_test"
MEDIAN_S = re.compile(r"^P50 Latency\D*([\d.eE+-]+)\s*s", re.MULTILINE)
MEAN_MS = re.compile(r"^Average inference time cost[^:]*:\s*([\d.eE+-]+)\s*ms", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", metavar="FILE.onnx", type=Path, nargs="+")
    parser.add_argument("--serial", help="the phone, as `adb devices` lists it")
    parser.add_argument("--folder", default="/data/local/tmp", help=f"where {TOOL} lies on the phone")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15, help="passes of each file")
    parser.add_argument("--provider", default="cpu", help="cpu, xnnpack, nnapi, qnn: what the tool was built with")
    arguments = parser.parse_args()
    adb = ["adb", *(["-s", arguments.serial] if arguments.serial else [])]
    model, version = (call([*adb, "shell", "getprop", key]).strip() for key in
                      ("ro.product.model", "ro.build.version.release"))  # fmt: skip
    folder = f"{arguments.folder}/vipnas"
    call([*adb, "shell", f"mkdir -p {shlex.quote(folder)}"])
    try:
        call([*adb, "push", *map(str, arguments.files), folder])
        found = {path.name: milliseconds(adb, arguments, f"{folder}/{path.name}") for path in arguments.files}
    finally:
        call([*adb, "shell", f"rm -rf {shlex.quote(folder)}"])
    print(json.dumps({"fingerprint": f"{model}, Android {version}, onnxruntime {arguments.provider}", **found}))


def milliseconds(adb: list[str], arguments: argparse.Namespace, file: str) -> float:
    """Of one file on the phone, with random input."""
    provider = shlex.quote(arguments.provider)
    options = f"-I -s -o 99 -m times -r {arguments.rounds} -x {arguments.threads} -y 1 -e {provider}"
    there = f"cd {shlex.quote(arguments.folder)} && LD_LIBRARY_PATH=. ./{TOOL} {options} {shlex.quote(file)}"
    printed = call([*adb, "shell", there])
    if median := MEDIAN_S.search(printed):
        return 1e3 * float(median[1])
    if mean := MEAN_MS.search(printed):
        return float(mean[1])
    sys.exit(f"{TOOL} printed no latency of {file}: {' '.join(printed.split())[-200:]}")


def call(words: list[str]) -> str:
    """What a command prints; it ends this program where it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        sys.exit(f"{words[0]}: {error.strerror}; is it installed?")
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        sys.exit(f"{' '.join(words[:3])} … ended with code {done.returncode}: {said}")
    return done.stdout


if __name__ == "__main__":
    main()
