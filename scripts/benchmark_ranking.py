"""The truth of a space's ranking: its networks trained from scratch to the end, one JSON line each.

    python scripts/benchmark_ranking.py data DATA --photographs DIR --people DIR
    python scripts/benchmark_ranking.py plan --random 12
    python scripts/benchmark_ranking.py train FOLDER --data DATA          # as often and as many at once as you like
    python scripts/benchmark_ranking.py plan --front RUN                  # of a search in the same space
    python scripts/benchmark_ranking.py latency --runtime onnxruntime     # on a quiet machine
    python scripts/benchmark_ranking.py short RUN --data DATA --lines short.jsonl

The truth lies in docs/truth (--truth): space.yaml; recipe.yaml, with which every network is trained; networks.jsonl,
which networks and of which population; trainings.jsonl and latencies.jsonl. `train` takes what is planned and not yet
trained, in the order of the plan; several of them share the work, and one that is stopped goes on from its checkpoint.
FOLDER keeps the weights. docs/truth/README.md says what the figures mean. `short` trains each network of the truth an
epoch further from the weights that it inherits from a run's supernet, and says how that ranks them, and what is lost by
taking the best of a few finalists so; what it did is kept in --lines, and not done again.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from nas import LatencyConfig, PoseArchitecture, SearchSpace, get_space, load_config, measure_latency, retrain_networks
from nas.cli.output import print_table
from nas.run.files import append_json_line
from nas.run.folder import RunFolder, read_json_lines
from nas.trust.assessment import trust_report
from nas.trust.file import load_trust
from nas.trust.intervals import Measure, percentiles, resamples
from nas.trust.networks import RankedNetwork
from nas.trust.orders import FloatArray
from nas.trust.rows import measure_rows
from nas.trust.sources import TRUST
from nas.trust.truth import load_truth
from nas.trust.words import interval
from search_spaces.complexity import count

TRUTH = Path(__file__).parents[1] / "docs" / "truth"
SEEDS = 3
"""Of the first random networks of a plan: how far a training's chance moves the figures."""
PARTS = ("train", "val")
TITLES = {"ap": "AP", "mean_oks": "mean OKS"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, default=TRUTH)
    commands = parser.add_subparsers(dest="command", required=True)
    data = commands.add_parser("data", help="put photographs and drawn people together in one folder")
    data.add_argument("folder", type=Path)
    data.add_argument("--photographs", type=Path, required=True)
    data.add_argument("--people", type=Path, required=True, help="what `vipnas data synthesize` has made")
    plan = commands.add_parser("plan", help="choose networks")
    plan.add_argument("--random", type=int, default=0, help="so many random networks, the first six with three seeds")
    plan.add_argument("--front", type=Path, help="25 networks along the front of this run, 13 beside them")
    train = commands.add_parser("train", help="train what is planned")
    train.add_argument("folder", type=Path)
    train.add_argument("--data", type=Path, required=True)
    short = commands.add_parser("short", help="inherited weights, trained a few steps further, against the truth")
    short.add_argument("run", type=Path)
    short.add_argument("--data", type=Path, required=True)
    short.add_argument("--epochs", type=int, default=1)
    short.add_argument("--finalists", type=int, default=6, help="of the best by inherited values within a latency")
    short.add_argument("--lines", type=Path, required=True)
    latency = commands.add_parser("latency", help="measure all planned networks")
    latency.add_argument("--runtime", choices=("torch", "onnxruntime", "openvino"), default="onnxruntime")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.command == "data":
        merge(arguments.folder, arguments.photographs, arguments.people)
    elif arguments.command == "plan":
        if arguments.random:
            plan_random(arguments.truth, arguments.random)
        if arguments.front:
            plan_front(arguments.truth, RunFolder.existing(arguments.front))
    elif arguments.command == "train":
        train_all(arguments.truth, arguments.folder, arguments.data)
    elif arguments.command == "short":
        train_short(arguments)
    else:
        measure_all(arguments.truth, arguments.runtime)


# Data ----------------------------------------------------------------------------------------------------------------


def merge(folder: Path, *sources: Path) -> None:
    """One COCO folder of several: images by links, ids numbered anew."""
    for part in PARTS:
        whole: dict[str, Any] = {"images": [], "annotations": []}
        for number, source in enumerate(sources):
            content = json.loads((source / "annotations" / f"person_keypoints_{part}.json").read_text())
            whole.setdefault("categories", content["categories"])
            images = source / "images"
            images = images / part if (images / part).is_dir() else images
            renamed = {image["id"]: len(whole["images"]) + n for n, image in enumerate(content["images"], 1)}
            for image in content["images"]:
                name = f"{number}_{image['file_name'].replace('/', '_')}"
                link = folder / "images" / name
                link.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    link.symlink_to((images / image["file_name"]).resolve(strict=True))
                size = {"width": image["width"], "height": image["height"]}
                whole["images"].append({"id": renamed[image["id"]], "file_name": name, **size})
            for one in content["annotations"]:
                kept = {key: one[key] for key in ("iscrowd", "keypoints", "num_keypoints", "bbox", "area")}
                place = {"id": len(whole["annotations"]) + 1, "image_id": renamed[one["image_id"]], "category_id": 1}
                whole["annotations"].append({**kept, **place})
        path = folder / "annotations" / f"person_keypoints_{part}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(whole))
        print(f"{path}: {len(whole['images'])} images, {len(whole['annotations'])} people")


# Plan ----------------------------------------------------------------------------------------------------------------


def planned(truth: Path) -> list[dict[str, Any]]:
    path = truth / "networks.jsonl"
    return list(read_json_lines(path)) if path.is_file() else []


def _plan(truth: Path, population: str, networks: Sequence[PoseArchitecture], seeds: int, **facts: Any) -> None:
    known = {entry["id"] for entry in planned(truth)}
    for network in networks:
        if network.id not in known:
            cost = count(network)
            entry = {
                "id": network.id, "population": population, "seeds": seeds, **facts,
                "macs": cost.macs, "parameters": cost.parameters, "architecture": network.to_json(),
            }  # fmt: skip
            append_json_line(truth / "networks.jsonl", entry)


def plan_random(truth: Path, number: int) -> None:
    """Uniform draws of the space."""
    space, rng = get_space(str(truth / "space.yaml")), np.random.default_rng(0)
    networks = [space.sample(rng) for _ in range(number)]
    _plan(truth, "random", networks[:6], SEEDS)
    _plan(truth, "random", networks[6:], 1)


def plan_front(truth: Path, run: RunFolder, along: int = 25, beside: int = 13) -> None:
    """Networks of the front, and some of them with one gene changed: the more of these, the fewer the front has."""
    space = get_space(str(truth / "space.yaml"))
    front = sorted(run.load_front(), key=lambda entry: float(entry["objectives"]["latency_ms"]))
    members = [PoseArchitecture.from_json(entry["architecture"]) for entry in front]
    chosen = [members[i] for i in sorted(set(np.linspace(0, len(members) - 1, along).round().astype(int)))]
    _plan(truth, "front", chosen, 1, run=run.load_space().name)
    rng = np.random.default_rng(1)
    for index in np.linspace(0, len(chosen) - 1, beside + along - len(chosen)).round().astype(int):
        _plan(truth, "beside", [_neighbour(chosen[index], space, rng)], 1, beside=chosen[index].id)


def _neighbour(network: PoseArchitecture, space: SearchSpace, rng: np.random.Generator) -> PoseArchitecture:
    genes = np.array(space.encode(network))
    while True:
        place = int(rng.integers(len(genes)))
        changed = genes.copy()
        changed[place] = rng.integers(space.gene_sizes[place])
        other = space.decode(changed)
        if other.id != network.id:
            return other


# Training ------------------------------------------------------------------------------------------------------------


def train_all(truth: Path, folder: Path, data_folder: Path) -> None:
    config = load_config(truth / "recipe.yaml", [("data.folder", str(data_folder))])
    labels = json.loads((data_folder / "annotations" / "person_keypoints_val.json").read_text())["annotations"]
    people = sum(not one["iscrowd"] and one["num_keypoints"] > 0 for one in labels)
    wanted = [(entry, seed) for entry in planned(truth) for seed in range(entry["seeds"])]
    # the plan's order, but the first seed of everything first
    for entry, seed in sorted(wanted, key=lambda one: one[1]):
        name = f"{entry['id']}-{seed}"
        with working_on(folder / f"{name}.lock") as mine:
            if not mine or (entry["id"], seed) in trained(truth):
                continue
            network = PoseArchitecture.from_json(entry["architecture"])
            began = time.process_time()
            seeded = replace(config, run_dir=folder / f"seed{seed}", retrain=config.retrain.replace(seed=seed))
            done = retrain_networks(seeded, [network], resume=True)[0]
            results = json.loads((done.result.path.parent / "results.json").read_text())
            curve = [{key: one[key] for key in ("step", "AP", "mean_oks")} for one in results["validations"]]
            line = {
                "id": entry["id"], "seed": seed, "ap": curve[-1]["AP"], "mean_oks": curve[-1]["mean_oks"],
                "steps": curve[-1]["step"], "curve": curve, "cpu_s": round(time.process_time() - began, 1),
                "people": people,
            }  # fmt: skip
            append_json_line(truth / "trainings.jsonl", line)
            print(f"{name}: AP {line['ap']:.4f}, mean OKS {line['mean_oks']:.4f}, {line['cpu_s']:.0f} s", flush=True)


def trained(truth: Path) -> set[tuple[str, int]]:
    path = truth / "trainings.jsonl"
    return {(line["id"], line["seed"]) for line in read_json_lines(path)} if path.is_file() else set()


# A few steps from inherited weights ----------------------------------------------------------------------------------


def train_short(arguments: argparse.Namespace) -> None:
    config = load_config(arguments.truth / "recipe.yaml", [("data.folder", str(arguments.data))])
    recipe = config.retrain.replace(initialize_from="inherited", epochs=arguments.epochs, validate_every=1)
    networks = [network for network in load_truth(arguments.truth).networks if network.trainings]
    lines = read_json_lines(arguments.lines) if arguments.lines.is_file() else ()
    found = {line["id"]: line for line in lines if line["epochs"] == arguments.epochs}
    for network in networks:
        if network.id in found:
            continue
        with tempfile.TemporaryDirectory() as folder:
            run = RunFolder(Path(folder))
            for name in ("supernet.safetensors", "space.json"):
                shutil.copyfile(arguments.run / name, run.path / name)
            began = time.process_time()
            done = retrain_networks(replace(config, run_dir=run.path, retrain=recipe), [network.architecture])[0]
            results = json.loads((done.result.path.parent / "results.json").read_text())["validations"][-1]
        found[network.id] = {
            "id": network.id, "epochs": arguments.epochs, "ap": results["AP"], "mean_oks": results["mean_oks"],
            "cpu_s": round(time.process_time() - began, 1),
        }  # fmt: skip
        append_json_line(arguments.lines, found[network.id])
        print(found[network.id], flush=True)
    print_short(arguments, found)


def print_short(arguments: argparse.Namespace, found: dict[str, dict[str, Any]]) -> None:
    """How that ranks the networks, and what a user loses who trains so the best few by what they inherit."""
    known = load_truth(arguments.truth).trained()
    measures = ("ap", "mean_oks")
    further = [replace(one, inherited={name: found[one.id][name] for name in measures}) for one in known]
    epochs = f"after {arguments.epochs} epoch{'' if arguments.epochs == 1 else 's'} from inherited weights"
    report = trust_report(further, f"networks of {arguments.truth.name}")
    columns = ["", *(f"by {TITLES[name]}" for name in report.rankings)]
    print_table(f"{report.n} networks, {epochs}", columns, measure_rows(report))
    path = arguments.run / TRUST
    if not path.is_file():
        print(f"{path}: no such file; with what `vipnas trust {arguments.run} --truth` finds, finalists are told")
        return
    inherited = {one.id: one.inherited for one in load_trust(path).networks}
    members = [one for one in further if one.id in inherited and one.latency_ms is not None]
    weights = resamples(len(members), np.random.default_rng(0))
    for measure in measures:
        x = np.array([inherited[one.id][measure] for one in members])
        for budget in (one.budget_ms for one in report.rankings[measure].regrets):
            losses = finalists_losses(x, members, measure, budget, arguments.finalists, weights)
            value = finalists_losses(x, members, measure, budget, arguments.finalists, np.ones((1, len(members))))[0]
            lost = interval(Measure.of(float(value), *percentiles(losses)), 4)
            print(f"{arguments.finalists} finalists within {budget:.2f} ms, all by {TITLES[measure]}: AP lost {lost}")


def finalists_losses(
    inherited: FloatArray,
    networks: Sequence[RankedNetwork],
    measure: str,
    budget_ms: float,
    count: int,
    weights: FloatArray,
) -> FloatArray:
    """AP lost within a latency by training further the best ``count`` by ``inherited``, and taking the best of these.

    Args:
        networks: with what they come to by that, as ``inherited``.
        weights: (B, n), how often each network is in a draw.
    """
    truth = np.array([one.ap for one in networks])
    further = np.array([one.inherited[measure] for one in networks])
    latency = np.array([one.latency_ms for one in networks])
    losses = np.full(len(weights), np.nan)
    for draw, present in enumerate(weights > 0):
        within = np.flatnonzero(present & (latency <= budget_ms))
        if len(within):
            finalists = within[np.argsort(-inherited[within], kind="stable")[:count]]
            losses[draw] = truth[within].max() - truth[finalists[np.argmax(further[finalists])]]
    return losses


# Latency -------------------------------------------------------------------------------------------------------------


def measure_all(truth: Path, runtime: Literal["torch", "onnxruntime", "openvino"]) -> None:
    config = LatencyConfig(runtime=runtime)
    entries = planned(truth)
    networks = [PoseArchitecture.from_json(entry["architecture"]) for entry in entries]
    measured = measure_latency(networks, config)
    for entry, one in zip(entries, measured, strict=True):
        line = {"id": entry["id"], "runtime": runtime, "latency_ms": round(one.latency_ms, 5)}
        append_json_line(truth / "latencies.jsonl", line)
        print(line, flush=True)


# Files ---------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def working_on(lock: Path) -> Iterator[bool]:
    """Whether nobody else has it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


if __name__ == "__main__":
    main()
