"""The plan is made from the data and the device alone."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from criinet.data.dataset import open_dataset
from criinet.data.draws import make_split
from criinet.engine.image_planner import Facts, look_at, plan
from criinet.engine.plan_choices import diameters_by_class, object_count, object_diameters, weighted_median
from criinet.engine.settings import resolve


def facts(height=600, width=800, *, gray=False, diameter=0.4, objects=1) -> Facts:
    return Facts(height, width, gray, labeled=8, unlabeled=100, object_diameter=diameter, objects=objects)


def picked(found: Facts, device: str = "cpu") -> dict:
    return {choice.setting: choice.value for choice in plan(found, device, {})}


def test_the_size_keeps_the_aspect_in_multiples_of_32():
    """600x800 at most 128: 96x128, exactly 3 to 4. A GPU affords 192x256."""
    assert picked(facts())["data.size"] == (96, 128)
    assert picked(facts(), "cuda")["data.size"] == (192, 256)
    assert picked(facts(800, 600))["data.size"] == (128, 96)


@pytest.mark.parametrize("height", [33, 64, 100, 333, 1024, 4000])
@pytest.mark.parametrize("width", [20, 64, 200, 999, 6000])
def test_every_plan_is_one_that_can_be_trained(height, width):
    for device, diameter in product(("cpu", "cuda"), (0.001, 0.05, 0.5)):
        choices = plan(facts(height, width, diameter=diameter), device, {})
        size = resolve({}, choices).data.size
        assert all(side % 32 == 0 and 64 <= side <= 320 for side in size)
        assert size[0] == size[1] or (size[0] > size[1]) == (height > width)
        assert all(choice.reason for choice in choices)


def test_gray_scans_have_one_channel_and_are_not_mirrored():
    gray, colour = picked(facts(gray=True)), picked(facts(gray=False))
    assert (gray["data.channels"], colour["data.channels"]) == (1, 3)
    assert gray["data.augmentation.flip_vertical"] is False
    assert gray["data.augmentation.flip_horizontal"] is False
    assert "data.augmentation.rotate" not in colour
    assert colour["data.tta"] is True
    assert "data.tta" not in gray


def test_gray_images_of_many_objects_are_mirrored():
    """A body has fewer than eight objects of one kind in a slice; cells have no up and no left."""
    cells, scans = picked(facts(gray=True, objects=8)), picked(facts(gray=True, objects=7.5))
    for name in ("data.augmentation.flip_horizontal", "data.augmentation.flip_vertical"):
        assert (cells[name], scans[name]) == (True, False)
        for objects, other in ((8, "false"), (1, "true")):
            (choice,) = [one for one in plan(facts(gray=True, objects=objects), "cpu", {}) if one.setting == name]
            assert choice.reason.endswith(f"--set {name}={other}")
    assert "data.augmentation.rotate" not in cells
    assert "data.augmentation.flip_horizontal" not in picked(facts(objects=20))


def test_objects_are_counted_without_specks_and_of_one_class():
    """Nine squares and twenty specks of class 1, and four squares of class 3."""
    mask = np.zeros((40, 40), np.uint8)
    for row in range(3):
        for column in range(3):
            mask[10 * row : 10 * row + 6, 10 * column : 10 * column + 6] = 1
    mask[8:28:10, ::2] = 1
    mask[32:36:2, 32:36:2] = 3
    assert object_count(diameters_by_class(mask)) == 9
    assert object_count(diameters_by_class(np.zeros((4, 4), np.uint8))) == 0


def test_small_objects_are_worth_a_larger_size():
    """An object of .1 of the longer side is 13 px wide at 128, under 24: 160 is trained at."""
    assert picked(facts(800, 800, diameter=0.1))["data.size"] == (160, 160)
    assert picked(facts(800, 800, diameter=0.3))["data.size"] == (128, 128)


def test_tiny_objects_in_huge_images_are_seen_in_crops():
    """.01 of 4000 px is 40 px, but 1.6 px at 160: nothing would be left of it in the whole image."""
    assert picked(facts(4000, 4000, diameter=0.01))["data.window"] == "patch"
    assert picked(facts(4000, 4000, diameter=0.3))["data.window"] == "whole"
    assert picked(facts(128, 128, diameter=0.01))["data.window"] == "whole"


def test_a_gpu_learns_longer_in_larger_batches_and_half_precision():
    cpu, gpu = picked(facts()), picked(facts(), "cuda")
    assert gpu["trainer.iterations"] > cpu["trainer.iterations"]
    assert gpu["trainer.labeled_batch"] > cpu["trainer.labeled_batch"]
    assert (cpu["trainer.precision"], gpu["trainer.precision"]) == ("32", "bf16")


def test_few_masks_and_large_images_train_fewer_steps_on_a_cpu():
    """28 masks: 1000 steps at 128x128, 1000 * 128^2 / 160^2 = 640 at 160x160. 8 masks: 300 passes are 600 steps."""
    many = replace(facts(), labeled=28)
    assert picked(replace(many, height=800))["trainer.iterations"] == 1000
    assert picked(replace(many, height=800, object_diameter=0.1))["trainer.iterations"] == 640
    assert picked(replace(many, height=800, labeled=8))["trainer.iterations"] == 600
    assert picked(replace(many, height=800, labeled=1))["trainer.iterations"] == 400


def test_objects_are_measured_one_by_one():
    """Two 4x4 squares of two classes: each has the diameter of a disc of 16 px, 2 sqrt(16 / pi).

    As 4x4x4 cubes of voxels of 2 mm3 each has that of a ball of 128 mm3, (6 * 128 / pi)^(1/3) mm.
    """
    mask = np.zeros((10, 20), np.uint8)
    mask[1:5, 1:5], mask[1:5, 10:14] = 1, 2
    assert object_diameters(mask) == pytest.approx([2 * np.sqrt(16 / np.pi)] * 2)
    assert object_diameters(np.stack([mask] * 4), 2.0) == pytest.approx([np.cbrt(6 * 128 / np.pi)] * 2)
    assert object_diameters(np.zeros((4, 4), np.uint8)) == []


def test_specks_do_not_move_the_median_object():
    assert weighted_median([0.5, *[0.01] * 50]) == 0.5
    assert weighted_median([]) == 1.0


def test_only_training_images_and_labeled_masks_are_looked_at(dataset: Path):
    opened = open_dataset(dataset)
    split = make_split(opened, "4")
    for name in [*split.unlabeled, *split.val, *split.test]:
        (dataset / "masks" / f"{name}.png").write_bytes(b"never opened")
    for name in [*split.val, *split.test]:
        (dataset / "images" / f"{name}.png").write_bytes(b"never opened")
    found = look_at(opened, split)
    assert (found.height, found.width, found.gray) == (48, 48, False)
    assert (found.labeled, found.unlabeled) == (4, 14)
    assert 0 < found.object_diameter < 1
    assert 1 <= found.objects < 8


def test_one_colour_image_among_gray_ones_makes_the_dataset_colour(tmp_path: Path):
    for i in range(4):
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        shape = (20, 40) if i else (20, 40, 3)
        Image.fromarray(np.full(shape, 99, np.uint8)).save(folder / f"{i}.png")
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.eye(20, 40, dtype=np.uint8) * 255).save(tmp_path / "masks" / f"{i}.png")
    opened = open_dataset(tmp_path)
    assert look_at(opened, make_split(opened)).gray is False
    (tmp_path / "images" / "0.png").unlink()
    (tmp_path / "masks" / "0.png").unlink()
    opened = open_dataset(tmp_path)
    assert look_at(opened, make_split(opened)).gray is True


def test_what_depends_on_the_size_follows_the_one_that_is_given():
    """Objects of 60 in 1200 pixels are 8 wide at 160 and would be lost at 64: there crops are seen."""
    found = facts(1200, 1200, diameter=0.05)
    assert picked(found)["data.window"] == "whole"
    small = {choice.setting: choice for choice in plan(found, "cpu", {"data": {"size": [64, 64]}})}
    assert small["data.window"].value == "patch"
    assert "3 px" in small["data.window"].reason
    assert small["trainer.iterations"].value >= picked(found)["trainer.iterations"]
    for nonsense in (64, [64], ["a", 64], [0, 64]):
        assert plan(found, "cpu", {"data": {"size": nonsense}}) == plan(found, "cpu", {})
