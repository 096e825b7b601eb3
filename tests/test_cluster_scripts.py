"""What a user launches on a cluster: its syntax, and that the options in it exist."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import subprocess
import sys
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


# With stubs of what only a cluster has -------------------------------------------------------------------------------


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def telling(log: Path, name: str, code: int = 0) -> str:
    """A program that writes down how it is called."""
    return f'#!/usr/bin/env bash\nprintf "%s\\n" "{name} $*" >> "{log}"\nexit {code}\n'


def run_script(name: str, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder / 'bin'}:/usr/bin:/bin"
    return subprocess.run(
        ["bash", FOLDER / name, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": path, "HOME": str(folder / "home"), **environment},
    )  # fmt: skip


def test_a_job_runs_in_the_repository_on_the_head(tmp_path: Path) -> None:
    """Ray hands the job's words to a shell, joined as Windows joins them, in a folder of its own."""
    log = tmp_path / "log"
    program(tmp_path / "home" / "vipnas" / ".venv" / "bin" / "vipnas", telling(log, 'in $(basename "$PWD"):'))
    program(
        tmp_path / "bin" / "ray",
        f"#!{sys.executable}\nimport subprocess, sys\nwords = sys.argv[sys.argv.index('--') + 1:]\n"
        "sys.exit(subprocess.call(['/bin/sh', '-c', subprocess.list2cmdline(words)], cwd='/'))\n",
    )
    done = run_script("submit_job.sh", tmp_path, "runs/a b.yaml", "--search.minutes", "5", WORKERS="3")
    assert done.returncode == 0, done.stderr
    assert log.read_text() == (
        "in vipnas: search runs/a b.yaml --ray-address auto --search.workers 3 --search.minutes 5\n"
    )


def slurm_nodes(folder: Path, log: Path, head_code: int = 0, status_code: int = 0) -> dict[str, str]:
    """Three nodes; srun runs what it is given, here."""
    program(folder / "bin" / "scontrol", "#!/usr/bin/env bash\nprintf 'n1\\nn2\\nn3\\n'\n")
    program(
        folder / "bin" / "srun",
        f"""#!/usr/bin/env bash
printf "%s\\n" "srun $*" >> "{log}"
while [[ $1 == -* ]]; do if [[ $1 == -w ]]; then shift; fi; shift; done
exec "$@"
""",
    )
    program(
        folder / ".venv" / "bin" / "ray",
        f"#!/usr/bin/env bash\ncase \"$*\" in *--head*) exit {head_code};; status*) exit {status_code};; esac\n",
    )
    waits = f'until (($(grep -c " start " "{log}") >= 3)); do sleep 0.1; done\n'  # the other nodes' steps
    program(folder / ".venv" / "bin" / "vipnas", telling(log, "vipnas").replace("\n", f"\n{waits}", 1))
    return {"SLURM_SUBMIT_DIR": str(folder), "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_ID": "7",
            "SLURM_CPUS_ON_NODE": "8"}  # fmt: skip


@pytest.mark.parametrize(("gpus", "workers"), [("0", ["15"]), ("4", ["16", "0.5"])])
def test_a_search_on_slurm_has_a_worker_a_core_or_two_a_gpu(tmp_path: Path, gpus: str, workers: list[str]) -> None:
    log = tmp_path / "log"
    nodes = slurm_nodes(tmp_path, log)
    done = run_script("search.slurm", tmp_path, "c.yaml", "--seed", "1", GPUS=gpus, **nodes)
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    [search] = [line.split() for line in lines if line.startswith("vipnas")]
    assert search[search.index("--search.workers") + 1] == workers[0]
    assert search[-2:] == ["--seed", "1"]
    given = [value for option, value in itertools.pairwise(search) if option == "--search.gpus_per_worker"]
    assert given == workers[1:]
    starts = [line for line in lines if " start " in line]
    assert len(starts) == 3
    assert [f"--num-gpus={gpus}" in line for line in sorted(starts, key=lambda text: "latency_slot" in text)] == [
        True, True, gpus == "0"
    ]  # fmt: skip
    assert all("--cpus-per-task=8" in line for line in lines if line.startswith("srun")), "or each step has one core"


def test_a_search_on_slurm_gives_up_where_the_head_does_not_start(tmp_path: Path) -> None:
    nodes = slurm_nodes(tmp_path, tmp_path / "log", head_code=1, status_code=1)
    done = run_script("search.slurm", tmp_path, "c.yaml", **nodes)
    assert done.returncode == 1
    assert "head on n1:20007 does not answer" in done.stderr


def test_a_training_on_slurm_has_the_cores_it_asked_for_and_restarts_that_work(tmp_path: Path) -> None:
    log = tmp_path / "log"
    nodes = slurm_nodes(tmp_path, log)
    told = telling(log, "shares its store: ${TORCH_DISABLE_SHARE_RDZV_TCP_STORE:-yes}; torchrun")
    program(tmp_path / ".venv" / "bin" / "torchrun", told)
    nodes |= {"SLURM_JOB_NUM_NODES": "3", "SLURM_CPUS_PER_TASK": "64"}
    done = run_script("train.slurm", tmp_path, "train-supernet", "c.yaml", **nodes)
    assert done.returncode == 0, done.stderr
    srun, torchrun = log.read_text().splitlines()
    assert "--cpus-per-task=64" in srun
    assert torchrun.startswith("shares its store: 1; torchrun --nnodes=3 --nproc-per-node=8 --max-restarts=3")
    assert torchrun.endswith("-m nas train-supernet c.yaml --resume")
