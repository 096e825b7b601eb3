#!/usr/bin/env python3
"""Time ONNX files with TensorRT's ``trtexec`` on an NVIDIA GPU or a Jetson.

    vipnas latency build-table resnet-tiny --runtime command --command-timeout-s 600 \\
      --command "python3 scripts/devices/tensorrt.py {onnx_files} -- --fp16"

Assumes: trtexec is on the PATH. What stands after -- is given to trtexec. Each file is built into an engine, which
takes seconds to minutes, then run for three seconds; the passes are trtexec's means of ten runs of the GPU's time,
without the copies to the GPU and back.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

RUNS_A_PASS = 10
PASS_MS = re.compile(r"Average on \d+ runs - GPU latency: ([\d.eE+-]+) ms")
MEDIAN_MS = re.compile(r"GPU Compute Time: .*?median = ([\d.eE+-]+) ms")
DEVICE = re.compile(r"Selected Device: (.+)")
VERSION = re.compile(r"TensorRT version: (\S+)")


def main() -> None:
    words, options = sys.argv[1:], []
    if "--" in words:
        at = words.index("--")
        words, options = words[:at], words[at + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", metavar="FILE.onnx", type=Path, nargs="+")
    found: dict[str, object] = {}
    for path in parser.parse_args(words).files:
        printed = run([f"--onnx={path}", f"--avgRuns={RUNS_A_PASS}", *options])
        passes = PASS_MS.findall(printed) or MEDIAN_MS.findall(printed)
        if not passes:
            sys.exit(f"trtexec printed no GPU time of {path.name}")
        device, version = (pattern.search(printed) for pattern in (DEVICE, VERSION))
        name = device[1].strip() if device else "an NVIDIA GPU"
        found["fingerprint"] = " ".join([f"{name}, TensorRT {version[1] if version else '?'}", *options])
        found[path.name] = [float(one) for one in passes]
    print(json.dumps(found))


def run(options: list[str]) -> str:
    """What trtexec prints; it ends this program where it fails."""
    try:
        done = subprocess.run(["trtexec", *options], capture_output=True, text=True, check=False)
    except OSError as error:
        sys.exit(f"trtexec: {error.strerror}; put TensorRT's bin folder on the PATH")
    if done.returncode:
        errors = [line for line in (done.stdout + done.stderr).splitlines() if "[E]" in line]
        sys.exit(f"trtexec ended with code {done.returncode}: {errors[-1] if errors else 'without an error'}")
    return done.stdout


if __name__ == "__main__":
    main()
