"""Response heads: each against the plain linear map that it stands for, at the places it says it reads."""

import re
from pathlib import Path

import pytest
import torch

from neuroalign import GuidedNetwork, NeuralPredictor, ResponseHead
from neuroalign.config import build
from neuroalign.models import (
    HEADS,
    AttentionPool,
    FactorizedReadout,
    FullLinear,
    GaussianReadout,
    LowRankLinear,
    TokenLinear,
    untrained,
)

SHAPE, V = (6, 5, 8), 7  # not square
TOKENS = (9, 6)


def features(*shape, n=3):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [SHAPE, (50, 2, 3)])
@pytest.mark.parametrize("positive", [False, True])
def test_factorized_is_a_linear_map_of_outer_products(shape, positive):
    head = FactorizedReadout(shape, V, positive_mask=positive)
    x = features(*shape)
    mask = head.mask.abs() if positive else head.mask
    weight = (head.weight[:, :, None] * mask[:, None]).flatten(1)
    torch.testing.assert_close(head(x), x.flatten(1) @ weight.T + head.bias)


def at(row, column, height, width):
    """The position of a pixel's centre, (x, y)."""
    return [(2 * column + 1) / width - 1, (2 * row + 1) / height - 1]


def test_gaussian_reads_the_pixel_at_its_mean_on_a_map_that_is_not_square():
    head = GaussianReadout(SHAPE, V).eval()
    places = [(0, 0), (4, 7), (0, 7), (4, 0), (2, 3), (1, 6), (3, 2)]
    with torch.no_grad():
        head.position.copy_(torch.tensor([at(r, c, 5, 8) for r, c in places]))
    x = features(*SHAPE)
    expected = torch.stack([x[:, :, r, c] @ head.weight[v] for v, (r, c) in enumerate(places)], 1)
    torch.testing.assert_close(head(x), expected)


@pytest.mark.parametrize("covariance", ["isotropic", "diagonal", "full"])
def test_gaussian_samples_its_distribution_in_training(covariance):
    head = GaussianReadout(SHAPE, 2, covariance=covariance)
    with torch.no_grad():
        head.position.copy_(torch.tensor([[0.1, -0.2], [0.3, 0.0]]))
        if covariance == "full":
            head.sigma.copy_(torch.tensor([[[0.2, 0.0], [0.1, 0.1]]]).expand(2, 2, 2))
            expected = torch.tensor([[0.04, 0.02], [0.02, 0.02]])
        elif covariance == "diagonal":
            head.sigma.copy_(torch.tensor([[0.3, 0.1]]).expand(2, 2))
            expected = torch.tensor([[0.09, 0.0], [0.0, 0.01]])
        else:
            expected = 0.04 * torch.eye(2)
    drawn = head.sample_positions(20_000)
    torch.testing.assert_close(drawn.mean(0), head.position, atol=0.01, rtol=0)
    for v in range(2):
        torch.testing.assert_close(torch.cov(drawn[:, v].T), expected, atol=0.003, rtol=0)
    assert not torch.equal(head(features(*SHAPE)), head(features(*SHAPE)))
    assert torch.equal(head.eval()(features(*SHAPE)), head(features(*SHAPE)))


def test_gaussian_learns_where_a_voxel_looks():
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.randn(400, 4, 3, 4), (10, 16), mode="bicubic", align_corners=False)
    target = smooth[:, :, 2, 12].sum(1, keepdim=True)  # at (x, y) = (0.5625, -0.5)
    head = GaussianReadout((4, 10, 16), 1, init_sigma=0.3)
    optimizer = torch.optim.Adam(head.parameters(), 0.02)
    for _ in range(400):
        optimizer.zero_grad()
        (head(smooth) - target).square().mean().backward()
        optimizer.step()
    assert head.position[0].tolist() == pytest.approx(at(2, 12, 10, 16), abs=0.08)
    assert float(head.sigma.abs().max()) < 0.1  # and becomes sure of it


def test_low_rank_has_that_rank():
    head = LowRankLinear(SHAPE, V, rank=2)
    jacobian = torch.autograd.functional.jacobian(lambda x: head(x)[0], features(*SHAPE, n=1)).flatten(1)
    assert torch.linalg.matrix_rank(jacobian) == 2


def test_attention_that_looks_everywhere_is_pooling():
    for shape, pooled in ((SHAPE, lambda x: x.mean((2, 3))), (TOKENS, lambda x: x.mean(1)), ((6,), lambda x: x)):
        head = AttentionPool(shape, V, num_queries=2, num_heads=3)
        with torch.no_grad():
            head.query.zero_()
        x = features(*shape)
        expected = head.linear(head.value(pooled(x)).repeat(1, 2))
        torch.testing.assert_close(head(x), expected)


def test_attention_can_look_at_one_place():
    head = AttentionPool(SHAPE, V)
    with torch.no_grad():
        head.key.weight.copy_(torch.eye(6)), head.key.bias.zero_()
        head.query.copy_(torch.ones(1, 6))
        head.place[13] = 100.0
    x = features(*SHAPE)
    torch.testing.assert_close(head(x), head.linear(head.value(x.flatten(2)[:, :, 13])))


def test_tokens():
    x = features(*TOKENS)
    heads = {t: TokenLinear(TOKENS, V, tokens=t) for t in ("cls", "mean", "all")}
    torch.testing.assert_close(heads["cls"](x), heads["cls"].linear(x[:, 0]))
    torch.testing.assert_close(heads["mean"](x), heads["mean"].linear(x[:, 1:].mean(1)))
    torch.testing.assert_close(heads["all"](x), heads["all"].linear(x.flatten(1)))
    registers = TokenLinear(TOKENS, V, tokens="mean", num_prefix=5)
    torch.testing.assert_close(registers(x), registers.linear(x[:, 5:].mean(1)))
    torch.testing.assert_close(FullLinear(SHAPE, V)(features(*SHAPE)).shape, torch.Size([3, V]), check_dtype=False)


@pytest.mark.parametrize("name", sorted(HEADS))
def test_every_head_works_in_a_network(name):
    shape = TOKENS if name == "token" else SHAPE
    spec = ResponseHead(
        "layer", 6 if name == "identity" else V, name, options={"rank": 3} if name == "low_rank" else {}
    )
    head = spec.build(shape)
    x = features(*shape).requires_grad_()
    head(x).sum().backward()
    assert head(x).shape == (3, head.num_outputs)
    assert all(p.grad is not None for p in head.parameters())
    assert x.grad.abs().sum() > 0
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(head(x)).all()
    if list(head.parameters()):
        fresh = untrained(head, seed=3)
        assert any(not torch.equal(a, b) for a, b in zip(fresh.parameters(), head.parameters()))


def test_layers_with_channels_last():
    spec = ResponseHead("x", V, "factorized", channels_last=True)
    head = spec.build((5, 8, 6))
    x = features(*SHAPE)
    torch.testing.assert_close(head(x.permute(0, 2, 3, 1)), head.head(x))
    with pytest.raises(ValueError, match="goes with a layer of three axes"):
        ResponseHead("x", V, channels_last=True).build((6,))


def test_transformers_from_timm():
    pytest.importorskip("timm", reason="timm is not installed (extra: timm)")
    heads = {
        "V1": ResponseHead("blocks.1", V, "token", options={"tokens": "mean"}),
        "TO": ResponseHead("blocks.3", V, "attention"),
    }
    vit = GuidedNetwork(
        "timm:vit_tiny_patch16_224", 10, heads, image_shape=(3, 32, 32), options={"img_size": 32, "depth": 4}
    )
    responses = vit.forward_with_responses(torch.rand(2, 3, 32, 32))[1]
    assert {h: tuple(r.shape) for h, r in responses.items()} == {"V1": (2, V), "TO": (2, V)}


def test_a_predictor_with_another_head(tmp_path):
    predictor = NeuralPredictor(
        "small_resnet", V, layer="layer2", head="gaussian", head_options={"covariance": "full"}, image_shape=(3, 16, 24)
    )
    predictor.eval().save(tmp_path / "p.safetensors")
    again = NeuralPredictor.load(tmp_path / "p.safetensors").eval()
    x = torch.rand(2, 3, 16, 24)
    torch.testing.assert_close(again(x), predictor(x))
    assert build(predictor.config).head.covariance == "full"


def test_the_table_of_parameters_in_the_docs():
    page = (Path(__file__).parents[2] / "docs/heads.md").read_text()
    rows = re.findall(r"^\| `\"(\w+)\"`(?:, `(.*?)`)? \|.*?\| ([\d,]+) \|$", page, re.MULTILINE)
    assert {name for name, *_ in rows} == set(HEADS)
    for name, options, count in rows:
        options = dict(eval(f"dict({options})")) if options else {}
        shape = (197, 384) if name == "token" else (256, 14, 14)
        head = ResponseHead("x", 256 if name == "identity" else 1000, name, options=options).build(shape)
        assert sum(p.numel() for p in head.parameters()) == int(count.replace(",", "")), name


@pytest.mark.parametrize(
    ("spec", "shape", "error", "message"),
    [
        (("x", V, "factorized"), (6,), ValueError, "needs a layer .channel, height, width."),
        (("x", V, "gaussian"), TOKENS, ValueError, "Use 'linear', 'low_rank' or 'attention'"),
        (("x", V, "token"), SHAPE, ValueError, "needs a layer .token, feature."),
        (("x", V, "low_rank"), SHAPE, ValueError, "rank must be from 1 to 7 here; got 16"),
        (("x", None, "linear"), SHAPE, ValueError, "positive number of voxels; got None"),
        (("x", V, "gaussian", 1, {"sigma": 1}), SHAPE, TypeError, "did you mean 'init_sigma'"),
        (("x", V, "gaussian", 1, {"init_sigma": 0}), SHAPE, ValueError, "init_sigma must be positive"),
        (("x", V, "gaussian", 1, {"covariance": "round"}), SHAPE, ValueError, "'isotropic', 'diagonal' or 'full'"),
        (("x", V, "attention", 1, {"num_heads": 4}), SHAPE, ValueError, "num_heads divide 6 channels"),
        (("x", V, "attention"), (1, 2, 3, 4), ValueError, "can't read a layer of shape"),
        (("x", V, "token", 1, {"tokens": "last"}), TOKENS, ValueError, "'cls', 'mean' or 'all'"),
        (("x", V, "token", 1, {"num_prefix": 9}), TOKENS, ValueError, "num_prefix must be from 0 to 8"),
        (("x", V, "token", 1, {"num_prefix": 0}), TOKENS, ValueError, "no class token"),
    ],
)
def test_errors(spec, shape, error, message):
    with pytest.raises(error, match=message):
        ResponseHead.of(spec).build(shape)
