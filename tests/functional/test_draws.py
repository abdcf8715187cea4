"""Random numbers of images: SplitMix64's, the same in any batch, uniform or normal, and unrelated between images."""

from itertools import pairwise

import pytest
import torch
from scipy import stats

from neuroalign.functional.draws import image_keys, normal, random_bits, splitmix64, uniform

KINDS = {
    "bits": lambda keys, *shape: random_bits(keys, torch.Size(shape).numel()).view(-1, *shape),
    "uniform": uniform,
    "coarse": lambda keys, *shape: uniform(keys, *shape, bits=16),
    "normal": normal,
}


def keys(*index, seed=0, stream=0):
    return image_keys(torch.tensor(index), seed, stream)


def test_bits_are_the_halves_of_splitmix64s_numbers():
    mask, state = 2**64 - 1, 1234567
    numbers = random_bits(torch.tensor([state]), 6)[0]
    halves = []
    for _ in range(3):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        z ^= z >> 31
        halves += [z & 0xFFFFFFFF, z >> 32]
    assert [int(n) % 2**32 for n in numbers] == halves
    assert halves[0] + (halves[1] << 32) == 6457827717110365317, "as published with the generator"


@pytest.mark.parametrize("shape", [(), (1,), (3, 5, 5), (3, 32, 32), (3, 151, 149)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_an_image_are_the_same_in_any_batch(kind, shape):
    draw, index = KINDS[kind], list(range(100, 140))
    whole = draw(keys(*index), *shape)
    assert whole.shape == (40, *shape)
    for part in ([100], [117, 103], index[::-1], index[5:32]):
        assert torch.equal(draw(keys(*part), *shape), whole[[i - 100 for i in part]])
    assert draw(keys(*[]).long(), *shape).shape == (0, *shape)


def test_seed_stream_and_image_each_give_other_numbers():
    some = [random_bits(keys(i, seed=s, stream=t), 64) for i in range(4) for s in range(4) for t in range(4)]
    assert len(torch.cat(some, 1).unique()) == 64 * 64


@pytest.mark.parametrize("kind", ["uniform", "coarse", "normal"])
def test_distribution(kind):
    x = KINDS[kind](keys(*range(50)), 3, 32, 32).double()
    law = stats.norm if kind == "normal" else stats.uniform
    flat = x.flatten().numpy()
    assert stats.kstest(flat, law.cdf).pvalue > 1e-3
    counts = torch.histc(torch.from_numpy(law.cdf(flat)), 100, 0, 1).numpy()
    assert stats.chisquare(counts).pvalue > 1e-3
    assert kind == "normal" or ((x >= 0).all() and (x < 1).all())


@pytest.mark.parametrize("kind", ["uniform", "coarse", "normal"])
def test_neighbours_are_unrelated(kind):
    """Images, places, seeds and streams that differ by one: correlations and squares within 5 standard errors of 0."""
    n = 100_000
    draw = lambda **which: KINDS[kind](keys(which.pop("index", 7), **which), n).double()[0]  # noqa: E731
    base = draw()
    others = [draw(index=8), draw(seed=1), draw(stream=1), *(base.roll(k) for k in (1, 2, 3, 32, 1024))]
    for other in others:
        for a, b in ((base, other), (base.square(), other), (base.square(), other.square())):
            assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 5 / n**0.5


def test_a_range():
    x = uniform(keys(0), 1000, low=-3.0, high=5.0)
    assert -3 <= x.min() < -2.9 and 4.9 < x.max() < 5
    assert stats.kstest(x[0].numpy(), stats.uniform(-3, 8).cdf).pvalue > 1e-3
    assert torch.equal(uniform(keys(0), 9, low=2.0, high=2.0), torch.full((1, 9), 2.0))


def test_tails_of_normal_numbers():
    x = normal(keys(*range(40)), 100_000).abs()
    for bound, next_one in pairwise((2.0, 3.0, 4.0, 4.5)):
        share = float(((x >= bound) & (x < next_one)).double().mean())
        expected = 2 * (stats.norm.sf(bound) - stats.norm.sf(next_one))
        assert share == pytest.approx(expected, abs=5 * (expected / x.numel()) ** 0.5)
    assert 4.8 < x.max() < 6.8 and x.isfinite().all()


def test_hash_of_a_tensor_of_any_shape():
    index = torch.arange(12).view(3, 4)
    assert torch.equal(splitmix64(index, 5).flatten(), splitmix64(index.flatten(), 5))
