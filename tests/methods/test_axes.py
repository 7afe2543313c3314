"""Unlabeled losses run over classes: with H and W unequal and swapped, every one keeps its value."""

import pytest
import torch
from torch import Tensor

from criinet.types import CutMix, LabeledBatch, UnlabeledBatch

FIXED = {
    "bcp": {"side": 1.0, "pretraining": 0.0},
    "cps": {},
    "entropy-min": {},
    "fixmatch": {"confidence": 0.5},
    "ict": {},
    "mean-teacher": {"noise": 0.0},
    "ua-mt": {"noise": 0.0},
    "unimatch": {"confidence": 0.5, "drop": 0.0},
}
"""Settings without which noise, boxes or dropped channels would fall elsewhere on a turned image."""
SIDES = {2: (4, 7), 3: (2, 4, 7)}


def draw(*shape: int, seed: int) -> Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("dims", [2, 3])
def test_swapping_height_and_width_changes_no_loss(glass, name, dims):
    """Three classes on 4 x 7 pixels: a softmax over the width, or targets turned the wrong way, would show."""
    method = glass(name, classes=3, dims=dims, **FIXED[name])
    second = getattr(method, "second", None) or getattr(getattr(method, "teacher", None), "network", method.student)
    with torch.no_grad():
        second.head.weight.add_(0.3 * draw(*second.head.weight.shape, seed=9))
    sides = SIDES[dims]
    target = torch.randint(0, 3, (2, *sides), generator=torch.Generator().manual_seed(1))
    images = {view: draw(2, 3, *sides, seed=i) for i, view in enumerate(("labeled", "weak", "strong_1", "strong_2"))}
    boxes = {view: draw(2, 1, *sides, seed=i) > 0 for i, view in enumerate(("strong_1", "strong_2"))}
    values = []
    for turn in (lambda x: x, lambda x: x.transpose(-1, -2).contiguous()):
        mixes = {view: CutMix(torch.tensor([1, 0]), turn(box)) for view, box in boxes.items()}
        unlabeled = UnlabeledBatch({view: turn(images[view]) for view in method.views}, mixes)
        torch.manual_seed(0)
        values.append(
            method.losses(LabeledBatch(turn(images["labeled"]), turn(target), torch.arange(2)), unlabeled, 0.6)
        )
    for term in method.unlabeled_terms:
        assert values[0][term] > 0, term
        torch.testing.assert_close(values[0][term], values[1][term])
