"""Mean Teacher by hand: who sees the noise."""

import math

import pytest
import torch

from criinet.types import LabeledBatch, UnlabeledBatch


@pytest.mark.parametrize("name", ["mean-teacher", "ua-mt"])
def test_the_teacher_alone_sees_noise(glass, see, monkeypatch, name):
    """Of a pixel at one half, noise of ln 3 on the foreground's logit makes .75: the student, at .5, is .25 off.

    The student's logits are doubled: had it seen the noise, it would say .9 and be .4 off a teacher at .5.
    """
    noise = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1)
    module = {"mean-teacher": "mean_teacher", "ua-mt": "ua_mt"}[name]
    monkeypatch.setattr(f"criinet.methods.{module}.clipped_noise", lambda image, _: noise.expand_as(image))
    method = glass(name)
    with torch.no_grad():
        method.student.head.weight.mul_(2)
    labeled = LabeledBatch(torch.zeros(1, 2, 1, 2), torch.zeros(1, 1, 2).long(), torch.zeros(1).long())
    terms = method.losses(labeled, UnlabeledBatch({"weak": see([[0.5, 0.5, 0.5]])}, {}), 0.999)
    assert terms["consistency"].item() == pytest.approx(0.25**2)
