"""The three losses of CRII-Net: what is pooled, who is ranked against whom, and where gradients go."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from criinet.errors import ShapeError
from criinet.labels import IGNORE
from criinet.losses import (
    Descriptors,
    Patches,
    RankedGeometry,
    boundary_band,
    boundary_patches,
    coarse_refined_consistency,
    inter_patch_ranked_loss,
    intra_patch_ranked_loss,
    low_contrast_weight,
    patch_descriptors,
    ranked_list_loss,
)
from criinet.losses.coarse_refined import gather_pixels


def at(*degrees: float) -> Tensor:
    """Return unit vectors (N, 2) at these angles."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1).float()


def image_of(*degrees: float) -> Tensor:
    """Return an embedding (1, 2, 1, N) of unit vectors at these angles."""
    return at(*degrees).T[None, :, None, :]


def whole(labels: Tensor) -> Patches:
    """Return one patch for each image that is the image itself, all of it on the band."""
    flat = labels.flatten(1).unsqueeze(1)
    return Patches(torch.arange(flat.shape[-1]).expand_as(flat), flat, flat != IGNORE)


def described(degrees: list[float], label: list[int], case: list[int]) -> Descriptors:
    return Descriptors(at(*degrees), torch.tensor(label), torch.tensor(case))


def test_consistency_by_hand():
    """Foreground .75 against .5: both classes differ by .25, so the mean of squares is .0625."""
    coarse = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1)
    refined = torch.zeros(1, 2, 1, 1)
    assert coarse_refined_consistency(coarse, refined).item() == pytest.approx(0.0625, abs=1e-6)
    assert coarse_refined_consistency(coarse, coarse + 5).item() == pytest.approx(0, abs=1e-12)


def test_consistency_of_half_precision_logits_is_computed_in_float32():
    logits = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = coarse_refined_consistency(logits, -logits)
    assert found.dtype == torch.float32
    assert found.item() == coarse_refined_consistency(logits.float(), -logits.float()).item()


def test_consistency_moves_the_coarse_prediction_alone():
    """With a gradient to the refined one, the cheapest agreement would be to refine nothing."""
    coarse, refined = torch.randn(2, 3, 4, 5).requires_grad_(), torch.randn(2, 3, 4, 5).requires_grad_()
    coarse_refined_consistency(coarse, refined).backward()
    assert coarse.grad is not None
    assert (coarse.grad != 0).all()
    assert refined.grad is None


@pytest.mark.parametrize(("target", "moved"), [("refined", (1, 0)), ("coarse", (0, 1)), ("neither", (0.5, 0.5))])
def test_the_target_of_the_consistency_gets_no_gradient(target, moved):
    """The value is the same whichever of the two is the target; with neither, both move half as far."""
    coarse, refined = torch.randn(2, 3, 4, 5).requires_grad_(), torch.randn(2, 3, 4, 5).requires_grad_()
    expected = torch.autograd.grad(coarse_refined_consistency(coarse, refined), coarse)[0]
    mirrored = torch.autograd.grad(coarse_refined_consistency(refined, coarse), refined)[0]
    loss = coarse_refined_consistency(coarse, refined, target=target)
    assert loss.item() == pytest.approx(coarse_refined_consistency(coarse, refined).item())
    found = torch.autograd.grad(loss, (coarse, refined), allow_unused=True)
    for gradient, whole, share in zip(found, (expected, mirrored), moved, strict=True):
        torch.testing.assert_close(torch.zeros_like(whole) if gradient is None else gradient, share * whole)


def test_consistency_pulls_the_coarse_prediction_towards_the_refined_one():
    coarse, refined = torch.zeros(1, 2, 1, 1, requires_grad=True), torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)
    coarse_refined_consistency(coarse, refined).backward()
    assert coarse.grad is not None
    assert coarse.grad[0, 1].item() < 0 < coarse.grad[0, 0].item()


def test_consistency_compares_classes_not_columns():
    """Adding a number to all classes of a pixel changes nothing, and neither does swapping H = 4 and W = 7."""
    coarse, refined = torch.randn(2, 3, 4, 7), torch.randn(2, 3, 4, 7)
    value = coarse_refined_consistency(coarse, refined)
    torch.testing.assert_close(coarse_refined_consistency(coarse + torch.randn(2, 1, 4, 7), refined), value)
    torch.testing.assert_close(coarse_refined_consistency(coarse.mT, refined.mT), value)


def test_consistency_refuses_other_shapes():
    with pytest.raises(ShapeError):
        coarse_refined_consistency(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 2, 2))


@pytest.mark.parametrize("sides", [(5, 7), (3, 5, 7)])
def test_gathered_pixels_are_those_of_the_flat_index(sides):
    embedding = torch.randn(2, 6, *sides)
    pixels = torch.randint(0, int(np.prod(sides)), (2, 3, 4))
    gathered = gather_pixels(embedding, pixels)
    assert gathered.shape == (2, 3, 4, 6)
    where = torch.unravel_index(pixels[1, 2, 3], sides)
    assert torch.equal(gathered[1, 2, 3], embedding[(1, slice(None), *where)])


def test_intra_by_hand():
    """Three pixels at 0, 60 and 120 degrees of classes 0, 0 and 1, chords 1, 1 and sqrt(3), radii .8 and 1.2.

    Pixel 0: l+ = .2 (to 60), l- empty. Pixel 60: l+ = .2, l- = .2 (to 120). Pixel 120: no positive but itself, l- = .2.
    Mean of .1, .2 and .1.
    """
    patches = whole(torch.tensor([[[0, 0, 1]]]))
    value = intra_patch_ranked_loss(image_of(0, 60, 120), patches, 2)
    assert value.item() == pytest.approx(0.4 / 3, abs=1e-5)


def test_intra_takes_its_geometry():
    """alpha 1.5, margin 1: inside .5, outside 1.5. Two pixels of one class at a chord of 1 are .5 too far."""
    patches = whole(torch.tensor([[[1, 1]]]))
    value = intra_patch_ranked_loss(image_of(0, 60), patches, 2, geometry=RankedGeometry(1.5, 1.0, 0.0))
    assert value.item() == pytest.approx(0.25, abs=1e-5)


def test_intra_asks_from_the_band_alone():
    """Only pixel 120 is on the band: its loss is .1, and the others serve as keys."""
    patches = whole(torch.tensor([[[0, 0, 1]]]))._replace(band=torch.tensor([[[False, False, True]]]))
    assert intra_patch_ranked_loss(image_of(0, 60, 120), patches, 2).item() == pytest.approx(0.1, abs=1e-5)


def test_intra_never_ranks_across_patches():
    """Each of two patches holds one class in one direction, which would clash with the other patch."""
    embedding = image_of(0, 0, 10, 10)
    pixels = torch.tensor([[[0, 1], [2, 3]]])
    patches = Patches(pixels, torch.tensor([[[0, 0], [1, 1]]]), torch.ones(1, 2, 2, dtype=torch.bool))
    assert intra_patch_ranked_loss(embedding, patches, 2).item() == 0


def test_intra_leaves_out_images_without_a_boundary():
    """The mean is over the queries of the image that has a boundary, not over both images."""
    labels = torch.tensor([[[0, 0, 1]], [[IGNORE] * 3]])
    value = intra_patch_ranked_loss(image_of(0, 60, 120).expand(2, -1, -1, -1), whole(labels), 2)
    assert value.item() == pytest.approx(0.4 / 3, abs=1e-5)


def test_intra_without_any_boundary_is_zero_with_a_gradient_of_zero():
    embedding = F.normalize(torch.randn(2, 4, 12, 16), dim=1).requires_grad_()
    patches = boundary_patches(torch.zeros(2, 12, 16, dtype=torch.long), 2, size=(4, 4), count=3, band=1)
    value = intra_patch_ranked_loss(embedding, patches, 2)
    value.backward()
    assert value.item() == 0
    assert embedding.grad is not None
    assert torch.equal(embedding.grad, torch.zeros_like(embedding))


def test_intra_sends_its_gradient_into_the_patch():
    torch.manual_seed(0)
    labels = torch.zeros(1, 16, 24, dtype=torch.long)
    labels[:, :, 12:] = 1
    embedding = F.normalize(torch.randn(1, 4, 16, 24), dim=1).requires_grad_()
    patches = boundary_patches(labels, 2, size=(4, 6), count=4, band=1)
    intra_patch_ranked_loss(embedding, patches, 2).backward()
    assert embedding.grad is not None
    moved = embedding.grad.abs().sum(1).flatten(1) > 0
    inside = torch.zeros_like(moved).scatter_(1, patches.pixels.flatten(1), True)
    assert moved.any()
    assert not (moved & ~inside).any()


@pytest.mark.parametrize("sides", [(5, 7), (3, 4, 5)])
def test_intra_does_not_change_when_height_and_width_are_swapped(sides):
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (2, *sides))
    embedding = F.normalize(torch.randn(2, 4, *sides), dim=1)
    straight = intra_patch_ranked_loss(embedding, whole(labels), 3, queries=1000, keys=1000)
    turned = intra_patch_ranked_loss(embedding.mT, whole(labels.mT), 3, queries=1000, keys=1000)
    torch.testing.assert_close(turned, straight)
    assert straight.item() > 0.01


def test_a_mixed_patch_is_pooled_by_class():
    """Class 0 at 0 and 60 degrees pools to 30; class 1 at 120 and 180 to 150; class 2 is absent; IGNORE is nobody's."""
    patches = whole(torch.tensor([[[0, 0, 1, 1, IGNORE]]]))
    vector, label, case = patch_descriptors(image_of(0, 60, 120, 180, 270), patches, 3, torch.tensor([7]))
    torch.testing.assert_close(vector[:2], at(30, 150))
    assert label.tolist() == [0, 1, IGNORE]
    assert case.tolist() == [7, 7, 7]


def test_descriptors_are_unit_vectors_of_every_image_patch_and_class():
    torch.manual_seed(0)
    labels = torch.randint(0, 2, (2, 6, 9))
    patches = Patches(torch.randint(0, 54, (2, 3, 10)), torch.randint(0, 2, (2, 3, 10)), torch.ones(2, 3, 10).bool())
    embedding = F.normalize(torch.randn(2, 5, 6, 9), dim=1)
    found = patch_descriptors(embedding, patches, 2, torch.tensor([4, 9]))
    assert found.vector.shape == (2 * 3 * 2, 5)
    assert found.case.tolist() == [4] * 6 + [9] * 6
    present = found.label != IGNORE
    assert found.label.tolist() == [0, 1] * 6
    torch.testing.assert_close(found.vector[present].norm(dim=1), torch.ones(int(present.sum())))
    by_hand = embedding[1].flatten(1)[:, patches.pixels[1, 2][patches.labels[1, 2] == 1]].mean(1)
    torch.testing.assert_close(found.vector[-1], by_hand / by_hand.norm())
    turned = patch_descriptors(embedding.mT, whole(labels.mT), 2, torch.tensor([4, 9]))
    straight = patch_descriptors(embedding, whole(labels), 2, torch.tensor([4, 9]))
    torch.testing.assert_close(turned.vector, straight.vector)


def test_ignored_patches_describe_nothing():
    found = patch_descriptors(image_of(0, 60), whole(torch.full((1, 1, 2), IGNORE)), 2, torch.tensor([0]))
    assert (found.label == IGNORE).all()
    assert torch.isfinite(found.vector).all()


def test_positives_come_from_other_images_alone():
    """A lesion at 0 degrees; at a chord of 1 another of its own image (no pair), at sqrt(2) one of another image."""
    query = described([0], [1], [3])
    keys = described([60, 90], [1, 1], [3, 4])
    assert inter_patch_ranked_loss(query, keys).item() == pytest.approx((math.sqrt(2) - 0.8) / 2, abs=1e-5)
    for keys in (described([60], [1], [3]), described([0, 60], [1, 1], [3, 3])):
        assert inter_patch_ranked_loss(query, keys).item() == 0, "whether of this batch or of the memory"


def test_negatives_come_from_all_images():
    """Background at a chord of 1 counts .2, whether it is of the lesion's own image or of another."""
    query = described([0], [1], [3])
    for case in (3, 4):
        assert inter_patch_ranked_loss(query, described([60], [0], [case])).item() == pytest.approx(0.1, abs=1e-5)


def test_inter_takes_the_nearest_wrong_descriptor_first():
    """With T = 10 a lesion among the background's descriptors (20 degrees) outweighs a far one (60 degrees)."""
    near, far = 1.2 - 2 * math.sin(math.radians(10)), 0.2
    weights = math.exp(10 * near), math.exp(10 * far)
    expected = (weights[0] * near + weights[1] * far) / sum(weights) / 2
    value = inter_patch_ranked_loss(described([0], [1], [0]), described([20, 60], [0, 0], [0, 1]))
    assert value.item() == pytest.approx(expected, abs=1e-5)


def test_empty_slots_of_the_memory_are_nobody():
    query = described([0], [1], [3])
    keys = described([60, 10, 170], [1, IGNORE, IGNORE], [4, IGNORE, IGNORE])
    assert inter_patch_ranked_loss(query, keys).item() == pytest.approx(0.1, abs=1e-5)


def test_inter_weighs_queries():
    """Losses .1 and 0 with weights 3 and 1: .075; alike: .05."""
    queries, keys = described([0, 50], [1, 1], [0, 0]), described([60], [1], [1])
    assert inter_patch_ranked_loss(queries, keys).item() == pytest.approx(0.05, abs=1e-5)
    weighted = inter_patch_ranked_loss(queries, keys, query_weight=torch.tensor([3.0, 1.0]))
    assert weighted.item() == pytest.approx(0.075, abs=1e-5)


def test_inter_is_the_ranked_list_loss_with_the_same_geometry():
    torch.manual_seed(0)
    vectors = F.normalize(torch.randn(12, 5), dim=1)
    found = Descriptors(vectors, torch.randint(0, 3, (12,)), torch.randint(0, 4, (12,)))
    same = found.case[:, None] == found.case[None, :]
    expected = ranked_list_loss(
        vectors, found.label, vectors, found.label, alpha=1.4, margin=0.2, temperature=5.0, excluded=same
    )
    value = inter_patch_ranked_loss(found, found, geometry=RankedGeometry(1.4, 0.2, 5.0))
    assert value.item() == expected.item() > 0


def test_low_contrast_weight_by_hand():
    """Inside .5 and .7 (mean .6, sd .1), outside .2 and .4 (mean .3, sd .1): CNR = .3 / .1 = 3."""
    image = torch.tensor([[[[0.5, 0.7, 0.2, 0.4]]]])
    weight = low_contrast_weight(image, torch.tensor([[[1, 2, 0, 0]]]), 2.0)
    assert weight.item() == pytest.approx(1 + 2 * math.exp(-3), abs=1e-4)


def test_low_contrast_weight_looks_at_the_mean_of_the_channels_and_at_valid_pixels():
    colour = torch.tensor([[[0.4, 0.9, 0.1, 0.4, 1.0]], [[0.6, 0.5, 0.3, 0.4, 0.0]]]).unsqueeze(0)
    gray = torch.tensor([[[[0.5, 0.7, 0.2, 0.4, 0.9]]]])
    labels = torch.tensor([[[1, 1, 0, 0, IGNORE]]])
    expected = 1 + math.exp(-3)
    assert low_contrast_weight(gray, labels, 1.0).item() == pytest.approx(expected, abs=1e-4)
    assert low_contrast_weight(colour, labels, 1.0).item() == pytest.approx(expected, abs=1e-4)


def test_an_invisible_lesion_weighs_most_and_a_clear_one_hardly_more_than_one():
    labels = torch.tensor([[[1, 1, 0, 0]]]).repeat(3, 1, 1)
    image = torch.tensor([[0.5, 0.6, 0.5, 0.6], [0.7, 0.9, 0.1, 0.3], [0.5, 0.6, 0.5, 0.6]]).view(3, 1, 1, 4)
    labels[2] = 0
    invisible, clear, empty = low_contrast_weight(image, labels, 1.0).tolist()
    assert invisible == 2.0
    assert clear == pytest.approx(1 + math.exp(-6), abs=1e-5)
    assert empty == 2.0


def test_low_contrast_weight_does_not_change_when_height_and_width_are_swapped():
    image, labels = torch.rand(2, 3, 5, 8), torch.randint(0, 2, (2, 5, 8))
    torch.testing.assert_close(low_contrast_weight(image.mT, labels.mT, 1.0), low_contrast_weight(image, labels, 1.0))


def test_flat_images_have_a_finite_weight():
    labels = torch.tensor([[[1, 0]]])
    for inside in (0.5, 0.6):
        weight = low_contrast_weight(torch.tensor([[[[inside, 0.5]]]]), labels, 1.0)
        assert weight.item() == pytest.approx(2.0 if inside == 0.5 else 1.0, abs=1e-6)


def test_the_losses_work_on_volumes():
    torch.manual_seed(0)
    labels = torch.zeros(2, 8, 10, 12, dtype=torch.long)
    labels[:, 2:6, 3:8, 4:9] = 1
    embedding = F.normalize(torch.randn(2, 4, 8, 10, 12), dim=1).requires_grad_()
    assert boundary_band(labels, 1).any()
    patches = boundary_patches(labels, 2, size=(4, 4, 4), count=3, band=1)
    found = patch_descriptors(embedding, patches, 2, torch.tensor([0, 1]))
    for loss in (intra_patch_ranked_loss(embedding, patches, 2), inter_patch_ranked_loss(found, found)):
        (gradient,) = torch.autograd.grad(loss, embedding, retain_graph=True)
        assert loss.item() > 0
        assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0


def test_pixels_without_ground_truth_are_no_background_of_an_image():
    weight = low_contrast_weight(torch.tensor([[[[0.1, 0.2], [0.4, 0.9]]]]), torch.tensor([[[1, 1], [1, IGNORE]]]), 2.0)
    assert weight.tolist() == [3.0]
