"""What a candidate costs in two versions of this program, one search after the other in turns.

    git worktree add BEFORE 4fdf458
    python scripts/compare_versions.py BEFORE RUN [--evaluations 60] [--rounds 3]

RUN is a run folder with a trained supernet, of images or of videos. Each version searches a copy of it by evolution for
AP and MACs, in one process of one thread, with the same seed; of every candidate's own CPU seconds the sum is compared.
The candidates, and their values, have to be the same.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from nas import load_config

COPIED = (
    "space.json", "supernet.safetensors", "video_space.json", "temporal.safetensors", "key.safetensors",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of the other version")
    parser.add_argument("run", type=Path)
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    versions = {"before": arguments.before.resolve(), "now": Path(__file__).resolve().parents[1]}
    seconds: dict[str, list[float]] = {name: [] for name in versions}
    values: dict[str, list[dict[str, Any]]] = {}
    caches = tempfile.mkdtemp()  # crops of a version are no other's
    for round_ in range(arguments.rounds):
        for name in list(versions)[:: 1 if round_ % 2 else -1]:
            records = searched(versions[name], arguments.run, arguments.evaluations, Path(caches) / name)
            seconds[name].append(sum(record["cpu_s"] for record in records))
            values[name] = [{"id": record["id"], **record["objectives"]} for record in records]
            print(f"round {round_ + 1} {name}: {seconds[name][-1] / len(records):.4f} CPU s a candidate", flush=True)
    shutil.rmtree(caches)
    pairs = list(zip(values["before"], values["now"], strict=False))
    same = sum(one["id"] == other["id"] for one, other in pairs)
    apart = max((abs(one["ap"] - other["ap"]) for one, other in pairs if one["id"] == other["id"]), default=0.0)
    ratios = np.array(seconds["now"]) / np.array(seconds["before"])
    medians = ", ".join(f"{name} {np.median(row) / arguments.evaluations:.4f}" for name, row in seconds.items())
    print(f"CPU s a candidate, medians: {medians}; now / before {np.median(ratios):.3f} ({ratios.min():.3f} to "
          f"{ratios.max():.3f}); {same} of {len(pairs)} candidates the same, AP at most {apart:.6f} apart")  # fmt: skip


def searched(checkout: Path, run: Path, evaluations: int, cache: Path) -> list[dict[str, Any]]:
    """The journal's records."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        copy.mkdir()
        for name in COPIED:
            if (run / name).is_file():
                shutil.copyfile(run / name, copy / name)
        (copy / "given.json").write_text(json.dumps(settings(run, copy, evaluations)))
        environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cache)}
        command = [sys.executable, "-m", "nas", "search", str(copy / "given.json")]
        done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{checkout}: {done.stderr}")
        return [json.loads(line) for line in (copy / "evaluations.jsonl").read_text().splitlines()]


def settings(run: Path, copy: Path, evaluations: int) -> dict[str, Any]:
    """A configuration that both versions know: of the run's own, what decides which people are seen, and how."""
    config = load_config(run / "config.yaml")
    video, found = config.data.video, config.data
    data: dict[str, Any] = {"folder": _whole(found.folder), "codec": found.codec}
    if config.is_video:
        data["video"] = {"folder": _whole(video.folder), "layout": video.layout, "frame_step": video.frame_step}
    return {
        "run_dir": str(copy), "data": data,
        "space": str(copy / "space.json") if (copy / "space.json").is_file() else config.space,
        "search": {"evaluations": evaluations, "workers": 0, "algorithm": "evolution", "objectives": ["ap", "macs"]},
        "candidate": {"persons": config.candidate.persons, "cache_mb": config.candidate.cache_mb},
        "video": {"frames": config.video.frames, "features": config.video.features and list(config.video.features),
                  "operations": list(config.video.operations)},
    }  # fmt: skip


def _whole(folder: Path | None) -> str | None:
    """From here, where the run was made: the versions run elsewhere."""
    return None if folder is None else str(folder.resolve())


if __name__ == "__main__":
    main()
