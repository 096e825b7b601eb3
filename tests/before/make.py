"""Made what lies beside it: runs that were interrupted, and what comes out where nothing is.

    python -m tests.before.make OUT

with the product of commit 4fdf458, the last before issue 13, on one thread. ``OUT/ids.json``,
``OUT/undisturbed.json.gz`` and ``OUT/runs`` are what it writes. Every command is one of the program, each interruption
a SIGTERM. What tells of the machine (locks, TensorBoard's files) is left out.

The tests do not run it. On a machine that rounds otherwise they compare less (``machine.py``); to hold code to the last
bit there, make the same there, with the product of that commit, and say where it is::

    git worktree add BASE 4fdf458 && cp -r tests/before BASE/tests/
    cd BASE && OMP_NUM_THREADS=1 python -m tests.before.make OUT
    VIPNAS_BEFORE=OUT python -m pytest tests/before          (of the later code)
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.before.ids import all_ids
from tests.before.machine import this_machine
from tests.before.results import course, curve, front, weights
from tests.before.searches import JOURNALS
from tests.before.workspace import begin_search, lay_out, pack, working_in
from tests.paths import REPO
from tests.program import call

INTERRUPTED = 130
NEVER_COMMITTED = shutil.ignore_patterns("tensorboard", ".lock")


def main(out: Path) -> None:
    import torch

    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    (out / "ids.json").write_text(a_line_each(all_ids()), encoding="utf-8")
    folder = Path(tempfile.mkdtemp(prefix="vipnas-before-"))
    lay_out(folder, with_runs=False)
    with working_in(folder):
        found = {"machine": this_machine(), **made()}
    (out / "undisturbed.json.gz").write_bytes(gzip.compress(json.dumps(found).encode(), mtime=0))
    shutil.rmtree(out / "runs", ignore_errors=True)
    shutil.copytree(folder / "kept", out / "runs", ignore=NEVER_COMMITTED)
    pack(out / "runs")
    shutil.rmtree(folder)


def a_line_each(kinds: dict[str, dict[str, Any]]) -> str:
    """JSON that a diff can be read of."""
    texts = []
    for kind, named in kinds.items():
        lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in named.items()]
        texts.append(f" {json.dumps(kind)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(texts) + "\n}\n"


def made() -> dict[str, Any]:
    """All runs in ``runs``; what is to be kept of them in ``kept``, in the state of its interruption."""
    found: dict[str, Any] = {"searches": {}, "fronts": {}, "retrainings": {}, "trainings": {}, "journals": {}}
    Path("kept").mkdir()
    for name in ("images", "guided"):
        vipnas("train-supernet", f"settings/{name}.yaml")
        found["searches"][name], found["fronts"][name] = search(name)
    found["retrainings"]["images"] = retraining("images", image_network())
    vipnas("retrain", "settings/images.yaml", "--architecture", f"runs/images:{image_network()}")
    key = Path("runs/images/retrain") / image_network() / "best.safetensors"
    for place in ("runs", "kept"):
        shutil.copyfile(key, f"{place}/key.safetensors")
    vipnas("train-supernet", "settings/videos.yaml", "--video.initialize_from_images", "runs/images")
    found["searches"]["videos"], found["fronts"]["videos"] = search("videos")
    found["retrainings"]["videos"] = retraining("videos", video_network())
    found["trainings"] = {name: training(name) for name in ("images-begun", "videos-begun")}
    for name, (run, count, options) in JOURNALS.items():
        begin_search(Path("runs") / run, Path("runs") / name)
        count_given = ("--search.evaluations", str(count))
        vipnas("search", f"runs/{run}/config.yaml", "--run-dir", f"runs/{name}", *count_given, *options)
        found["journals"][name] = course(Path("runs") / name)
    return found


def search(name: str) -> tuple[Any, Any]:
    """The whole search; kept is one that was stopped after some four fifths of it."""
    run, kept = Path("runs") / name, Path("kept") / name
    vipnas("search", f"settings/{name}.yaml")
    whole = course(run)
    journal, most = run / "evaluations.jsonl", len(whole)
    after = most * 4 // 5

    def begin_anew() -> None:
        for left in ("evaluations.jsonl", "search_state.json", "pareto.json"):
            (run / left).unlink(missing_ok=True)

    results = whole, front(run)
    interrupt(("search", f"settings/{name}.yaml"), begin_anew, lambda: count_lines(journal) >= after)
    assert after <= count_lines(journal) < most - 2, (count_lines(journal), most)
    assert name != "guided" or any(row["promoted"] for row in course(run)), "nobody was evaluated in full before"
    shutil.copytree(run, kept, ignore=shutil.ignore_patterns("supernet", "temporal", "retrain"))
    vipnas("search", f"runs/{name}/config.yaml", "--resume")
    assert (course(run), front(run)) == results, "a resumed search differs from an undisturbed one"
    return results


def retraining(name: str, network: str) -> dict[str, Any]:
    """The whole retraining; kept is one that was stopped after its first validation."""
    run = Path("runs") / name
    command = ("retrain", f"settings/{name}.yaml", "--architecture", f"runs/{name}:{network}")
    folder = run / "retrain" / network
    vipnas(*command)
    results = result_of_retraining(folder)

    def begin_anew() -> None:
        shutil.rmtree(folder, ignore_errors=True)

    interrupt(command, begin_anew, (folder / "results.json").is_file)
    shutil.copytree(run / "retrain", Path("kept") / name / "retrain")
    shutil.copyfile(run / "config.yaml", Path("kept") / name / "config.yaml")
    vipnas("retrain", f"runs/{name}/config.yaml", "--resume")
    assert result_of_retraining(folder) == results, "a resumed retraining differs from an undisturbed one"
    shutil.rmtree(folder)
    return {"network": network, **results}


def result_of_retraining(folder: Path) -> dict[str, Any]:
    return {"curve": curve(folder), "weights": weights(folder / "best.safetensors")}


def training(name: str) -> dict[str, Any]:
    """The whole training of a supernet; kept is one that was stopped in the middle."""
    run = Path("runs") / name
    saved = "temporal" if name.startswith("videos") else "supernet"
    command = ("train-supernet", f"settings/{name}.yaml")
    vipnas(*command)
    steps = len(curve(run / saved))
    results = {"curve": curve(run / saved), "weights": weights(run / f"{saved}.safetensors")}

    def begin_anew() -> None:
        shutil.rmtree(run, ignore_errors=True)

    metrics = run / saved / "metrics.jsonl"
    interrupt(command, begin_anew, lambda: count_lines(metrics) >= steps // 2)
    shutil.copytree(run, Path("kept") / name)
    vipnas("train-supernet", f"runs/{name}/config.yaml", "--resume")
    again = {"curve": curve(run / saved), "weights": weights(run / f"{saved}.safetensors")}
    assert again["curve"] == results["curve"], "a resumed training differs from an undisturbed one"
    assert again["weights"]["tensors"] == results["weights"]["tensors"]
    return results


def image_network() -> str:
    """One of medium size."""
    members = front(Path("runs/images"))["front"]
    return str(members[len(members) // 2]["id"])


def video_network() -> str:
    """The smallest in which every frame takes the heatmaps of the one before."""
    lines = Path("runs/videos/evaluations.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    fusing = [one for one in records if all(frame["fusion"]["feature"] for frame in one["architecture"]["frames"])]
    return str(min(fusing, key=lambda one: one["objectives"]["params"])["id"])


def count_lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.is_file() else 0


# The program --------------------------------------------------------------------------------------------------------


def vipnas(*words: str) -> None:
    print("vipnas", *words, flush=True)
    done = call(*words)
    assert done.returncode == 0, done.stderr


def interrupt(words: tuple[str, ...], begin_anew: Callable[[], None], is_time: Callable[[], bool]) -> None:
    """The command, and SIGTERM once it is time."""
    print("vipnas", *words, "and SIGTERM", flush=True)
    begin_anew()
    with subprocess.Popen([sys.executable, "-m", "nas", *words], env=environment(), stdout=subprocess.DEVNULL) as job:
        while not is_time() and job.poll() is None:
            time.sleep(0.001)
        job.send_signal(signal.SIGTERM)
    assert job.returncode == INTERRUPTED, job.returncode


def environment() -> dict[str, str]:
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    return {**os.environ, **threads, "PYTHONPATH": str(REPO)}


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
