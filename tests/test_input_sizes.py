"""The input's size as a gene: space, crops, one supernet trained and evaluated at each size, and a run end to end."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nas.config import Config
from nas.data.batches import Batches
from nas.data.codecs import Codec
from nas.data.pose_data import PoseData
from nas.data.resizing import Resizing
from nas.data.tensors import ClipBatch, to_tensor
from nas.evaluation.config import EvaluationConfig
from nas.latency.blocks import blocks_of, space_blocks
from nas.latency.published import published_beside
from nas.processes.distributed import Processes
from nas.run.folder import RunFolder
from nas.search import session
from nas.search.candidates.chain import Kept, Looks
from nas.search.candidates.config import CandidateConfig
from nas.search.workers.node_files import FilesMissing, fetching
from nas.stages.inherited import Inheritance, Setting
from nas.training.goals import OutputKey, of_each_output, output_forms, resized_heatmaps
from nas.training.losses import heatmap_mse
from nas.training.supernet import sampled_subnets, train_supernet
from nas.training.validation import CropEvaluator
from search_spaces import (
    HeadChoices,
    InputError,
    PoseArchitecture,
    SearchSpace,
    StageChoices,
    get_space,
    get_video_space,
)
from search_spaces.video import frames_of
from supernet import Supernet, calibrate
from tests.program import assert_one_line, call
from tests.training_fixture import pose_data, quick_config, small_space

SIZES = ((32, 24), (48, 40), (64, 48))
LARGEST = (64, 48)


def sized_space(**changes: Any) -> SearchSpace:
    """144 networks for three sizes, one of another shape."""
    return small_space().replace(input_sizes=SIZES, **changes)


@pytest.fixture
def data(tmp_path: Path) -> PoseData:
    return pose_data(tmp_path / "people")


# Space --------------------------------------------------------------------------------------------------------------


def test_the_gene_is_the_last_one_and_nothing_else_changes() -> None:
    plain, space = small_space(), sized_space()
    assert space.gene_names == (*plain.gene_names, "input_size")
    assert space.genes[-1].words == ("32×24", "48×40", "64×48")
    assert space.size == 3 * plain.size
    assert (space.largest(), space.smallest()) == (plain.largest(), plain.smallest().replace(input_size=SIZES[0]))
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        vector = plain.encode(plain.sample(rng))
        assert space.decode((*vector, 2)) == plain.decode(vector)
        assert space.encode(plain.decode(vector)) == (*vector, 2)
        sampled = space.sample(rng)
        for member in (sampled, space.mutate(sampled, rng), space.crossover(sampled, space.largest(), rng)):
            assert space.decode(space.encode(member)) == member
            seen.add(member.input_size)
    assert seen == set(SIZES)
    assert not space.contains(plain.largest().replace(input_size=(64, 40)))
    with pytest.raises(InputError, match=r"input_size=64×40 is not a choice; \[32×24, 48×40, 64×48\] are"):
        space.encode(plain.largest().replace(input_size=(64, 40)))


def test_every_network_is_counted_once() -> None:
    space = sized_space()
    vectors = np.ndindex(space.gene_sizes)
    assert len({space.decode(vector) for vector in vectors}) == space.size


def test_one_size_is_no_choice_and_leaves_no_trace() -> None:
    plain = small_space()
    assert small_space().replace(input_sizes=(LARGEST,)) == plain
    assert "input_sizes" not in plain.to_json()
    space = sized_space()
    assert space == small_space().replace(input_sizes=tuple(reversed(SIZES)))
    assert space.id != plain.id
    assert SearchSpace.from_json(json.loads(json.dumps(space.to_json()))) == space


def test_a_file_extends_a_space_by_sizes(tmp_path: Path) -> None:
    file = tmp_path / "sizes.yaml"
    file.write_text("extends: resnet-tiny\ninput_sizes: [[128, 96], [96, 80], [64, 48]]\n")
    assert get_space(file).sizes == ((64, 48), (96, 80), (128, 96))
    done = call("spaces", file)
    assert done.returncode == 0, done.stderr
    assert "64×48, 96×80, 128×96" in done.stdout
    assert "64 × 48 to 128 × 96" in done.stdout
    done = call("spaces", file, "--yaml")
    (tmp_path / "whole.yaml").write_text(done.stdout)
    assert get_space(tmp_path / "whole.yaml") == get_space(file)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (((32, 24), (48, 40)), r"input_size, 64×48, must be one of them and their largest"),
        (((32, 24), (64, 48), (48, 56)), r"input_size, 64×48, must be one of them and their largest"),
        (((32, 24), (64, 48), (32, 24)), r"\[32×24, 64×48, 32×24\] names a size twice"),
        (((36, 24), (64, 48)), r"36×24 gives heatmaps of 10×6, .* multiples of the strides together \(8 and 8\)"),
        (((32, 32), (64, 48)), r"32×32 is of another shape than 64×48"),
        (((0, 0), (64, 48)), r"0×0 is of another shape"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(sizes: tuple[tuple[int, int], ...], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        small_space().replace(input_sizes=sizes)
    assert "\n" not in str(error.value)


def test_simcc_and_videos_have_one_size(tmp_path: Path) -> None:
    simcc = HeadChoices(width=(16,), layers=1, output=("heatmaps", "simcc"))
    with pytest.raises(InputError, match="output simcc has weights for one input size; leave input_sizes out"):
        sized_space(head=simcc)
    file = tmp_path / "sizes.yaml"
    file.write_text("extends: resnet-tiny\ninput_sizes: [[128, 96], [64, 48]]\n")
    with pytest.raises(InputError, match="clip have one input size, sizes has 2; leave input_sizes out"):
        get_video_space(file, 2)


def test_the_latency_table_s_blocks_and_the_published_networks_are_those_of_every_size() -> None:
    space, rng = sized_space(), np.random.default_rng(0)
    known = space_blocks(space)
    assert len(known) == 3 * len(space_blocks(small_space()))
    for _ in range(40):
        assert {block for block, _ in blocks_of(space.sample(rng))} <= known.keys()
    beside = {network.input_size for name, network in published_beside(space) if name == "s-vipnas-res50"}
    assert beside == {*SIZES, (256, 192)}


# Crops of another size ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted", "window"),
    [
        ((256, 192), (128, 96), (0, 0, 256, 192)),
        ((256, 192), (224, 160), (0, 4, 256, 183)),
        ((256, 192), (160, 128), (8, 0, 240, 192)),
        ((128, 96), (128, 96), (0, 0, 128, 96)),
    ],
)
def test_a_dot_lies_where_its_keypoint_is_moved_to(
    given: tuple[int, int], wanted: tuple[int, int], window: tuple[int, ...]
) -> None:
    resizing = Resizing(given, wanted)
    assert resizing.window == window
    place = torch.tensor([given[1] * 0.37, given[0] * 0.62])
    dot = resizing.images(_dots(place[None, None], given, 3.0))
    assert dot.shape[2:] == wanted
    torch.testing.assert_close(_centroid(dot), resizing.keypoints_px(place)[None], rtol=0, atol=0.02)
    x, y = resizing.step
    assert x == pytest.approx(y, rel=5e-3), "nobody is stretched"


def _dots(places: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """(N, K, h, w) of places (N, K, 2)."""
    rows, columns = (torch.arange(side, dtype=torch.float32) for side in size)
    down = torch.exp((rows - places[..., 1:]).square() / (-2 * sigma**2))
    along = torch.exp((columns - places[..., :1]).square() / (-2 * sigma**2))
    return down[..., :, None] * along[..., None, :]


def _centroid(maps: Tensor) -> Tensor:
    """(N, 2) of maps (N, 1, h, w)."""
    mass = maps.sum(dim=(1, 2, 3))
    x = (maps.sum(dim=(1, 2)) * torch.arange(maps.shape[3])).sum(dim=1) / mass
    y = (maps.sum(dim=(1, 3)) * torch.arange(maps.shape[2])).sum(dim=1) / mass
    return torch.stack([x, y], dim=1)


def _grey(dots: Tensor) -> Tensor:
    """Maps (N, 1, h, w) from 0 to 1 as images (N, 3, h, w)."""
    return to_tensor((255 * dots + 0.5).byte().permute(0, 2, 3, 1).repeat(1, 1, 1, 3))


def _dot_batch(count: int, sigma: float, codec: Codec) -> ClipBatch:
    """Grey dots in crops of the codec's size."""
    generator, size = torch.Generator().manual_seed(1), torch.tensor(codec.input_size[::-1])
    places = 0.1 * size + torch.rand(count, 1, 1, 2, generator=generator) * 0.8 * size
    dots = (255 * _dots(places[:, 0], codec.input_size, sigma) + 0.5).byte()
    return ClipBatch(
        step=0,
        pixels=dots[..., None].repeat(1, 1, 1, 1, 3).numpy(),
        keypoints_px=places.numpy(),
        visibility=np.ones((count, 1, 1), np.float32),
        previous_from_current=np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1, 1)),
        codec=codec,
    )


def test_what_is_learned_from_resized_crops_finds_keypoints_in_crops_of_that_size_without_bias() -> None:
    """A dot at (x, y) of a large crop lies at (x / 2, y / 2) in one that is cut at half the size, and a quarter pixel
    before that in a resized one. Were targets not moved just so, the convolution would learn a bias of that much."""
    large, small = Codec.of("dark", (128, 96)), Codec.of("dark", (64, 48))
    places = torch.rand(200, 1, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([24.0, 40.0]) + 12
    errors = []
    for codec, sigma in ((large, 3.0), (small, 1.6)):
        batch = _dot_batch(96, sigma, codec)
        shown = Resizing(codec.input_size, small.input_size).images(batch.tensors().images[:, 0])
        target, _ = (values[:, 0] for values in batch.targets(small))
        weights = _fitted_convolution(shown, target)
        heatmaps = _convolved(_grey(_dots(places, small.input_size, 1.6)), weights).view(200, 1, *small.heatmap_size)
        found, _ = small.decode_batch(heatmaps.float().numpy())
        errors.append((torch.from_numpy(found) - places).mean(dim=0)[0])
    torch.testing.assert_close(*errors, rtol=0, atol=0.03)  # what both have in common is the codec's and the fit's


def _convolved(images: Tensor, weights: Tensor) -> Tensor:
    return _patches(images) @ weights


def _fitted_convolution(images: Tensor, heatmaps: Tensor) -> Tensor:
    """The 17×17 convolution of stride 4 that gives these heatmaps with the least error."""
    patches, wanted = _patches(images), heatmaps.flatten().double()[:, None]
    normal = patches.T @ patches + 1e-3 * len(patches) * torch.eye(patches.shape[1], dtype=torch.float64)
    return torch.linalg.solve(normal, patches.T @ wanted)


def _patches(images: Tensor) -> Tensor:
    columns = torch.nn.functional.unfold(images[:, :1], 17, stride=4, padding=8).transpose(1, 2).flatten(0, 1)
    return torch.cat([columns, torch.ones(len(columns), 1)], dim=1).double()


@pytest.mark.parametrize("size", [(32, 24), (48, 40)])
def test_the_teacher_s_heatmaps_lie_where_the_smaller_input_shows_the_keypoints(size: tuple[int, int]) -> None:
    space = small_space().replace(
        input_size=(128, 96),
        input_sizes=((64, 48), (96, 80), (128, 96)),
        head=HeadChoices(width=(16,), layers=1, normalization="softmax"),
    )
    size = (2 * size[0], 2 * size[1])

    def codec_of(network: PoseArchitecture) -> Codec:
        return Codec.of("dark", network.input_size)

    forms = output_forms(of_each_output(space), codec_of(space.largest()), codec_of, "auto")
    given = forms[OutputKey.of(space.largest())]
    wanted = forms[OutputKey.of(space.largest().replace(input_size=size))]
    places = torch.tensor([[[30.0, 44.0], [50.0, 60.0], [61.0, 83.0]]])
    heatmaps, weights = given.codec.encode(places, torch.ones(1, 3))
    target, _ = wanted.codec.encode(Resizing((128, 96), size).keypoints_px(places), weights)
    found = resized_heatmaps(heatmaps, given, wanted)
    assert found.shape == target.shape
    torch.testing.assert_close(found.sum(dim=(2, 3)), target.sum(dim=(2, 3)), rtol=0.05, atol=0)
    centroids = (_centroid(maps.flatten(0, 1)[:, None]) for maps in (found, target))
    torch.testing.assert_close(*centroids, rtol=0, atol=0.05)


# Supernet -----------------------------------------------------------------------------------------------------------


def test_a_subnet_of_each_size_equals_its_extracted_network_to_the_bit() -> None:
    space = sized_space()
    supernet, generator = Supernet(space), torch.Generator().manual_seed(0)
    assert supernet.store.keys() == Supernet(small_space()).store.keys()
    architecture = space.sample(np.random.default_rng(3))
    for size in SIZES:
        network = architecture.replace(input_size=size)
        images = torch.randn(2, 3, *size, generator=generator)
        net = supernet.train().extract(network).module
        assert torch.equal(supernet(images, network), net(images))
        assert net(images).shape[2:] == network.heatmap_size == (size[0] // 4, size[1] // 4)


def test_a_step_is_the_mean_of_its_subnets_gradients_each_at_its_size(data: PoseData, tmp_path: Path) -> None:
    """Written out with plain Adam, three steps give the same weights."""
    space = sized_space()
    config = quick_config(steps=3, distillation=0.4, ema_decay=0.0, warmup_steps=0, seed=5, random_subnets=3)
    trained = train_supernet(space, data, config, tmp_path)
    forms = output_forms(of_each_output(space), data.codec(LARGEST), data.codec_of, "auto")
    expected = Supernet(space, generator=torch.Generator().manual_seed(5)).train()
    adam = torch.optim.Adam(expected.parameters(), lr=config.learning_rate)
    batches, drawn = Batches(data.training_set(LARGEST), 4, seed=5), set()
    for step in range(3):
        batch = batches.batch(step)
        images, target, present = (values[:, 0] for values in batch.tensors()[:3])
        teacher = expected(images, space.largest())
        losses = [heatmap_mse(teacher, target, present)]
        for _, [network] in list(sampled_subnets(space, config, step))[1:]:
            form = forms[OutputKey.of(network)]
            shown = Resizing(LARGEST, network.input_size).images(images)
            truth, weights = (values[:, 0] for values in batch.targets(form.codec))
            goal = 0.6 * truth + 0.4 * resized_heatmaps(teacher.detach(), forms[OutputKey.of(space.largest())], form)
            losses.append(heatmap_mse(expected(shown, network), goal, weights))
            drawn.add(network.input_size)
        adam.zero_grad()
        (sum(losses) / len(losses)).backward()  # type: ignore[union-attr]
        for group in adam.param_groups:
            group["lr"] = config.learning_rate * config.rate().factor(step, step / 3)
        adam.step()
    assert drawn == set(SIZES)
    begun = Supernet(space, generator=torch.Generator().manual_seed(5)).store
    for name, value in trained.store.items():
        torch.testing.assert_close(value, expected.store[name], rtol=1e-4, atol=1e-6, msg=name)
        assert not torch.equal(value, begun[name]), name


# Evaluation ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[PoseData, RunFolder]:
    folder = tmp_path_factory.mktemp("trained")
    people, space, run = pose_data(folder / "people"), sized_space(), RunFolder(folder / "run")
    train_supernet(space, people, quick_config(steps=60, learning_rate=1e-2, random_subnets=3), run.path)
    run.write_space(space)
    return people, run


def _factory(trained: tuple[PoseData, RunFolder], **options: Any) -> session.CandidateFactory:
    data, run = trained
    settings: dict[str, Any] = {"chunk": 3, "calibration_crops": 6, "precision": "float32", "racing": False}
    config = CandidateConfig(**{**settings, **options})
    space = run.load_space()
    return session.candidate_factory(space, data, config, run, session.Costs(), ("macs",), "cpu")


def _plainly(data: PoseData, supernet: Supernet, network: PoseArchitecture) -> Mapping[str, float]:
    """The extracted network, evaluated by nas.evaluation."""
    size = network.input_size
    net = calibrate(supernet.extract(network), [data.calibration_crops(size, 6).tensor()])
    plain = EvaluationConfig(flip_test=False, oks_nms="none", score="keypoint")
    return CropEvaluator(data, size, plain)(net, Processes())


def _members(space: SearchSpace) -> list[PoseArchitecture]:
    """Two of each size, that share most of their parts."""
    largest = space.largest()
    stem_and_first = largest.stages[:1]
    narrow = dataclasses.replace(largest.stages[1], width=8)
    both = (largest, largest.replace(stages=(*stem_and_first, narrow)))
    return [one.replace(input_size=size) for one in both for size in (*SIZES, SIZES[0])]


@pytest.mark.parametrize("cache_mb", [0, 64])
def test_candidates_of_every_size_are_evaluated_as_their_extracted_networks(
    trained: tuple[PoseData, RunFolder], cache_mb: int
) -> None:
    data, run = trained
    evaluate, supernet = _factory(trained, cache_mb=cache_mb)(), Supernet.load(run.supernet)
    found = []
    for network in _members(run.load_space()):
        record, expected = evaluate(network), _plainly(data, supernet, network)
        assert record["objectives"]["ap"] == pytest.approx(expected["AP"], abs=0.02)
        assert record["metrics"]["mean_oks"] == pytest.approx(expected["mean_oks"], abs=1e-3)
        found.append(record["metrics"]["mean_oks"])
        assert sum(image.nbytes for image in evaluate._images.values()) + evaluate._kept.bytes <= cache_mb << 20
    assert found[0] == found[3], "what is kept of other sizes changes nothing"
    assert min(abs(first - second) for first, second in combinations(found[:3], 2)) > 4e-3, "no size is another's"


def test_first_looks_are_at_each_candidate_s_own_size(trained: tuple[PoseData, RunFolder]) -> None:
    data, run = trained
    shared, supernet = _factory(trained, first_look=5)(), Supernet.load(run.supernet).train()
    for network in _members(run.load_space()):
        found = shared(network)
        assert found["status"] == "screened"
        crops = data.validation_crops(network.input_size)
        with torch.no_grad():
            heatmaps = supernet.extract(network).module(crops.tensor(slice(0, 5)))
        places, _ = data.codec_of(network).decode_batch(heatmaps.numpy())
        people = shared.at(network.input_size).shown.people
        expected = people.oks(places[:, None], slice(0, 5))
        assert found["metrics"]["mean_oks"] == pytest.approx(float(expected.mean()), abs=0.01)


def test_looks_tell_stages_apart_that_are_alike_but_for_their_place() -> None:
    stage = StageChoices(width=(8,), depth=(1,), kernel_size=(3,), groups=(1,), attention=(False,), stride=1)
    space = small_space().replace(stages=(stage, stage, dataclasses.replace(stage, stride=2)))
    supernet = Supernet(space, generator=torch.Generator().manual_seed(3)).train()
    images, network = torch.randn(4, 3, 64, 48, generator=torch.Generator().manual_seed(1)), space.largest()
    looks = Looks(supernet, (), (images[:, None], None), (4.0, 4.0), torch.float32, Kept(1 << 28))
    [found] = looks(frames_of(network))
    with torch.no_grad():
        expected = supernet.extract(network).module(images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_a_head_s_scale_is_that_of_its_own_heatmaps() -> None:
    """Looks share a part's weights between sizes; a softmax sums to what targets of its size sum to."""
    sizes, head = ((128, 96), (256, 192)), HeadChoices(width=(16,), layers=1, normalization="softmax")
    space = small_space().replace(input_size=sizes[1], input_sizes=sizes, head=head)
    supernet, kept = Supernet(space).train(), Kept(1 << 28)
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        images = torch.randn(2, 3, *size, generator=generator)
        network = space.largest().replace(input_size=size)
        [found] = Looks(supernet, (), (images[:, None], None), (4.0, 4.0), torch.float32, kept)(frames_of(network))
        total = 2 * np.pi * sigma_of(size) ** 2
        torch.testing.assert_close(found.sum(dim=(2, 3)), torch.full((2, 17), total), rtol=1e-4, atol=0)
        with torch.no_grad():
            expected = supernet.extract(network).module(images)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def sigma_of(size: tuple[int, int]) -> float:
    return Codec.of("gaussian", size).sigma


def test_candidates_of_different_sizes_race_on_the_same_people(trained: tuple[PoseData, RunFolder]) -> None:
    evaluate = _factory(trained)()
    people = [evaluate.at(size).shown.people.crops.instances for size in SIZES]  # type: ignore[attr-defined]
    for others in people[1:]:
        np.testing.assert_array_equal(people[0].annotation_ids, others.annotation_ids)


def test_the_crops_of_all_sizes_travel_to_a_node(
    trained: tuple[PoseData, RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    data, run = trained
    monkeypatch.setenv("VIPNAS_CACHE", str(tmp_path / "node"))
    monkeypatch.setattr(ray, "get", lambda path: np.fromfile(path, dtype=np.uint8))
    shutil.copytree(data.config.folder, tmp_path / "people")  # type: ignore[arg-type]
    there = pose_data(tmp_path / "people")
    weights = RunFolder(tmp_path / "run")
    weights.path.mkdir()
    shutil.copyfile(run.supernet, weights.supernet)
    weights.write_space(run.load_space())
    factory = _factory((there, weights))
    network = run.load_space().smallest()
    expected = factory()(network)["metrics"]
    moved, files = factory.portable()
    assert len(files) == 1 + 2 * 2 * len(SIZES)
    kept = {}
    for digest, path in files.items():
        kept[digest] = tmp_path / "driver" / digest
        kept[digest].parent.mkdir(exist_ok=True)
        path.rename(kept[digest])
    with pytest.raises(FilesMissing):
        moved()
    with fetching(kept):
        evaluate = moved()
    assert evaluate(network)["metrics"] == expected


def test_trust_evaluates_inherited_weights_at_each_size(trained: tuple[PoseData, RunFolder], tmp_path: Path) -> None:
    data, run = trained
    config = Config(
        run_dir=run.path, space="small", data=data.config, candidate=CandidateConfig(calibration_crops=6)
    )
    members = _members(run.load_space())[:3]
    settings = [Setting("", run.supernet, 0)]
    (run.path / "trust").mkdir(exist_ok=True)
    values = Inheritance(run, config).of(members, settings, lambda done, total: None)
    supernet = Supernet.load(run.supernet)
    for network in members:
        expected = _plainly(data, supernet, network)
        assert values[network.id][""]["mean_oks"] == pytest.approx(expected["mean_oks"], abs=1e-3)
    calls: list[int] = []
    again = Inheritance(run, config)
    again._evaluate = lambda *_: calls.append(1)  # type: ignore[assignment, method-assign, func-returns-value]
    assert again.of(members, settings, lambda done, total: None) == values
    assert not calls, "what was evaluated is kept"


# A run --------------------------------------------------------------------------------------------------------------

SPACE = """
name: sizes
family: resnet
input_size: [64, 48]
input_sizes: [[64, 48], [32, 24]]
keypoints: 17
stem: {width: 8, kernel_size: 3}
stages:
  - {width: 8, depth: 1, kernel_size: 3, groups: 1, attention: false, stride: 1}
  - {width: [8, 16], depth: 1, kernel_size: 3, groups: 1, attention: [false, true], stride: 2}
head: {width: [8, 16], layers: 1}
"""


def test_a_run_with_two_sizes_goes_from_end_to_end(tmp_path: Path) -> None:
    from nas.data.synthetic import SyntheticConfig, synthesize

    people = SyntheticConfig(train_images=12, val_images=6, videos_train=0, videos_val=0, image_size=(128, 128))
    synthesize(tmp_path / "people", people)
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    settings, run = tmp_path / "config.yaml", tmp_path / "run"
    settings.write_text(
        f"""
run_dir: {run}
space: {tmp_path}/space.yaml
data: {{folder: {tmp_path}/people, cache: {tmp_path}/cache}}
train: {{steps: 4, batch_size: 4, bf16: false}}
search: {{evaluations: 12, objectives: [mean_oks, macs], algorithm: guided, workers: 0}}
candidate: {{first_look: 3}}
retrain: {{epochs: 1, batch_size: 4, bf16: false}}
""",
        encoding="utf-8",
    )
    for command in ("train-supernet", "search"):
        done = call(command, settings)
        assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    records = [record for record in records if "architecture" in record]
    by_size = {tuple(record["architecture"].get("input_size", (256, 192))): record["id"] for record in records}
    assert by_size.keys() == {(64, 48), (32, 24)}
    macs = {size: [r["objectives"]["macs"] for r in records if tuple(r["architecture"]["input_size"]) == size]
            for size in by_size}  # fmt: skip
    assert min(macs[64, 48]) > min(macs[32, 24])
    for size, identity in by_size.items():
        done = call("export", run, "--ids", identity)
        assert done.returncode == 0, done.stderr
        folder = run / "export" / identity
        assert f"{size[0]}" in (folder / "card.md").read_text()
        done = call("describe", folder / "architecture.json")
        assert done.returncode == 0, done.stderr
        assert f"{size[0]} × {size[1]}" in done.stdout or f"{size[0]}×{size[1]}" in done.stdout
    small = by_size[32, 24]
    done = call("retrain", settings, "--architecture", f"{run}:{small}")
    assert done.returncode == 0, done.stderr
    best = run / "retrain" / small / "best.safetensors"
    done = call("evaluate", settings, "--weights", best, "--out", tmp_path / "evaluation")
    assert done.returncode == 0, done.stderr
    results = []
    for model in (best, best.with_name("model.onnx")):
        out = tmp_path / model.stem
        done = call("predict", tmp_path / "people" / "images", "--model", model, "--whole-frame", "--out", out,
                    "--no-video")  # fmt: skip
        assert done.returncode == 0, done.stderr
        [file] = out.glob("*.keypoints.results.json")
        results.append(np.array([one["keypoints"] for one in json.loads(file.read_text())]))
    np.testing.assert_allclose(results[0], results[1], rtol=0, atol=1e-2)
    done = call("report", run)
    assert done.returncode == 0, done.stderr
    other = tmp_path / "video.yaml"
    other.write_text(
        f"run_dir: {tmp_path}/video\nspace: {tmp_path}/space.yaml\ndata: {{folder: {tmp_path}/people}}\n"
        f"video: {{frames: 2, key: {run}/export/{by_size[64, 48]}, train: {{steps: 1}}}}\n"
    )
    assert_one_line(call("train-supernet", other), "clip have one input size")
