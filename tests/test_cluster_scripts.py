"""What a user launches on a cluster: its syntax, and that the options in it exist."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from nas.cli import retrain, search, train_supernet
from nas.cli.commands import find_command
from nas.cli.parsing import make_parser
from tests.paths import REPO

FOLDER = REPO / "scripts" / "cluster"
SHELL = sorted([*FOLDER.glob("*.sh"), *FOLDER.glob("*.slurm")])
CLUSTERS = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", [*SHELL, *CLUSTERS], ids=lambda path: path.name)
def test_a_script_says_how_it_is_used_and_what_it_assumes(path: Path) -> None:
    opening = path.read_text().split("\n\n")[0]
    assert "# Assumes: " in opening


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell_scripts_parse_and_refuse_to_start_without_a_configuration(path: Path) -> None:
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0
    done = subprocess.run(["bash", path], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode != 0
    assert "usage:" in done.stderr


@pytest.mark.parametrize("path", CLUSTERS, ids=lambda path: path.name)
def test_cluster_files_keep_to_the_schema_of_ray(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    starts = config["head_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in starts
    jsonschema = pytest.importorskip("jsonschema")
    [package] = importlib.util.find_spec("ray").submodule_search_locations  # type: ignore[union-attr, misc]
    schema = json.loads((Path(package) / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)


def test_the_commands_in_the_scripts_and_in_the_page_have_these_options() -> None:
    texts = [path.read_text() for path in (*SHELL, *CLUSTERS, REPO / "docs" / "cluster.md")]
    modules = {"search": search, "train-supernet": train_supernet, "retrain": retrain}
    known = {name: make_parser(find_command([name])[0], module) for name, module in modules.items()}
    seen = set()
    calls = re.findall(r"(search|train-supernet|retrain) CONFIG((?: --[\w.-]+[ =][\w:.-]+)*)", "\n".join(texts))
    for name, options in calls:
        for option, value in re.findall(r"(--[\w.-]+)[ =]([\w:.-]+)", options):
            known[name].parse_args(["c.yaml", option, value])
            seen.add(option)
    assert {"--ray-address", "--search.workers", "--architecture"} <= seen
