"""URPC by hand: which scales have a head, what they learn from labels, and how they agree."""

import pytest
import torch

from criinet.config import Ramp
from criinet.losses import cross_entropy_dice
from criinet.methods.urpc import PyramidConsistency


def test_the_weight_ramps_over_a_fraction_of_any_run():
    assert PyramidConsistency.Config().weights == {"supervised": 1.0, "consistency": Ramp(to=0.1, over=0.4)}


@pytest.mark.parametrize(
    ("channels", "asked", "heads"),
    [([2, 3, 4, 5, 6], 4, [3, 4, 5]), ([2, 3, 4, 5, 6], 2, [3]), ([4, 8], 4, [8]), ([2, 3, 4], 3, [3, 4])],
)
def test_the_finest_decoder_scales_have_heads_and_the_coarsest_feature_fills_up(tasks, channels, asked, heads):
    """Of five encoder scales four are the decoder's, as in the paper; of two there is one, and the bottleneck."""
    method = tasks(settings={"channels": channels}).method("urpc", scales=asked)
    assert [head.in_channels for head in method.heads] == heads


def test_both_losses_are_the_formula(tasks):
    """Four classes on 20x28 images, three scales, softmax and divergence over the classes."""
    task = tasks(classes=4, settings={"channels": [4, 6, 8], "dropout": []})
    method = task.method("urpc")
    labeled, batch = task.labeled_batch(), task.unlabeled_batch(method.views)
    found = method.losses(labeled, batch, 0.5)

    def logits(image):
        output = method.student(image)
        features = [output.features.pyramid[1], output.features.scales[2]]
        coarser = [head(feature) for head, feature in zip(method.heads, features, strict=True)]
        size = image.shape[2:]
        grown = [torch.nn.functional.interpolate(z, size=size, mode="bilinear") for z in coarser]
        return [output.logits, *grown]

    supervised = sum(cross_entropy_dice(z, labeled.target) for z in logits(labeled.image)) / 3
    torch.testing.assert_close(found["supervised"], supervised)
    probs = [z.exp() / z.exp().sum(1, keepdim=True) for z in logits(batch.weak)]
    mean = sum(probs) / 3
    expected = 0.0
    for p in probs:
        kl = (mean * (mean.log() - p.log())).sum(1, keepdim=True)
        weight = (-kl).exp()
        expected += (weight * (mean - p) ** 2).mean() / weight.mean() + kl.mean()
    torch.testing.assert_close(found["consistency"], expected / 3)


def test_the_finest_head_predicts(tasks):
    task = tasks()
    method = task.method("urpc").eval()
    image = task.labeled_batch().image
    assert torch.equal(method.predict(image).probs, method.student(image).logits.softmax(1))
