"""CRII-Net's total is the composition that its description gives, and nothing else."""

import math

import pytest
import torch
from torch.nn import functional as F

from criinet.config import Ramp
from criinet.errors import ConfigError
from criinet.labels import IGNORE
from criinet.losses import (
    Descriptors,
    RankedGeometry,
    at_stride,
    boundary_patches,
    coarse_refined_consistency,
    cross_entropy_dice,
    deep_supervision,
    inter_patch_ranked_loss,
    intra_patch_ranked_loss,
    low_contrast_weight,
    patch_descriptors,
    pure_patches,
)
from criinet.methods import CRIINet, coarse_refined, parse_method
from criinet.networks import build_network, parse_network
from criinet.types import LabeledBatch, UnlabeledBatch

RANKED = {
    "patch": 0.25,
    "band": 0.0625,
    "boundary_patches": 3,
    "pure_patches": 2,
    "queries": 6,
    "keys": 12,
    "memory": 16,
    "alpha": 1.3,
    "margin": 0.5,
    "temperature": 4.0,
}
"""On 32x48 images: patches of 8x12 and a band of 2 pixels."""


@pytest.fixture
def scene(tasks):
    """Return a task of three classes on 32x48, its batches, and a maker of methods."""
    task = tasks(classes=3, sides=(32, 48))

    def make(**ranked) -> CRIINet:
        method = task.method("crii", embedding=6, width=4, ranked={**RANKED, **ranked})
        assert isinstance(method, CRIINet)
        return method

    return make, task.labeled_batch(), task.unlabeled_batch(("weak",))


def test_the_defaults_are_those_of_the_description():
    config = CRIINet.Config()
    assert config.weights == {
        "supervised_coarse": 1.0,
        "supervised_refined": 1.0,
        "intra": 0.1,
        "inter": 0.1,
        "consistency": Ramp(to=1.0, over=0.4),
    }
    ranked = config.ranked
    assert (ranked.alpha, ranked.margin, ranked.temperature, ranked.memory) == (1.2, 0.4, 10.0, 512)
    assert (ranked.boundary_patches, ranked.pure_patches, ranked.keys, ranked.contrast) == (8, 8, 256, 0.0)
    assert (config.embedding, config.width, config.scales) == (64, 32, 4)
    assert config.prototypes.model_dump() == {"temperature": 0.05, "sure": 0.8, "prior": 0.01, "passes": 3}
    assert config.weights_at(0.2)["consistency"] == pytest.approx(math.exp(-5 / 4))


def coarse_by_hand(method, image) -> list[torch.Tensor]:
    """Return the logits of the network's own head, and of each coarser head grown to the image."""
    said = method.student.network(image)
    features = [*said.features.pyramid[1:], said.features.scales[-1]]
    coarser = [head(feature) for head, feature in zip(method.coarse_heads, features, strict=False)]
    grown = [torch.nn.functional.interpolate(z, size=image.shape[2:], mode="bilinear") for z in coarser]
    return [said.logits, *grown]


def test_one_scale_has_one_coarse_head_and_as_many_as_there_are_predict_alike(tasks):
    """The coarser heads are of training alone, and leave the initial weights of all else as they were."""
    task = tasks(classes=3, sides=(32, 48))
    one, all_scales = (task.method("crii", embedding=6, width=4, scales=scales).eval() for scales in (1, 4))
    assert len(one.coarse_heads) == 0 < len(all_scales.coarse_heads) <= 3
    image = task.labeled_batch().image
    assert torch.equal(one.predict(image).probs, all_scales.predict(image).probs)
    torch.testing.assert_close(
        one.labeled_losses(task.labeled_batch())["supervised_coarse"],
        cross_entropy_dice(one.student(image).coarse, task.labeled_batch().target),
    )


def test_the_losses_are_the_composition_by_hand(scene):
    """Every term again from the pure functions, with the same draws, and a memory that holds the last step."""
    make, labeled, unlabeled = scene
    method = make()
    method.losses(labeled, unlabeled, 0.0)
    remembered = method.memory.stored()
    _, refined, of_labeled = method.student(labeled.image)
    refined_unlabeled = method.student(unlabeled.weak).refined
    coarse, coarse_unlabeled = (coarse_by_hand(method, image) for image in (labeled.image, unlabeled.weak))
    assert len(coarse) == len(method.coarse_heads) + 1 > 1
    torch.manual_seed(3)
    terms = method.losses(labeled, unlabeled, 0.0)

    torch.manual_seed(3)
    target = labeled.target
    edge = boundary_patches(target, 3, size=(8, 12), count=3, band=2)
    inside = pure_patches(target, 3, size=(8, 12), count=2, foreground=True)
    outside = pure_patches(target, 3, size=(8, 12), count=2, foreground=False)
    geometry = RankedGeometry(1.3, 0.5, 4.0)
    intra = intra_patch_ranked_loss(of_labeled, edge, 3, queries=6, keys=12, geometry=geometry)
    found = [patch_descriptors(of_labeled, patches, 3, labeled.case) for patches in (edge, inside, outside)]
    batch = Descriptors(*(torch.cat(parts) for parts in zip(*found, strict=True)))
    keys = Descriptors(*(torch.cat(parts) for parts in zip(batch, remembered, strict=True)))
    expected = {
        "supervised_coarse": deep_supervision(cross_entropy_dice(each, target) for each in coarse),
        "supervised_refined": cross_entropy_dice(refined, target),
        "intra": intra,
        "inter": inter_patch_ranked_loss(batch, keys, geometry=geometry),
        "consistency": deep_supervision(
            coarse_refined_consistency(each, refined_unlabeled) for each in coarse_unlabeled
        ),
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=name)
    assert terms["intra"] > 0
    assert terms["inter"] > 0


@pytest.mark.parametrize(
    ("target", "learn"), [("refined", (True, False)), ("coarse", (False, True)), ("neither", (True, True))]
)
def test_the_output_that_is_the_target_of_the_consistency_learns_nothing_from_it(scene, target, learn):
    """Coarser heads are of the coarse outputs alone, the refinement of the refined one."""
    make, labeled, unlabeled = scene
    method = make()
    torch.nn.init.normal_(method.student.refine[-1].weight)  # It starts at zero, where no gradient passes.
    method.config = method.config.model_copy(update={"target": target})
    method.losses(labeled, unlabeled, 0.0)["consistency"].backward()
    parts = (method.coarse_heads, method.student.refine)
    moved = tuple(any(p.grad is not None and bool(p.grad.any()) for p in part.parameters()) for part in parts)
    assert moved == learn


def test_labeled_patches_are_remembered_as_prototypes_in_training_mode_alone(scene):
    make, labeled, unlabeled = scene
    method = make()
    method.eval()
    method.losses(labeled, unlabeled, 0.0)
    assert method.student.prototypes.remembered.abs().sum() == 0
    method.train()
    method.losses(labeled, unlabeled, 0.0)
    norms = method.student.prototypes.remembered.norm(dim=1)
    present = torch.bincount(labeled.target[labeled.target != IGNORE], minlength=3) > 0
    torch.testing.assert_close(norms[present], torch.ones(int(present.sum())))


def test_memory_and_prototypes_learn_every_descriptor_of_the_batch_and_no_other(scene, monkeypatch):
    """Of 3 boundary, 2 interior and 2 background patches of each image, one for each of three classes."""
    make, labeled, unlabeled = scene
    method = make()
    method.losses(labeled, unlabeled, 0.0)  # Now the memory holds others.
    added, learned = [], []
    monkeypatch.setattr(method.memory, "add", added.append)
    monkeypatch.setattr(method.student.prototypes, "remember", lambda *given: learned.append(given))
    method.losses(labeled, unlabeled, 0.0)
    (batch,), ((vector, label),) = added, learned
    assert len(batch.label) == len(labeled) * (3 + 2 + 2) * 3
    assert torch.equal(vector, batch.vector)
    assert torch.equal(label, batch.label)


@pytest.mark.parametrize(("sides", "size"), [((3, 20, 36), (3, 5, 9)), ((8, 8, 40), (4, 4, 10))])
def test_a_patch_has_four_pixels_a_side_where_the_image_has_them(tasks, monkeypatch, sides, size):
    """A quarter of the side; 3 voxels have no fourth, and of 8 a quarter is too little to hold two classes."""
    task = tasks(dims=3, sides=sides)
    method, batch, seen = task.method("crii", embedding=6, width=4, ranked=RANKED), task.labeled_batch(), []

    def look(*given, **options):
        seen.append(options["size"])
        return boundary_patches(*given, **options)

    monkeypatch.setattr(coarse_refined, "boundary_patches", look)
    method.ranked_losses(F.normalize(torch.rand(len(batch), 6, *sides), dim=1), batch)
    assert seen == [size]


def test_a_temperature_of_zero_leaves_the_prototypes_out(tasks):
    task = tasks(classes=3, sides=(32, 48))
    method = task.method("crii", embedding=6, width=4, ranked=RANKED, prototypes={"temperature": 0})
    assert method.student.prototypes is None
    method.losses(task.labeled_batch(), task.unlabeled_batch(("weak",)), 0.0)


def test_both_ranked_losses_leave_unlabeled_images_alone(scene):
    """In evaluation mode images do not meet in a norm: other unlabeled images change the consistency alone."""
    make, labeled, unlabeled = scene
    method = make().eval()
    torch.nn.init.normal_(method.student.refine[-1].weight)
    other = UnlabeledBatch({"weak": 1 - unlabeled.weak}, {})
    values = []
    for batch in (unlabeled, other):
        torch.manual_seed(0)
        values.append({name: term.item() for name, term in method.losses(labeled, batch, 0.0).items()})
    assert values[0].pop("consistency") != values[1].pop("consistency")
    assert values[0] == values[1]


def test_the_ranked_losses_reach_the_embedding_and_the_shared_network_but_not_the_heads(scene):
    make, labeled, unlabeled = scene
    method = make()
    terms = method.losses(labeled, unlabeled, 0.0)
    for name in ("intra", "inter"):
        method.zero_grad()
        terms[name].backward(retain_graph=True)
        student = method.student
        assert all(p.grad.abs().sum() > 0 for p in student.embed[-1].parameters() if p.ndim > 1)
        assert all(p.grad.abs().sum() > 0 for p in student.network.backbone.parameters() if p.ndim > 1)
        assert all(p.grad is None for p in [*student.network.head.parameters(), *student.refine.parameters()])


def test_the_consistency_moves_the_coarse_head_and_never_the_refinement(scene):
    make, labeled, unlabeled = scene
    method = make()
    torch.nn.init.normal_(method.student.refine[-1].weight)
    method.losses(labeled, unlabeled, 0.0)["consistency"].backward()
    assert method.student.network.head.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in method.student.refine.parameters())


def test_the_memory_grows_in_training_mode_alone(scene):
    make, labeled, unlabeled = scene
    method = make()
    method.eval()
    method.losses(labeled, unlabeled, 0.0)
    assert method.memory.written.tolist() == [0, 0, 0]
    method.predict(labeled.image)
    method.train()
    method.losses(labeled, unlabeled, 0.0)
    assert (method.memory.written > 0).all()
    assert set(method.memory.stored().case.tolist()) == {IGNORE, 0, 1}


def test_another_runs_weights_come_without_its_memory(scene):
    """Its numbers name other images here; the prototypes' memory of classes names none, and stays."""
    make, labeled, unlabeled = scene
    before, after = make(), make()
    before.losses(labeled, unlabeled, 0.0)
    after.begin_with(before.state_dict())
    assert (after.memory.stored().label == IGNORE).all()
    assert after.memory.written.tolist() == [0, 0, 0]
    assert torch.equal(after.student.prototypes.remembered, before.student.prototypes.remembered)


def test_the_memory_supplies_positives_that_a_single_image_lacks(scene):
    """With one image there is no other to be near to; once another is remembered, there is."""
    make, labeled, unlabeled = scene
    first, second = (LabeledBatch(*(part[i : i + 1] for part in vars(labeled).values())) for i in range(2))
    geometry = {"alpha": 0.4, "margin": 0.39}
    method = make(**geometry)
    with_memory, without = make(**geometry), make(**geometry)
    for each in (with_memory, without):
        each.load_state_dict(method.state_dict())
    with_memory.losses(second, unlabeled, 0.0)
    without.load_state_dict(
        {**with_memory.state_dict(), **{f"memory.{k}": v for k, v in method.memory.state_dict().items()}}
    )
    values = []
    for each in (with_memory, without):
        torch.manual_seed(1)
        values.append(each.losses(first, unlabeled, 0.0))
    assert values[0]["intra"].item() == values[1]["intra"].item()
    assert values[0]["inter"].item() > values[1]["inter"].item()


def test_the_contrast_option_weighs_the_descriptors_of_pale_images(scene):
    """Inter changes, and is the ranked loss with each descriptor weighed by its own image; nothing else changes."""
    make, labeled, unlabeled = scene
    pale = labeled.image.clone()
    pale[1] = 0.5 + 0.2 * torch.randn(pale[1].shape, generator=torch.Generator().manual_seed(0))
    labeled = LabeledBatch(pale, labeled.target, labeled.case)
    weight = low_contrast_weight(pale, labeled.target, 5.0)
    assert weight[1] > 2 * weight[0]
    values = []
    for contrast in (0.0, 5.0):
        torch.manual_seed(0)
        values.append(make(contrast=contrast).losses(labeled, unlabeled, 0.0))
    plain, weighed = values
    assert weighed["inter"].item() != plain["inter"].item()
    assert all(weighed[name].item() == plain[name].item() for name in plain if name != "inter")

    method = make(contrast=5.0)
    parts = [
        Descriptors(torch.zeros(n, 6), torch.zeros(n), labeled.case.repeat_interleave(n // 2)) for n in (18, 12, 12)
    ]
    given = method.query_weight(labeled, parts)
    assert given is not None
    torch.testing.assert_close(given, weight[torch.cat([part.case for part in parts])])
    assert make(contrast=0.0).query_weight(labeled, parts) is None


def test_labels_are_taken_at_the_stride_of_the_embedding():
    """On a backbone of stride 2 the ranked losses see every second label, and odd sizes are filled with IGNORE."""
    config = parse_network("lite0-unet", {"pretrained": False, "decoder": [4, 4, 4, 4]})
    network = build_network("lite0-unet", config, in_channels=1, classes=2, dims=2, seed=0)
    method = CRIINet(network, parse_method("crii", {"embedding": 4, "width": 4}))
    target = torch.zeros(2, 50, 70, dtype=torch.long)
    target[:, 10:40, 20:50] = 1
    labeled = LabeledBatch(torch.rand(2, 1, 50, 70), target, torch.arange(2))
    unlabeled = UnlabeledBatch({"weak": torch.rand(1, 1, 50, 70)}, {})
    embedding = method.student(labeled.image).embedding
    assert embedding.shape[2:] == (32, 48)
    labels = at_stride(target, method.stride, embedding.shape[2:])
    assert torch.equal(labels[:, :25, :35], target[:, ::2, ::2])
    assert (labels[:, 25:] == IGNORE).all()
    assert (labels[:, :, 35:] == IGNORE).all()
    terms = method.losses(labeled, unlabeled, 0.0)
    assert terms["intra"] > 0
    assert all(torch.isfinite(term) for term in terms.values())


def test_the_prediction_is_the_refined_one_and_the_coarse_one_is_beside_it(scene):
    make, labeled, _ = scene
    method = make().eval()
    torch.nn.init.normal_(method.student.refine[-1].weight)
    output, prediction = method.student(labeled.image), method.predict(labeled.image)
    assert torch.equal(prediction.probs, output.refined.softmax(1))
    assert torch.equal(prediction.coarse, output.coarse.softmax(1))
    assert not torch.equal(prediction.probs, prediction.coarse)
    assert torch.equal(method.targets(labeled.image), prediction.probs)


@pytest.mark.parametrize("setting", [{"alpha": 2.5}, {"margin": 0}, {"patch": 0}, {"patch": 1.5}, {"queries": 0}])
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(ConfigError, match=r"^setting 'method\.ranked"):
        parse_method("crii", {"ranked": setting})


def test_ranked_losses_of_a_volume_know_every_class(tasks):
    """Four classes in three dimensions, some voxels without ground truth: every class leaves descriptors."""
    task = tasks(dims=3, classes=4, sides=(8, 12, 36))
    method = task.method("crii")
    batch = task.labeled_batch()
    batch.target[:, :2] = IGNORE
    terms = method.losses(batch, task.unlabeled_batch(method.views), 0.5)
    assert all(torch.isfinite(term) for term in terms.values())
    assert terms["intra"] > 0
    known = method.memory.stored().label
    assert set(known[known >= 0].tolist()) == {0, 1, 2, 3}
