"""The synthetic images do what their parameters say, and their truth is exact."""

import csv
import errno
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from criinet.data.synthetic import (
    AREA_RANGE,
    PIGMENTS,
    STICKERS,
    Parameters,
    SyntheticCase,
    compose,
    draw_parameters,
    folder,
    render,
    write_dataset,
)
from criinet.errors import DataError, StorageError

PLAIN = replace(
    draw_parameters(0, 0),
    area=0.15,
    lesions=1,
    at_border=False,
    contrast=0.5,
    blur=1.0,
    pigment="brown",
    second_share=0.0,
    core=0.0,
    network=0.0,
    mottle=0.0,
    regression=0.0,
    skin_tone=0.2,
    skin_mottle=0.3,
    hairs=0,
    freckles=0,
    nevi=0,
    vascular=0.0,
    vessels=0,
    shadow=0.0,
    ink=0,
    sticker="",
    ruler=False,
    bubbles=0,
    glints=0,
    vignette=0.0,
    aperture=0.0,
    illumination=0.0,
    warmth=0.0,
    focus=0.0,
    noise=0.004,
)
"""A uniform brown lesion on quiet skin, to change one thing at a time."""


def measured_contrast(parameters: Parameters, index: int) -> float:
    """Mean over red, green and blue of |log of the skin - log of the lesion|."""
    case = compose(parameters, 3, index)
    logs = np.log(np.maximum(case.image, 1))
    inside = case.mask == 1
    return float(np.abs(logs[~inside].mean(0) - logs[inside].mean(0)).mean())


def contour_gradient(parameters: Parameters, index: int) -> float:
    """Mean gradient of the green channel, smoothed by 1 px against noise, over the pixels along the contour."""
    case = compose(parameters, 3, index)
    contour = (case.mask == 1) & ~ndimage.binary_erosion(case.mask, border_value=1)
    gradient = ndimage.gaussian_gradient_magnitude(case.image[..., 1].astype(np.float64), 1.0)
    return float(gradient[contour].mean())


@pytest.mark.parametrize("size", [(128, 128), (64, 96), (33, 250)])
def test_the_same_arguments_give_the_same_case(size: tuple[int, int]):
    one, again = render(4, 7, size), render(4, 7, size)
    assert one.image.dtype == one.mask.dtype == np.uint8
    assert one.image.shape == (*size, 3) and one.mask.shape == size
    assert np.array_equal(one.image, again.image) and np.array_equal(one.mask, again.mask)
    assert one.parameters == again.parameters == draw_parameters(4, 7)


def test_another_seed_or_index_gives_another_case():
    one = render(4, 7)
    for other in (render(5, 7), render(4, 8)):
        assert not np.array_equal(one.image, other.image)
        assert not np.array_equal(one.mask, other.mask)
        assert one.parameters != other.parameters


@pytest.mark.parametrize("size", [(128, 128), (48, 80)])
def test_truth_covers_what_was_asked_within_the_promised_range(size: tuple[int, int]):
    """Over 150 cases: 2 to 45 % of the image, within a tenth of ``area``, in as many pieces as ``lesions`` says."""
    for index in range(150):
        case = render(11, index, size)
        assert set(np.unique(case.mask)) == {0, 1}
        covered = case.mask.mean()
        assert AREA_RANGE[0] <= covered <= AREA_RANGE[1]
        assert covered == pytest.approx(case.parameters.area, rel=0.1)
        assert ndimage.label(case.mask)[1] == case.parameters.lesions


def test_measured_contrast_grows_with_the_parameter():
    """On quiet skin the measured contrast is the parameter itself, up to the blurred edge and the uneven skin."""
    asked = (0.15, 0.3, 0.6, 1.0)
    measured = np.array([[measured_contrast(replace(PLAIN, contrast=c), index) for c in asked] for index in range(5)])
    assert (np.diff(measured, axis=1) > 0).all()
    assert measured.mean(0) == pytest.approx(asked, rel=0.25)


def test_gradient_at_the_contour_falls_with_blur():
    for index in range(5):
        gradients = [contour_gradient(replace(PLAIN, blur=blur), index) for blur in (0.4, 1.5, 3.0, 6.0)]
        assert gradients == sorted(gradients, reverse=True)
        assert gradients[0] > 2 * gradients[-1]


@pytest.mark.parametrize(
    "change",
    [
        {"contrast": 0.15},
        {"blur": 6.0},
        {"pigment": "pale"},
        {"hairs": 25},
        {"freckles": 40, "nevi": 4},
        {"vascular": 0.6, "vessels": 14},
        {"shadow": 0.9},
        {"ink": 3},
        {"sticker": "blue"},
        {"ruler": True},
        {"bubbles": 10, "glints": 14},
        {"vignette": 0.6, "illumination": 0.35, "warmth": 0.1},
        {"noise": 0.04, "focus": 1.0},
    ],
    ids=lambda change: "+".join(change),
)
def test_what_is_no_outline_changes_the_image_but_never_the_truth(change: dict[str, float]):
    plain, changed = compose(PLAIN, 2, 9), compose(replace(PLAIN, **change), 2, 9)
    assert np.array_equal(plain.mask, changed.mask)
    assert not np.array_equal(plain.image, changed.image)


def test_layers_have_their_own_randomness():
    """Freckles added far from most pixels leave more than half of the image exactly as it was."""
    plain, spotted = compose(PLAIN, 2, 9), compose(replace(PLAIN, nevi=2), 2, 9)
    assert (plain.image == spotted.image).all(-1).mean() > 0.5


def test_truth_stays_inside_the_visible_disc():
    case = compose(replace(PLAIN, aperture=0.55, at_border=True, noise=0.0), 2, 9)
    assert case.image[0, 0].max() == 0
    assert case.image[case.mask == 1].max(1).min() > 0


def test_only_the_pale_kind_is_lighter_than_skin():
    for pigment in PIGMENTS:
        case = compose(replace(PLAIN, pigment=pigment, contrast=0.24), 2, 9)
        lesion, skin = (case.image[case.mask == value].mean() for value in (1, 0))
        assert (lesion > skin) == (pigment == "pale")


def test_cases_vary_over_the_whole_range():
    drawn = [draw_parameters(1, index) for index in range(1000)]
    assert {p.pigment for p in drawn} == set(PIGMENTS)
    assert {p.sticker for p in drawn} == {"", *STICKERS}
    assert 0.2 < np.mean([p.contrast < 0.22 for p in drawn]) < 0.4
    assert 0.015 < np.mean([p.lesions == 2 for p in drawn]) < 0.05
    assert 0.05 < np.mean([p.at_border for p in drawn]) < 0.25
    assert min(p.blur for p in drawn) < 0.6 and max(p.blur for p in drawn) > 5
    assert min(p.skin_tone for p in drawn) < 0.05 and max(p.skin_tone for p in drawn) > 0.9
    assert max(p.hairs for p in drawn) >= 23 and max(p.hairs for p in drawn) <= 25


def test_a_lesion_at_the_border_is_cut_by_it():
    for index in range(20):
        mask = compose(replace(PLAIN, at_border=True), 6, index).mask
        assert mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()


def test_an_image_too_small_is_refused():
    with pytest.raises(DataError, match="16x64 is too small"):
        render(0, 0, (16, 64))


def test_the_layout_is_written(tmp_path: Path):
    root = tmp_path / "data"
    write_dataset(root, count=9, seed=3, size=(48, 64), masks=2, test=3, val=1)
    names = [f"case_{number:04d}" for number in range(1, 10)]
    assert sorted(file.stem for file in (root / "images").iterdir()) == names
    assert sorted(file.stem for file in (root / "masks").iterdir()) == [*names[:2], *names[5:]]
    assert json.loads((root / "splits" / "default.json").read_text()) == {
        "train": names[:5],
        "val": names[5:6],
        "test": names[6:],
    }
    about = json.loads((root / "dataset.json").read_text())
    assert about["name"] == "synthetic-lesions" and about["classes"] == ["background", "lesion"]
    assert about["licence"] == "Apache-2.0 (generated)" and about["source"]
    assert sorted(file.name for file in root.iterdir()) == [
        "dataset.json",
        "images",
        "masks",
        "parameters.csv",
        "splits",
    ]


def test_written_files_hold_the_rendered_cases(tmp_path: Path):
    write_dataset(tmp_path, count=4, seed=3, size=(48, 64), test=1, val=1)
    with (tmp_path / "parameters.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["case", *(field.name for field in fields(Parameters))]
    for index in range(4):
        case = render(3, index, (48, 64))
        name = f"case_{index + 1:04d}"
        with (
            Image.open(tmp_path / "images" / f"{name}.png") as image,
            Image.open(tmp_path / "masks" / f"{name}.png") as mask,
        ):
            assert (image.mode, mask.mode) == ("RGB", "L")
            assert np.array_equal(np.asarray(image), case.image)
            assert np.array_equal(np.asarray(mask), case.mask * 255)
        assert rows[index]["case"] == name and float(rows[index]["contrast"]) == case.parameters.contrast


def test_an_interrupted_write_leaves_no_dataset_and_can_be_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_dataset(tmp_path, count=4, size=(32, 32), test=1, val=1)

    def fail_at_the_third(seed: int, index: int, size: tuple[int, int]) -> SyntheticCase:
        if index == 2:
            raise KeyboardInterrupt
        return render(seed, index, size)

    with monkeypatch.context() as patch:
        patch.setattr(folder, "render", fail_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            write_dataset(tmp_path, count=4, size=(32, 32), test=1, val=1)
    assert not (tmp_path / "dataset.json").exists()
    write_dataset(tmp_path, count=3, size=(32, 32), masks=0, test=1, val=1)
    assert (tmp_path / "dataset.json").exists()
    assert sorted(file.stem for file in (tmp_path / "images").iterdir()) == ["case_0001", "case_0002", "case_0003"]
    assert sorted(file.stem for file in (tmp_path / "masks").iterdir()) == ["case_0002", "case_0003"]


def test_a_full_disk_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(StorageError, match=f"no space left to write {tmp_path}; free some space"):
        write_dataset(tmp_path, count=4, size=(32, 32), test=1, val=1)
    assert not (tmp_path / "dataset.json").exists()


def test_a_folder_with_other_data_is_left_alone(tmp_path: Path):
    (tmp_path / "images").mkdir()
    precious = tmp_path / "images" / "case_0001.png"
    precious.write_bytes(b"mine")
    with pytest.raises(DataError, match="holds other data"):
        write_dataset(tmp_path, count=4, size=(32, 32), test=1, val=1)
    assert precious.read_bytes() == b"mine"


@pytest.mark.parametrize("numbers", [{"test": 4}, {"val": -1}, {"masks": 3}, {"masks": -1}])
def test_numbers_that_do_not_add_up_are_refused(tmp_path: Path, numbers: dict[str, int]):
    with pytest.raises(DataError, match="a dataset of 4 cases"):
        write_dataset(tmp_path / "data", **{"count": 4, "test": 1, "val": 1, **numbers})
    assert not (tmp_path / "data").exists()
