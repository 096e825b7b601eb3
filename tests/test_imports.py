"""Four rooms, one direction; and nothing in the tracked files that only means something on one machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import REPO

ROOMS = ("search_spaces", "supernet", "evaluators", "nas", "scripts", "tests")
MAY_IMPORT = {
    "search_spaces": set(),
    "supernet": {"search_spaces"},
    "evaluators": set(),
    "nas": {"search_spaces", "supernet", "evaluators"},
    "scripts": {"search_spaces", "supernet", "evaluators", "nas"},
}
FLOORS = (
    "run", "processes", "data", "deploy", "weights", "latency", "evaluation", "search", "trust", "training",
    "finalists", "report", "export", "predict", "config", "stages", "cli",
)  # fmt: skip
"""The folders of ``nas``, from below: what stands lower knows nothing of what stands higher."""
LOOSE = {"__init__", "__main__", "api"}
HEAVY = ("torch", "ray", "cv2", "onnx", "onnxruntime", "scipy", "matplotlib", "rich", "pandas")


def imported_packages(path: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    files = sorted((REPO / room).rglob("*.py"))
    assert files or room == "scripts"
    for path in files:
        ours = (imported_packages(path) & set(ROOMS)) - {room}
        assert ours <= MAY_IMPORT[room], f"{path.relative_to(REPO)} imports {ours - MAY_IMPORT[room]}"


def test_search_spaces_import_the_standard_library_and_numpy_only() -> None:
    allowed = set(sys.stdlib_module_names) | {"numpy", "yaml", "search_spaces"}
    for path in sorted((REPO / "search_spaces").rglob("*.py")):
        foreign = imported_packages(path) - allowed
        assert not foreign, f"{path.relative_to(REPO)} imports {foreign}"


def imported_modules(path: Path) -> set[str]:
    """The dotted names that a file of ours imports from, relative ones resolved, wherever in it the import stands."""
    package = path.relative_to(REPO).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *((node.module,) if node.module else ())))
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def test_no_import_within_nas_runs_upwards() -> None:
    rank = {name: floor for floor, name in enumerate(FLOORS)}
    for path in sorted((REPO / "nas").rglob("*.py")):
        room = path.relative_to(REPO / "nas").parts[0].removesuffix(".py")
        assert room in rank or room in LOOSE, f"{path.relative_to(REPO)}: stands in no room of nas; see FLOORS"
        for module in imported_modules(path):
            target = module.split(".")[1] if module.startswith("nas.") else None
            if room in rank and target in rank:
                assert rank[target] <= rank[room], f"{path.relative_to(REPO)} imports {module}, from a higher floor"


@pytest.mark.parametrize("room", ["search_spaces", "supernet", "evaluators"])
def test_no_modules_of_a_room_import_each_other_in_a_circle(room: str) -> None:
    files = {
        ".".join(path.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (REPO / room).rglob("*.py")
    }
    # A package's face only hands names on: who imports from it means the modules behind it.
    edges = {
        name: {module for module in imported_modules(path) if module in files and files[module].name != "__init__.py"}
        for name, path in files.items()
        if path.name != "__init__.py"
    }
    while ends := [name for name, targets in edges.items() if not targets & edges.keys()]:
        for name in ends:
            del edges[name]
    assert not edges, f"these import each other in a circle: {sorted(edges)}"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["spaces", "--help"], ["nonsense"]])
def test_help_and_mistakes_answer_without_a_heavy_import(arguments: list[str]) -> None:
    program = (
        "import atexit, sys; from nas.cli.main import main; "
        f"atexit.register(lambda: print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))); main({arguments!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stderr


def test_a_mistake_in_a_configuration_is_told_without_a_heavy_import(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("searhc: {}\n", encoding="utf-8")
    program = (
        "import sys; from nas.cli.main import main; "
        f"code = main(['search', {str(tmp_path / 'run.yaml')!r}]); "
        f"print(code, sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "2 []", done.stderr


@pytest.mark.parametrize(
    ("pattern", "meaning"),
    [
        (r"(?<![A-Za-z0-9_.])/(?:work|farm|root|home/[a-z]+)/[A-Za-z.]", "a path of one machine"),
        (r"https?://(?:[a-z0-9-]+\.)*(?:pypi\.org|pythonhosted\.org|download\.pytorch\.org|npmjs\.org)", "a registry"),
        (r"^(?:<{7} |>{7} )", "a merge conflict"),
    ],
)
def test_tracked_text_holds_nothing_of_one_machine(pattern: str, meaning: str) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    names = [name for name in listed.stdout.split("\0") if name and (REPO / name).is_file()]
    assert "pyproject.toml" in names
    for name in names:
        try:
            text = (REPO / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = re.search(pattern, text, re.MULTILINE)
        assert found is None or name == "tests/test_imports.py", f"{name}: {meaning}: {found.group()!r}"


def test_no_tracked_file_is_large() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [REPO / name for name in listed.stdout.split("\0") if name]
    large = [path.name for path in paths if path.is_file() and path.stat().st_size > 1 << 20]
    assert not large
