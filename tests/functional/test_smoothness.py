"""Input gradients and Lipschitz constants against closed forms and finite differences."""

import warnings

import pytest
import torch
from torch import nn

from neuroalign import PGD, InputSmoothnessCallback, evaluate_smoothness
from neuroalign.functional import input_gradient_norm, input_smoothness, local_lipschitz, released_smoothness


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double()


def test_gradient_of_a_linear_model():
    model, x, labels = linear(), torch.rand(6, 3, 2, 2).double(), torch.tensor([0, 1, 2, 0, 1, 2])
    weight = model[1].weight
    difference = model(x).softmax(1) - torch.eye(3, dtype=torch.double)[labels]
    expected = (difference @ weight).square().sum(1)
    found = input_gradient_norm(model, x, labels)
    torch.testing.assert_close(found.squared_norm.double(), expected, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(input_smoothness(found.squared_norm), 400 * found.squared_norm.mean())
    rivals = model(x).scatter(1, labels[:, None], -torch.inf).argmax(1)
    expected = (weight[rivals] - weight[labels]).square().sum(1)
    margin = input_gradient_norm(model, x, labels, loss="margin")
    torch.testing.assert_close(margin.squared_norm.double(), expected, rtol=1e-5, atol=1e-8)
    own = model(x).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(margin.loss, model(x).gather(1, rivals[:, None])[:, 0] - own)


def test_the_released_scripts_number():
    """As the script takes it: the gradient of the batch-mean loss by images that were normalised outside of the model."""
    from neuroalign.models import Normalize

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    inner, x, labels = linear(), torch.rand(6, 3, 2, 2).double(), torch.tensor([0, 1, 2, 0, 1, 2])
    model = nn.Sequential(Normalize(mean, std), inner).double()
    z = ((x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]).requires_grad_()
    nn.functional.cross_entropy(inner(z), labels).backward()
    expected = 400 * z.grad.flatten(1).square().sum(1).mean()
    torch.testing.assert_close(released_smoothness(model, x, labels, std=std), expected.detach(), rtol=1e-5, atol=0)
    assert float(released_smoothness(model, x[:3], labels[:3], std=std) / expected) > 2  # it depends on the batch size
    with pytest.raises(ValueError, match="each of the 3 channels"):
        released_smoothness(model, x, labels, std=(0.5,))


def test_the_former_name_says_what_is_wrong_with_it():
    from neuroalign import functional

    with pytest.warns(FutureWarning, match="its scale is not the paper's"):
        assert functional.paper_smoothness is input_smoothness


def test_samples_are_on_their_own():
    model, x, labels = linear(), torch.rand(6, 3, 2, 2).double(), torch.tensor([0, 1, 2, 0, 1, 2])
    whole = input_gradient_norm(model, x, labels).squared_norm
    alone = torch.cat([input_gradient_norm(model, x[i : i + 1], labels[i : i + 1]).squared_norm for i in range(6)])
    torch.testing.assert_close(whole, alone)


def test_the_callers_images_are_left_alone():
    images = torch.rand(6, 3, 2, 2).double()
    input_gradient_norm(linear(), images, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert not images.requires_grad
    assert images.grad is None


def test_it_can_be_trained_with():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x, labels = torch.rand(4, 3, 2, 2).double(), torch.tensor([0, 1, 2, 0])
    found = input_gradient_norm(model, x, labels, create_graph=True)
    (gradient,) = torch.autograd.grad(found.squared_norm.sum(), model[1].weight, retain_graph=True)
    weight = model[1].weight
    step = 1e-5
    with torch.no_grad():
        weight[0, 0] += step
    up = input_gradient_norm(model, x, labels).squared_norm.sum()
    with torch.no_grad():
        weight[0, 0] -= 2 * step
    down = input_gradient_norm(model, x, labels).squared_norm.sum()
    assert float(gradient[0, 0]) == pytest.approx(float((up - down) / (2 * step)), rel=1e-4)
    assert found.loss.requires_grad


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_lipschitz_constant_of_a_linear_model(norm):
    """Of outputs w x and -w x it is twice the dual norm of w; of several outputs the ascent may end below the truth."""
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).double(), 0.5 + 0.01 * torch.randn(5, 3, 2, 2).double()
    with torch.no_grad():
        model[1].weight[1] = -model[1].weight[0]
    weight = model[1].weight[0].detach()
    truth = 2 * (weight.abs().sum() if norm == "linf" else weight.norm())
    found = local_lipschitz(model, x, 0.05, norm=norm, steps=40)
    torch.testing.assert_close(found, truth.expand(5), rtol=1e-3, atol=0)
    several = linear()
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * 3) @ several[1].weight.detach()
    truth = signs.abs().sum(1).max() if norm == "linf" else signs.norm(dim=1).max()
    found = local_lipschitz(several, x, 0.05, norm=norm, steps=40)
    assert ((found <= truth * (1 + 1e-6)) & (found > 0.5 * truth)).all()


def test_refusals():
    with pytest.raises(ValueError, match="'ce' or 'margin'"):
        input_gradient_norm(linear(), torch.rand(1, 3, 2, 2).double(), torch.tensor([0]), loss="dlr")
    with pytest.raises(ValueError, match="eps must be positive"):
        local_lipschitz(linear(), torch.rand(1, 3, 2, 2).double(), 0)


class WithoutGradient(nn.Module):
    """A linear classifier whose logits tell nothing of how they came from the images."""

    def __init__(self, how):
        super().__init__()
        self.how, self.linear = how, nn.Linear(12, 3)

    def forward(self, x):
        x = x.flatten(1)
        if self.how == "detached":
            return self.linear(x).detach()
        if self.how == "parameters alone":
            return self.linear(x.detach())
        with torch.no_grad() if self.how == "no_grad" else torch.inference_mode():
            return self.linear(x)


def without_gradient(how):
    if how != "quantised":
        return WithoutGradient(how).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that its quantisation moves to another package
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), {nn.Linear}).eval()


SMOOTHNESS = {
    "input_gradient_norm": input_gradient_norm,
    "margin": lambda m, x, y: input_gradient_norm(m, x, y, loss="margin"),
    "released_smoothness": lambda m, x, y: released_smoothness(m, x, y, std=(0.5, 0.5, 0.5)),
    "local_lipschitz": lambda m, x, y: local_lipschitz(m, x, 0.1),
    "evaluate_smoothness": lambda m, x, y: evaluate_smoothness(m, [(x, y)]),
    "at adversarial points": lambda m, x, y: evaluate_smoothness(m, [(x, y)], PGD(steps=2), 0.1),
    "callback": lambda m, x, y: InputSmoothnessCallback().look(None, m, x, y, torch.arange(len(x))),
}


@pytest.mark.filterwarnings("ignore:quantized")  # torch's own, of what we say in the error
@pytest.mark.parametrize("how", ["detached", "parameters alone", "no_grad", "inference mode", "quantised"])
@pytest.mark.parametrize("measure", SMOOTHNESS)
def test_a_model_without_a_gradient_is_told(measure, how):
    x, labels = torch.rand(4, 3, 2, 2), torch.arange(4) % 3
    with pytest.raises(ValueError, match="no gradient reaches the images: is the model"):
        SMOOTHNESS[measure](without_gradient(how), x, labels)


@pytest.mark.parametrize("measure", list(SMOOTHNESS)[:4])
def test_an_output_that_is_no_tensor_is_told(measure):
    x, labels = torch.rand(4, 3, 2, 2), torch.arange(4) % 3
    with pytest.raises(TypeError, match="the model returns a dict, not a tensor of logits"):
        SMOOTHNESS[measure](lambda z: {"logits": z.flatten(1)}, x, labels)
