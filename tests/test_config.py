"""The configuration loader, on a tree of its own; then the program's own tree."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nas.config import (
    Config,
    build,
    config_docs,
    deep_merge,
    field_docs,
    load_config,
    note_config,
    parse_override,
    parse_yaml,
    read_yaml_file,
    save_config,
    to_plain,
)
from search_spaces.errors import InputError
from tests.paths import REPO


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    learning_rate: float = 1e-3
    """Peak learning rate,
    after the warm-up."""
    name: Literal["adam", "adamw"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise InputError(f"learning_rate={self.learning_rate} must be above 0")


@dataclass(frozen=True, kw_only=True)
class Training:
    steps: int = 100
    """Number of optimizer steps."""
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(learning_rate=0.5))
    warm_start: Path | None = None
    milestones: tuple[int, ...] = (170, 200)
    limits: dict[str, float] = field(default_factory=dict)
    bf16: bool | Literal["auto"] = "auto"


@dataclass(frozen=True, kw_only=True)
class Tree:
    training: Training = field(default_factory=Training)
    again: Training | None = None
    label: str = ""


def load(tmp_path: Path, text: str, *overrides: tuple[str, str]) -> Tree:
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    source = read_yaml_file(tmp_path / "run.yaml")
    for dotted, value in overrides:
        source = deep_merge(source, parse_override(dotted, value))
    return build(Tree, source)


def test_what_is_not_given_keeps_its_default_even_a_default_of_the_parent(tmp_path: Path) -> None:
    tree = load(tmp_path, "training: {optimizer: {name: adam}}\n")
    assert tree.training.optimizer == Optimizer(learning_rate=0.5, name="adam")
    assert tree.training.steps == 100
    assert tree.again is None


@pytest.mark.parametrize("text", ["", "# nothing\n", "training:\n", "training:\n  optimizer:\n"])
def test_an_empty_file_or_section_is_the_default(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == Tree()


def test_an_optional_section_starts_from_its_class(tmp_path: Path) -> None:
    assert load(tmp_path, "again: {steps: 3}\n").again == Training(steps=3)
    assert load(tmp_path, "again: null\n").again is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [("1e-3", 0.001), ("3", 3.0), ("2.5E2", 250.0), (".5", 0.5), ("1.", 1.0)],
)
def test_numbers_as_people_write_them(tmp_path: Path, written: str, expected: float) -> None:
    tree = load(tmp_path, f"training: {{optimizer: {{learning_rate: {written}}}}}")
    assert tree.training.optimizer.learning_rate == expected


def test_types_are_converted(tmp_path: Path) -> None:
    text = "training: {steps: 1e4, warm_start: 2024, milestones: [1, 2, 3], limits: {latency_ms: 20}, bf16: true}"
    training = load(tmp_path, text).training
    assert training.steps == 10_000
    assert isinstance(training.steps, int)
    assert training.warm_start == Path("2024")
    assert training.milestones == (1, 2, 3)
    assert training.limits == {"latency_ms": 20.0}
    assert training.bf16 is True
    assert load(tmp_path, "training: {bf16: auto}").training.bf16 == "auto"


@pytest.mark.parametrize("word", ["yes", "off", "12:30", "2024-01-01", "0x10", "1_000", "'3'", "3"])
def test_words_stay_as_they_were_written(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, f"label: {word}").label == word.strip("'")


BAD = {
    "unknown key": ("training:\n  step: 3\n", "run.yaml:2: training.step: unknown key; did you mean training.steps?"),
    "unknown section": ("trainning: {}", "run.yaml:1: trainning: unknown key; did you mean training?"),
    "nothing near": ("training: {zzz: 1}", "known here: bf16, limits, milestones, optimizer, steps, warm_start"),
    "hyphen": ("training: {warm-start: a}", "did you mean training.warm_start?"),
    "wrong type": ("training: {steps: many}", "run.yaml:1: training.steps: expected whole number, not 'many'"),
    "fraction": ("training: {steps: 1.5}", "training.steps: expected whole number, not 1.5"),
    "bool for int": ("training: {steps: true}", "training.steps: expected whole number, not True"),
    "quoted number": ("training: {steps: '3'}", "training.steps: expected whole number, not '3'"),
    "infinite": ("training: {steps: 1e999}", "training.steps: expected whole number, not inf"),
    "nan": ("training: {optimizer: {learning_rate: .nan}}", "expected number, not '.nan'"),
    "literal": ("training: {optimizer: {name: adamx}}", "expected one of adam, adamw, not 'adamx'; did you mean adam"),
    "tuple length": ("training: {optimizer: {betas: [1]}}", "expected 2 values, [number, number], not [1]"),
    "tuple item": ("training: {milestones: [1, b]}", "training.milestones[1]: expected whole number, not 'b'"),
    "not a list": ("training: {milestones: 3}", "training.milestones: expected list of whole number such as [a, b]"),
    "not a section": ("training: 3", "training: expected a section of 'key: value' lines, not 3"),
    "null": ("training: {steps: null}", "training.steps: expected whole number, not None"),
    "union": ("training: {bf16: maybe}", "training.bf16: expected true or false or one of auto, not 'maybe'"),
    "mapping value": ("training: {limits: {latency_ms: fast}}", "training.limits.latency_ms: expected number"),
    "own check": (
        "training:\n  optimizer:\n    learning_rate: -1\n",
        "run.yaml:3: training.optimizer: learning_rate=-1.0 must be above 0",
    ),
    "duplicate": ("label: a\nlabel: b\n", "run.yaml:2: the key 'label' is given twice"),
    "a list": ("- 1\n- 2\n", "run.yaml: expected 'key: value' lines, not [1, 2]"),
    "syntax": ("training: {steps: 3\n", "run.yaml:2: not valid YAML"),
    "tab": ("training:\n\tsteps: 3\n", "run.yaml:2: not valid YAML"),
    "control character": ("label: a\x07b\n", "not valid YAML"),
    "tag": ("label: !!python/object/apply:os.getcwd []\n", "the tag tag:yaml.org,2002:python/object/apply"),
    "own tag": ("label: !env HOME\n", "the tag !env is not allowed"),
    "alias": ("training: &a {steps: 3}\nagain: *a\n", "run.yaml:2: aliases (*a) are not allowed"),
    "key of a list": ("? [1, 2]\n: 3\n", "run.yaml:1: a key must be a word"),
    "nested deep": ("label: " + "[" * 50_000 + "]" * 50_000, "run.yaml:1: nested more than 50 deep"),
    "two documents": ("label: a\n---\nlabel: b\n", "not valid YAML"),
    "long value": (f"training: {{steps: {'x' * 500}}}", "…"),
}


@pytest.mark.parametrize(("text", "expected"), BAD.values(), ids=BAD)
def test_a_mistake_is_one_line_with_place_key_value_and_what_is_allowed(
    tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert len(message.replace(str(tmp_path), "")) < 250


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.yaml: no such file"):
        read_yaml_file(tmp_path / "missing.yaml")
    with pytest.raises(InputError, match="is a folder"):
        read_yaml_file(tmp_path)
    (tmp_path / "picture.yaml").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(InputError, match="not UTF-8 text"):
        read_yaml_file(tmp_path / "picture.yaml")
    (tmp_path / "huge.yaml").write_text("a: " + "x" * 1_000_001, encoding="utf-8")
    with pytest.raises(InputError, match="larger than 1000000 bytes"):
        read_yaml_file(tmp_path / "huge.yaml")


def test_overrides_win_and_name_the_command_line(tmp_path: Path) -> None:
    text = "training: {steps: 5, limits: {macs: 1}}"
    overrides = [("training.steps", "7"), ("training.limits.params", "2"), ("training.milestones", "[4]")]
    tree = load(tmp_path, text, *overrides)
    assert tree.training.steps == 7
    assert tree.training.limits == {"macs": 1.0, "params": 2.0}
    assert tree.training.milestones == (4,)
    with pytest.raises(InputError, match=r"^command line: training\.stepz: unknown key; did you mean training\.s"):
        load(tmp_path, text, ("training.stepz", "7"))
    with pytest.raises(InputError, match=r"not valid YAML.*in the value of --training\.milestones"):
        load(tmp_path, text, ("training.milestones", "[1, "))


def test_extends_lays_one_file_over_another(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    base = tmp_path / "base" / "base.yaml"
    base.write_text("training: {steps: 5, milestones: [1]}\nlabel: base\n", encoding="utf-8")
    tree = load(tmp_path, "extends: base/base.yaml\ntraining: {steps: 6}\n")
    assert (tree.training.steps, tree.training.milestones, tree.label) == (6, (1,), "base")
    base.write_text("training: {stepz: 5}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"base\.yaml:1: training\.stepz: unknown key"):
        load(tmp_path, "extends: base/base.yaml\n")
    with pytest.raises(InputError, match="goes round in a circle"):
        load(tmp_path, "extends: run.yaml\n")
    with pytest.raises(InputError, match=r"gone\.yaml: no such file"):
        load(tmp_path, "extends: gone.yaml\n")


def test_help_texts_come_from_under_the_fields() -> None:
    docs = {doc.dotted: doc for doc in field_docs(Tree)}
    assert docs["training.steps"].text == "Number of optimizer steps."
    assert docs["training.optimizer.learning_rate"].text == "Peak learning rate, after the warm-up."
    assert docs["training.optimizer.learning_rate"].default == 0.5
    assert docs["training.optimizer.name"].kind == "one of adam, adamw"
    assert docs["training.optimizer.name"].text == ""
    assert docs["again.milestones"].kind == "list of whole number"


@given(
    steps=st.integers(-(10**30), 10**30),
    rate=st.floats(1e-300, 1e300),
    label=st.text(st.characters(exclude_categories=("Cs", "Cc"))),
    milestones=st.lists(st.integers(0, 9), max_size=3),
)
def test_what_is_written_is_read_back(steps: int, rate: float, label: str, milestones: list[int]) -> None:
    training = Training(steps=steps, optimizer=Optimizer(learning_rate=rate), milestones=tuple(milestones))
    tree = Tree(training=training, label=label)
    text = yaml.safe_dump(to_plain(tree), sort_keys=False, allow_unicode=True)
    assert build(Tree, parse_yaml(text, "written")) == tree


def test_the_programs_own_configuration_is_written_and_read_back(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("seed: 3\ntrain: {minutes: 2}\nsearch: {minutes: 1}\n", encoding="utf-8")
    overrides = [("minutes", "6"), ("search.population_size", "12"), ("run_dir", str(tmp_path / "written"))]
    config = load_config(tmp_path / "run.yaml", overrides)
    assert (config.train.minutes, config.search.minutes) == (4.0, 2.0)
    assert (config.seed, config.train.seed, config.search.population_size) == (3, 3, 12)
    save_config(config, tmp_path / "written" / "config.yaml")
    assert load_config(tmp_path / "written" / "config.yaml") == config


def test_a_section_may_have_a_seed_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("seed: 3\ntrain: {seed: 5}\n", encoding="utf-8")
    assert load_config(tmp_path / "run.yaml").train.seed == 5
    assert load_config(tmp_path / "run.yaml", [("train.seed", "7")]).train.seed == 7
    (tmp_path / "run.yaml").write_text("seed: many\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"seed: expected whole number, not 'many'"):
        load_config(tmp_path / "run.yaml")


def test_a_stage_notes_its_own_sections_in_the_file_of_its_run(tmp_path: Path) -> None:
    path, source = tmp_path / "config.yaml", tmp_path / "run.yaml"
    source.write_text("train: {minutes: 2}\nsearch: {minutes: 1}\nretrain: {epochs: 3}\n", encoding="utf-8")
    note_config(load_config(source, [("minutes", "6"), ("train.batch_size", "5")]), path, ("train",))
    note_config(load_config(source, [("search.population_size", "12")]), path, ("seed", "minutes", "search"))
    found = load_config(path)
    assert (found.train.batch_size, found.search.population_size, found.retrain.epochs) == (5, 12, 3)
    assert (found.train.minutes, found.search.minutes, found.minutes) == (4.0, 1.0, 5.0)


def test_a_seed_of_the_command_line_wins_over_those_of_a_resolved_file(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("seed: 3\ntrain: {steps: 5}\n", encoding="utf-8")
    save_config(load_config(tmp_path / "run.yaml"), tmp_path / "config.yaml")
    config = load_config(tmp_path / "config.yaml", [("retrain.seed", "8"), ("seed", "9")])
    assert (config.seed, config.train.seed, config.retrain.seed) == (9, 9, 8)
    with pytest.raises(InputError, match=r"^command line: seed: expected whole number, not 'many'"):
        load_config(tmp_path / "config.yaml", [("seed", "many")])


@pytest.mark.parametrize("name", ["runs/a #1", "runs/a: b", "[a]", "'a'", "2024", "{a}", "*a", "~"])
def test_a_path_on_the_command_line_is_taken_as_it_stands(tmp_path: Path, name: str) -> None:
    (tmp_path / "run.yaml").write_text("{}\n", encoding="utf-8")
    overrides = [(dotted, name) for dotted in ("run_dir", "space", "architecture", "data.folder", "retrain.teacher")]
    config = load_config(tmp_path / "run.yaml", overrides)
    assert (str(config.run_dir), config.space, config.architecture) == (name, name, name)
    assert (str(config.data.folder), str(config.retrain.teacher)) == (name, name)
    assert load_config(tmp_path / "run.yaml", [*overrides, ("architecture", "null")]).architecture is None
    save_config(replace(config, run_dir=tmp_path), tmp_path / "config.yaml")
    noted = load_config(tmp_path / "config.yaml")
    assert (noted.data.folder, noted.retrain.teacher) == (Path.cwd() / name, Path.cwd() / name)  # found from anywhere
    assert (noted.space, noted.architecture) == (name, name)  # of which no file or run is there


def test_minutes_need_a_stage_that_has_some(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("train: {steps: 5}\n", encoding="utf-8")
    assert load_config(tmp_path / "run.yaml").train.steps == 5
    bad = {"3": "no budget in minutes to scale", "-1": "minutes=-1; more than 0", "soon": "expected number"}
    for text, expected in bad.items():
        with pytest.raises(InputError, match=expected):
            load_config(tmp_path / "run.yaml", [("minutes", text)])


def test_every_field_of_the_program_has_a_help_text() -> None:
    assert [doc.dotted for doc in config_docs() if not doc.text] == []


def test_the_posetrack_recipe_is_the_published_schedule() -> None:
    config = load_config(REPO / "configs" / "posetrack18_s_vipnas_res50.yaml", [("retrain.initialize_from", "a.pth")])
    retrain = config.retrain
    assert (retrain.epochs, retrain.optimizer, retrain.learning_rate, retrain.schedule) == (20, "adam", 5e-4, "step")
    assert [20 * part for part in retrain.milestones] == [10, 15]
    assert (config.data.augmentation.rotation_deg, config.data.augmentation.scale) == (40, 0.5)


@pytest.mark.parametrize("path", sorted((REPO / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_can_be_read(path: Path) -> None:
    assert isinstance(load_config(path), Config)


VIDEO = "video: {frames: 3, train: {minutes: 6}, retrain: {minutes: 3}}\nsearch: {minutes: 1}\n"


def test_the_minutes_of_a_run_on_videos_are_those_of_its_own_trainings(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(f"{VIDEO}train: {{minutes: 50}}\nseed: 5\n", encoding="utf-8")
    config = load_config(tmp_path / "run.yaml", [("minutes", "20")])
    assert config.is_video
    assert (config.video.train.minutes, config.search.minutes, config.video.retrain.minutes) == (12, 2, 6)
    assert config.train.minutes == 50
    assert config.video.train.seed == config.video.retrain.seed == 5
    images = load_config(tmp_path / "run.yaml", [("video.frames", "0")])
    assert not images.is_video
    assert load_config(tmp_path / "run.yaml", [("video.frames", "0"), ("minutes", "102")]).train.minutes == 100


def test_a_stage_notes_its_part_of_the_section_of_videos(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(VIDEO, encoding="utf-8")
    first = load_config(tmp_path / "run.yaml", [("video.train.batch_size", "7"), ("video.retrain.batch_size", "8")])
    note_config(first, tmp_path / "config.yaml", ["video.frames", "video.train", "search", "video.retrain"])
    second = load_config(tmp_path / "run.yaml", [("video.retrain.batch_size", "9")])
    note_config(second, tmp_path / "config.yaml", ["video.retrain"])
    noted = load_config(tmp_path / "config.yaml")
    assert (noted.video.train.batch_size, noted.video.retrain.batch_size) == (7, 9)


@pytest.mark.parametrize(("frames", "section"), [(0, "retrain"), (2, "video.retrain")])
def test_the_last_epochs_and_what_they_show_are_given_together(tmp_path: Path, frames: int, section: str) -> None:
    path = tmp_path / "run.yaml"
    views, epochs = ("data.final_augmentation.scale", "0.1"), (f"{section}.final_epochs", "3")
    path.write_text(f"video: {{frames: {frames}}}\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"data\.final_augmentation: is given, and {section}\.final_epochs is 0"):
        load_config(path, [views])
    with pytest.raises(InputError, match=rf"^{section}\.final_epochs is 3, and data\.final_augmentation does not say"):
        load_config(path, [epochs])
    config = load_config(path, [views, epochs])
    config.check_final_epochs()
    noted = tmp_path / "config.yaml"
    note_config(replace(load_config(path), run_dir=tmp_path), noted, ["data"])
    note_config(config, noted, ["data"])  # a stage that notes the views; retraining notes its epochs later
    assert load_config(noted).data.final_augmentation == config.data.final_augmentation
