"""SimCC: targets, decoding, loss and flip test, as the official code has them (optional real data) and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nas.data.codecs import Codec
from nas.data.flip import flip_back, flip_test
from nas.data.simcc import SimCCCodec, packed, unpacked
from nas.training.losses import heatmap_loss, mixed_distributions, simcc_loss, target_mixing
from search_spaces import InputError, published
from supernet import SimCC
from tests.paths import shared

RTMPOSE = SimCCCodec(input_size=(256, 192), sigmas=(4.9, 5.66))
SMALL = SimCCCodec(input_size=(64, 48))
BINS_X = 384


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(shared(f"reference/golden/pipeline/{name}.npz")) as arrays:
        return {key: arrays[key] for key in arrays.files}


def encoded(keypoints: np.ndarray, visible: np.ndarray, codec: Codec = RTMPOSE) -> tuple[SimCC, torch.Tensor]:
    targets, weights = codec.encode(torch.from_numpy(keypoints), torch.from_numpy(visible))
    assert targets.shape[2:] == codec.heatmap_size
    return unpacked(targets, codec.input_size), weights


def both(arrays: dict[str, np.ndarray], x: str, y: str, scale: float = 1.0) -> SimCC:
    return SimCC(*(torch.from_numpy(arrays[name].astype(np.float32) / scale) for name in (x, y)))


def test_targets_are_the_official_ones() -> None:
    expected = golden("simcc_encode")
    found, weights = encoded(expected["keypoints"], expected["visible"])
    np.testing.assert_array_equal(weights.numpy(), expected["rtmpose_weights"])
    for name, values in (("x", found.x), ("y", found.y)):
        np.testing.assert_allclose(values[..., ::7].numpy(), expected[f"rtmpose_{name}"], rtol=0, atol=1e-6)
        sums = values.double().sum(dim=-1).numpy()
        np.testing.assert_allclose(sums, expected[f"rtmpose_{name}_sum"], rtol=1e-5, atol=1e-5)
    other = golden("simcc")
    found, weights = encoded(other["keypoints"], other["visible"])
    np.testing.assert_array_equal(weights.numpy(), other["weights"])
    for name, values in (("x", found.x), ("y", found.y)):
        np.testing.assert_allclose(values[:, ::4].numpy(), other[f"target_{name}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["simcc", "simcc_decode"])
def test_decoded_keypoints_are_the_official_ones(name: str) -> None:
    expected = golden(name)
    given = both(expected, "pred_x", "pred_y") if name == "simcc" else both(expected, "pred_x_512", "pred_y_512", 512)
    found, scores = RTMPOSE.decode_batch(packed(given).numpy())
    np.testing.assert_array_equal(found, expected["decoded"])
    np.testing.assert_array_equal(scores, expected["scores"])


def test_loss_and_gradients_are_the_official_ones() -> None:
    expected, people = golden("simcc_loss_flip"), golden("simcc_encode")
    rows = expected["people"]
    target, weights = RTMPOSE.encode(*(torch.from_numpy(people[name][rows]) for name in ("keypoints", "visible")))
    given = packed(both(expected, "pred_x_512", "pred_y_512", 512)).requires_grad_()
    loss = simcc_loss(given, target, weights, BINS_X) * len(rows)
    assert loss.item() == pytest.approx(float(expected["rtmpose_loss64"]), rel=1e-6)
    loss.backward()
    assert given.grad is not None
    gradient = unpacked(given.grad, (256, 192))
    for name, values in (("x", gradient.x), ("y", gradient.y)):
        norm = float(expected[f"rtmpose_grad_{name}_norm"])
        assert values.norm().item() == pytest.approx(norm, rel=1e-5)
        theirs = expected[f"rtmpose_grad_{name}"]
        np.testing.assert_allclose(values[..., ::7].numpy(), theirs, rtol=1e-4, atol=1e-7 * np.abs(theirs).max())


def test_the_flip_test_is_the_official_one() -> None:
    expected = golden("simcc_loss_flip")
    indices = expected["flip_indices"].tolist()
    given = both(expected, "pred_x_512", "pred_y_512", 512)
    first, last = (SimCC(given.x[rows], given.y[rows]) for rows in (slice(0, 4), slice(4, 8)))
    for start in (first, last):
        flipped = flip_back(start, indices, shift=False)
        if all(
            np.array_equal(getattr(flipped, name).numpy(), expected[f"flipped_{name}"].astype(np.float32) / 512)
            for name in "xy"
        ):
            break
    else:
        raise AssertionError("neither half is the flipped one")
    images = torch.arange(2.0).reshape(1, 1, 1, 2)  # a "network" that gives one half for it, the other for its mirror
    average = flip_test(lambda x: first if x[0, 0, 0, 0] == 0 else last, images, indices, False)
    assert isinstance(average, SimCC)
    for name in "xy":
        np.testing.assert_array_equal(getattr(average, name).numpy(), expected[f"average_{name}_1024"] / 1024)


# By hand ------------------------------------------------------------------------------------------------------------


def test_encoding_and_decoding_are_inverse_within_a_quarter_of_a_pixel() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(0, (47, 63), size=(5, 17, 2)).astype(np.float32)
    targets, weights = SMALL.encode_batch(places, np.ones((5, 17)))
    found, scores = SMALL.decode_batch(targets)
    assert np.abs(found - places).max() <= 0.25
    assert (scores == 1).all()
    assert (weights == 1).all()


def test_sigmas_are_rtmposes_unless_said() -> None:
    codec = SimCCCodec(input_size=(256, 192))
    assert codec.axis_sigmas == pytest.approx((4.9, 5.66), abs=0.004)
    assert SimCCCodec(input_size=(384, 288)).axis_sigmas == pytest.approx((6.0, 6.93), abs=0.004)


def test_nothing_found_has_a_score_that_is_not_positive_and_never_nan() -> None:
    broken = np.zeros((1, 3, 1, 224), dtype=np.float32)
    broken[0, 1] = np.nan
    broken[0, 2, 0, 10], broken[0, 2, 0, 96 + 20] = 0.5, 2.0
    found, scores = SMALL.decode_batch(broken)
    np.testing.assert_array_equal(found[0, 0], (-0.5, -0.5))
    np.testing.assert_array_equal(found[0, 2], (5.0, 10.0))
    np.testing.assert_array_equal(scores[0], (0.0, 0.0, 0.5))


def test_a_perfect_output_has_no_loss_and_a_mixture_has_that_of_its_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    target, teacher, output = (torch.rand(2, 3, 1, 224, generator=generator) for _ in range(3))
    weights = torch.ones(2, 3)
    assert simcc_loss(target + 3, target, weights, 96).item() == pytest.approx(0, abs=1e-7)  # a constant is free
    assert torch.equal(mixed_distributions(target, teacher, 0, 96), target)
    differences = []
    for share in (0.0, 0.3, 1.0):  # the loss up to what does not depend on the output
        mixed = mixed_distributions(target, teacher, share, 96)
        losses = [simcc_loss(one, mixed, weights, 96) for one in (output, output.flip(-1))]
        differences.append(float(losses[0] - losses[1]))
    assert differences[1] == pytest.approx(0.7 * differences[0] + 0.3 * differences[2], rel=1e-3)


def test_a_simcc_network_has_one_loss() -> None:
    architecture = published("rtmpose-t")
    target, weights = torch.rand(1, 17, 1, 896), torch.ones(1, 17)
    assert heatmap_loss("auto", architecture)(target, target, weights).item() == pytest.approx(0, abs=1e-7)
    assert target_mixing(architecture)(target, target, 0.5).shape == target.shape
    with pytest.raises(InputError, match="mse is for heatmaps"):
        heatmap_loss("mse", architecture)


@pytest.mark.parametrize("name", ["dark", "udp"])
def test_codecs_of_heatmaps_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="one of heatmaps"):
        SimCCCodec(name=name, input_size=(64, 48))


def test_a_shifted_flip_is_refused() -> None:
    with pytest.raises(InputError, match="flip_shift=true moves heatmaps"):
        flip_back(SimCC(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4)), [0], shift=True)
