"""The stage that tells how far a run's supernet may be believed: what it says of networks beside what they came to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.config import read_yaml_file
from nas.run.files import atomic_write_json, to_plain
from nas.run.folder import RunFolder
from nas.run.lock import RunLock
from nas.stages.context import StageContext
from nas.stages.inherited import Inheritance, Setting
from nas.trust.assessment import FEWEST, TrustReport, trust_report
from nas.trust.networks import RankedNetwork
from nas.trust.sources import TRUST, networks_of_run
from nas.trust.truth import Truth, load_truth
from nas.weights.files import load_metadata
from search_spaces import InputError

__all__ = ["trust_stage"]

OWN, CALIBRATION = "", "another calibration set"


def trust_stage(context: StageContext, truth: Path | None = None, compare: Sequence[Path] = ()) -> TrustReport:
    """Hold inherited against true AP, and write ``trust.json``.

    Without a truth folder: of the run's finalists or retrained networks, from what its folder holds alone. With one: of
    its networks that are in the run's space. They inherit from the run's supernet as candidates of a search do, once
    more with other calibration crops, and from the supernet as it was on its way (``supernet/at-*.safetensors``).

    Args:
        compare: further supernets of the same space to compare with, of other seeds for example.

    Raises:
        InputError: there is no run, or there are too few networks; a file is damaged; with ``truth``, there is no
            supernet, or the data cannot be used.
    """
    run = RunFolder.existing(context.config.run_dir)
    context.narrator.stage("holding inherited against true AP")
    if truth is None:
        report = trust_report(*networks_of_run(run))
    else:
        with RunLock(run.path / "trust", "an assessment"):
            report = _with_truth(context, run, truth, compare)
    atomic_write_json(run.path / TRUST, to_plain(report))
    return report


def _with_truth(context: StageContext, run: RunFolder, folder: Path, compare: Sequence[Path]) -> TrustReport:
    if run.is_video:
        raise InputError(f"{run.path}: is a run on videos, and a truth folder is of image networks; leave --truth out")
    if not run.supernet.is_file():
        raise InputError(f"{run.supernet}: no such file; run `vipnas train-supernet` first")
    truth, inheritance = load_truth(folder), Inheritance(run, context.config)
    known = {one.id: one.architecture for one in truth.networks}
    members = [one for one in truth.trained() if inheritance.space.contains(known[one.id])]
    if len(members) < FEWEST:
        raise InputError(
            f"{folder}: {len(members)} trained networks are in the space {inheritance.space.name} of {run.path}, and "
            f"{FEWEST} are needed; train a supernet on {folder / 'space.yaml'}"
        )
    with context.narrator.counting("inherited weights") as progress:
        settings = _settings(run, compare)
        inherited = inheritance.of([known[one.id] for one in members], settings, progress)
    networks = [_with_inherited(one, inherited[one.id]) for one in members]
    source = f"networks of {folder.resolve().name}, trained from scratch"
    return trust_report(networks, source, _equal_cost(run.supernet, truth, networks))


def _settings(run: RunFolder, compare: Sequence[Path]) -> list[Setting]:
    before = sorted((run.path / "supernet").glob("at-*.safetensors"))
    settings = [
        Setting(OWN, run.supernet, 0),
        Setting(CALIBRATION, run.supernet, 1),
        *(Setting(f"the supernet after {path.stem[3:]} % of its training", path, 0) for path in before),
        *(Setting(str(path), path, 0) for path in compare),
    ]
    for setting in settings:
        if not setting.weights.is_file():
            raise InputError(f"{setting.weights}: no such file")
    return settings


def _with_inherited(network: RankedNetwork, found: dict[str, dict[str, float]]) -> RankedNetwork:
    others = {name: values for name, values in found.items() if name != OWN}
    return replace(network, inherited=found[OWN], variants=others)


def _equal_cost(supernet: Path, truth: Truth, networks: Sequence[RankedNetwork]) -> str | None:
    """The steps of a training from scratch that come nearest to the supernet's training, shared among the networks.

    A step of the supernet counts as one of the largest, the smallest and some random networks. None where the files do
    not say how they were trained.
    """
    steps = sorted({int(step) for one in networks for step in one.short})
    recipe = truth.folder / "recipe.yaml"
    try:
        header = load_metadata(supernet)
        identity = json.loads(header["training"])
        passes = int(header["steps"]) * int(identity["batch_size"]) * (2 + int(identity["random_subnets"]))
        settings: Any = read_yaml_file(recipe).plain()
        share = passes / len(networks) / int(settings["retrain"]["batch_size"])
    except (KeyError, ValueError, TypeError):  # InputError among them: there is no recipe
        return None
    return str(min(steps, key=lambda step: abs(step - share))) if steps else None
