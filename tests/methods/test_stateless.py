"""Passes that change nothing: the right output, no gradient where none belongs, and untouched running statistics."""

import copy

import pytest
import torch
from torch import nn

from criinet.methods.stateless import apply_constant, apply_untracked


@pytest.fixture
def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1)).train()


def image() -> torch.Tensor:
    return torch.rand(2, 1, 6, 9, generator=torch.Generator().manual_seed(1)).requires_grad_()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("apply", [apply_constant, apply_untracked])
def test_the_output_is_the_modules_own_and_its_state_stays(module, apply, training):
    module.train(training)
    before = copy.deepcopy(module.state_dict())
    found = apply(module, image())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert torch.equal(found, module(image()))


def test_of_a_constant_module_the_input_alone_has_a_gradient(module):
    x, y = image(), image()
    apply_constant(module, x).square().sum().backward()
    assert all(p.grad is None for p in module.parameters())
    assert all(p.requires_grad for p in module.parameters())
    module(y).square().sum().backward()
    assert torch.equal(x.grad, y.grad)


def test_of_an_untracked_module_parameters_have_the_gradient_of_a_plain_pass(module):
    other = copy.deepcopy(module)
    apply_untracked(module, image()).square().sum().backward()
    other(image()).square().sum().backward()
    for p, q in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)
