"""What is picked for volumes follows from their voxels, the device, the modality and the labeled masks."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile

from criinet.data.dataset import open_dataset
from criinet.data.draws import make_split
from criinet.engine.build import build_method
from criinet.engine.settings import resolve
from criinet.engine.training import look, pick
from criinet.engine.volume_planner import VolumeFacts, box_size, look_at_volumes, plan_volumes
from criinet.errors import ConfigError
from criinet.networks import networks
from volume_sets import write_volumes

FACTS = VolumeFacts((44, 71, 96), (1.25, 1.25, 1.25), "", 2, 46, (100.0, 300.0), 40.0)


def chosen(facts: VolumeFacts, device: str = "cpu", asked: dict[str, Any] | None = None) -> dict[str, Any]:
    return {choice.setting: choice.value for choice in plan_volumes(facts, device, asked or {})}


def test_what_is_picked_follows_from_voxels_device_and_modality():
    near, far = (
        chosen(FACTS, "cuda"),
        chosen(FACTS.__class__(**{**FACTS.__dict__, "spacing": (10.0, 1.5, 1.5)}), "cuda"),
    )
    assert (near["data.kind"], near["network.name"], near["trainer.precision"]) == ("volumes", "unet", "bf16")
    assert (far["data.kind"], far["network.name"]) == ("slices", "lite0-unet")
    assert chosen(FACTS)["data.kind"] == "slices"
    asked = chosen(FACTS, asked={"data": {"kind": "volumes"}})
    assert (asked["data.kind"], asked["network.name"]) == ("volumes", "unet")
    scan = chosen(replace(FACTS, modality="CT", object_range=(0.0, 100.0)))
    assert (scan["data.intensity"], scan["data.range"]) == ("range", (-50.0, 150.0))
    assert near["data.intensity"] == "z-score"
    assert "data.one_object" not in near
    assert chosen(replace(FACTS, one_object=(2,)))["data.one_object"] == (2,)
    assert "data.one_object" not in chosen(replace(FACTS, one_object=(2,), labeled=1))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_network_of_one_form_decides_between_slices_and_boxes(device, monkeypatch):
    """Unless a kind is asked for; one that has both forms leaves it to the voxels and the device."""
    entry = replace(networks.get("unet"), dims=(3,))
    monkeypatch.setitem(networks._entries, "boxes-only", entry)
    flat, deep = ({"network": {"name": name}} for name in ("lite0-unet", "boxes-only"))
    assert chosen(FACTS, device, flat)["data.kind"] == "slices"
    assert chosen(FACTS, device, deep)["data.kind"] == "volumes"
    assert chosen(FACTS, device, {**flat, "data": {"kind": "volumes"}})["data.kind"] == "volumes"
    assert chosen(FACTS, device, {"network": {"name": "unet"}}) == chosen(FACTS, device)
    config = resolve(flat, plan_volumes(FACTS, device, flat))
    assert {network.backbone.dims for network in build_method(config, ("background", "organ")).networks} == {2}
    with pytest.raises(ConfigError, match="Did you mean 'lite0-unet'"):
        plan_volumes(FACTS, device, {"network": {"name": "lite0-une"}})


@pytest.mark.parametrize("labeled", [1, 8, 100])
def test_boxes_take_300_steps_on_a_cpu_and_6000_on_a_gpu(labeled):
    """However many volumes are labeled: that is what each of them does in minutes."""
    facts, asked = replace(FACTS, labeled=labeled), {"data": {"kind": "volumes"}}
    assert [chosen(facts, device, asked)["trainer.iterations"] for device in ("cpu", "cuda")] == [300, 6000]


def test_values_of_ct_in_another_unit_keep_their_contrast():
    """Whole numbers would make black and white one value."""
    choices = plan_volumes(replace(FACTS, modality="CT", object_range=(0.11, 0.17)), "cpu", {})
    (window,) = (choice for choice in choices if choice.setting == "data.range")
    assert window.value == (0.08, 0.2)
    assert "hardly HU" in window.reason
    with pytest.raises(ConfigError, match="a larger one that becomes white"):
        resolve({"data": {"range": [0.0, 0.0]}}, seed=0)


@pytest.mark.parametrize(("device", "kind"), [("cpu", "slices"), ("cuda", "volumes")])
def test_thick_slices_of_another_direction_are_said(device, kind):
    """Sagittal slices, 4.4 mm apart: slices from feet to head cut across them."""
    choices = plan_volumes(replace(FACTS, shape=(160, 160, 15), spacing=(0.6, 0.6, 4.4)), device, {})
    (choice,) = (choice for choice in choices if choice.setting == "data.kind")
    assert choice.value == kind
    assert "much longer from right to left" in choice.reason


def test_one_file_without_a_voxel_size_leaves_the_others_theirs(tmp_path):
    """Slices that are far apart stay so, and the file is named where training says what it picked."""
    root = write_volumes(tmp_path / "data", spacings=((0.5, 0.5, 2.5),))
    alike = pick(look(open_dataset(root), make_split(open_dataset(root))), "cuda", {})
    for part in ("images", "masks"):
        values = np.asarray(nib.load(root / part / "v1.nii.gz").dataobj).transpose(2, 1, 0)
        (root / part / "v1.nii.gz").unlink()
        tifffile.imwrite(root / part / "v1.tif", values, photometric="minisblack")
    dataset = open_dataset(root)
    facts = look_at_volumes(dataset, make_split(dataset))
    assert facts.spacing == (2.5, 0.5, 0.5)
    picked = {choice.setting: choice for choice in plan_volumes(facts, "cuda", {})}
    for choice in (choice for choice in alike if choice.setting in ("data.kind", "data.spacing")):
        assert picked[choice.setting].value == choice.value
    assert picked["data.kind"].reason == "slices are 5.0 times as far apart as pixels"
    said = '1 of 4 volumes looked at says no voxel size (v1.tif) and is taken as it is; add "spacing" to dataset.json'
    assert picked["data.spacing"].reason.endswith(f"; {said}")
    (root / "dataset.json").write_text('{"spacing": [2.5, 0.5, 0.5]}')
    declared = open_dataset(root)
    assert not look_at_volumes(declared, make_split(declared)).unsized


def test_a_class_is_one_object_if_it_is_so_in_every_labeled_volume(balls, tmp_path):
    """Organ 2 gets a second piece in one of the labeled volumes."""
    dataset = open_dataset(balls)
    split = make_split(dataset, "3")
    assert look_at_volumes(dataset, split).one_object == (1, 2)
    copied = Path(shutil.copytree(balls, tmp_path / "data"))
    path = copied / "masks" / f"{split.labeled[1]}.nii.gz"
    stored = nib.load(path)
    mask = np.asarray(stored.dataobj).copy()
    mask[:3, :3, :3] = 2
    nib.save(nib.Nifti1Image(mask, stored.affine), path)
    assert look_at_volumes(open_dataset(copied), split).one_object == (1,)
    other = split.model_copy(update={"labeled": split.labeled[:1]})
    assert look_at_volumes(open_dataset(copied), other).one_object == (1, 2)


def test_every_labeled_mask_is_looked_at_for_a_second_object(tmp_path):
    """Of nine labeled volumes one alone has two objects of class 2: whichever it is, they are not one object."""
    data = write_volumes(tmp_path / "data", count=11, masks=11, classes=3)
    split = make_split(open_dataset(data), "9")
    assert look_at_volumes(open_dataset(data), split).one_object == (1, 2)
    for name in split.labeled:
        path = data / "masks" / f"{name}.nii.gz"
        whole = path.read_bytes()
        stored = nib.load(path)
        mask = np.asarray(stored.dataobj).copy()
        mask[:3, :3, :3] = 2
        nib.save(nib.Nifti1Image(mask, stored.affine), path)
        assert look_at_volumes(open_dataset(data), split).one_object == (1,)
        path.write_bytes(whole)


@pytest.mark.parametrize("budget", [2**16, 2**21])
@pytest.mark.parametrize("shape", [(44, 71, 96), (5, 300, 300), (500, 500, 500), (16, 16, 16)])
def test_boxes_fit_their_budget_and_are_no_larger_than_needed(shape, budget):
    size = box_size(shape, budget)
    assert np.prod(size) <= budget
    assert all(side % 16 == 0 and side < max(n + 16, 17) for side, n in zip(size, shape, strict=True))


@pytest.mark.real
def test_real_atria_are_planned_by_slices_on_a_cpu_and_by_boxes_on_a_gpu(real_data):
    dataset = open_dataset(real_data("la2018"))
    split = make_split(dataset, "4%")
    assert len(split.labeled) == 2
    picked = {c.setting: c.value for c in pick(look(dataset, split), "cpu", {})}
    assert picked["data.kind"] == "slices"
    assert picked["data.spacing"] == pytest.approx((1.25, 1.25, 1.25), abs=1e-3)
    assert {c.setting: c.value for c in pick(look(dataset, split), "cuda", {})}["data.kind"] == "volumes"
