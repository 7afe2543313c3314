"""The rows of one case: each equals the metric it names, and misses and false alarms are flagged."""

import ast
import importlib
import math
from pathlib import Path

import numpy as np
import pytest

import criinet.metrics
from criinet.errors import DataError, ShapeError
from criinet.labels import IGNORE

CLASSES = ("background", "left", "right")
NAMES = [
    *("class", "region", "dice", "iou", "hd95", "assd", "surface_dice", "boundary_iou"),
    *(f"band_{what}_{width}" for width in (2, 5, 10) for what in ("dice", "error")),
    *("target_pixels", "predicted_pixels", "miss", "false_alarm"),
]


def scene(shape=(40, 60)):
    target = np.zeros(shape, np.int64)
    target[8:20, 5:22], target[15:32, 35:55] = 1, 2
    return np.roll(target, (2, 3), (0, 1)), target


@pytest.mark.parametrize("spacing", [None, (0.5, 1.5)])
def test_rows_equal_the_single_metrics(spacing):
    prediction, target = scene()
    rows = criinet.metrics.case_metrics(prediction, target, CLASSES, spacing)
    assert [(row["class"], row["region"]) for row in rows] == [("left", False), ("right", False)]
    for index, row in enumerate(rows, start=1):
        assert list(row) == NAMES
        pair = (prediction == index, target == index)
        for name in ("dice", "iou"):
            assert row[name] == getattr(criinet.metrics, name)(*pair)
        for name in ("hd95", "assd", "surface_dice", "boundary_iou"):
            assert row[name] == getattr(criinet.metrics, name)(*pair, spacing=spacing)
        for name in ("band_dice", "band_error"):
            for width in (2, 5, 10):
                assert row[f"{name}_{width}"] == getattr(criinet.metrics, name)(*pair, width, spacing)
        assert (row["target_pixels"], row["predicted_pixels"]) == (pair[1].sum(), pair[0].sum())


def test_misses_and_false_alarms_are_flagged():
    """ "left" is missed, "right" is seen where there is none."""
    target, prediction = np.zeros((2, 12, 15), int)
    target[2:5, 2:5], prediction[6:9, 6:9] = 1, 2
    left, right = criinet.metrics.case_metrics(prediction, target, CLASSES)
    assert (left["miss"], left["false_alarm"], left["dice"], left["hd95"]) == (True, False, 0, math.inf)
    assert (right["miss"], right["false_alarm"], right["dice"], right["hd95"]) == (False, True, 0, math.inf)
    (nothing,) = criinet.metrics.case_metrics(target * 0, target * 0, ["background", "x"])
    assert (nothing["miss"], nothing["false_alarm"]) == (False, False)
    assert math.isnan(float(nothing["dice"]))
    assert math.isnan(float(nothing["hd95"]))


def test_pixels_without_ground_truth_do_not_count():
    """Whatever is predicted where the target is -1, every number stays."""
    prediction, target = scene()
    target[:, 25:30] = IGNORE
    before = criinet.metrics.case_metrics(prediction, target, CLASSES)
    prediction[:, 25:30] = 1
    assert criinet.metrics.case_metrics(prediction, target, CLASSES) == before


def test_what_fills_all_that_is_known_has_no_outline_to_measure():
    """Nothing says where the object ends; and it is no miss."""
    target = np.full((20, 20), IGNORE)
    target[5:15, 5:15] = 1
    hole = np.ones((20, 20), np.int64)
    hole[8, 8] = 0
    for prediction in (hole, np.ones_like(hole)):
        (row,) = criinet.metrics.case_metrics(prediction, target, ["background", "x"])
        assert float(row["dice"]) > 0.99
        outline = ("hd95", "assd", "surface_dice", "boundary_iou", "band_dice_5")
        assert all(math.isnan(float(row[name])) for name in outline)
        assert (row["miss"], row["false_alarm"]) == (False, False)
    target[5:15, 5:10] = 0
    (row,) = criinet.metrics.case_metrics(np.ones((20, 20), np.int64), target, ["background", "x"])
    assert math.isnan(float(row["hd95"]))


def test_a_right_prediction_beside_the_unknown_has_the_right_boundary():
    """As far as is known it is the target itself, and so is the strip along its boundary."""
    target = np.zeros((40, 60), int)
    target[10:30, 10:30], target[:, 30] = 1, IGNORE
    (row,) = criinet.metrics.case_metrics(np.where(target == 1, 1, 0), target, CLASSES[:2])
    assert (row["dice"], row["boundary_iou"], row["hd95"]) == (1, 1, 0)


def test_one_annotated_slice_is_measured_as_the_image_that_it_is():
    """Above and below nothing is known: there is no surface, and no band, towards that."""
    prediction, target = scene()
    flat = criinet.metrics.case_metrics(prediction, target, CLASSES, (0.5, 1.5))
    volume = np.full((11, *target.shape), IGNORE)
    volume[5] = target
    deep = criinet.metrics.case_metrics(np.stack([prediction] * 11), volume, CLASSES, (3.0, 0.5, 1.5))
    for one, other in zip(flat, deep, strict=True):
        assert {**one, "boundary_iou": 0} == {**other, "boundary_iou": 0}, "whose width follows the whole array"
        assert one["boundary_iou"] <= other["boundary_iou"] < one["iou"]


def test_a_pixel_beside_the_unknown_is_no_surface():
    """A square of 4x4 whose right side is cut by a column of unknown: 9 of its 12 edge pixels border on background."""
    target = np.zeros((8, 9), int)
    target[2:6, 2:6], target[:, 6] = 1, IGNORE
    known = target != IGNORE
    mask = target == 1
    distances = criinet.metrics.surface_distances(mask, mask, known=known)
    assert [len(found) for found in distances] == [10, 10]
    assert len(criinet.metrics.surface_distances(mask, mask).pred_to_target) == 12


def test_what_is_unknown_makes_no_case_harder():
    """A bright strip without ground truth beside the object changes neither its contrast nor its sharpness."""
    rng = np.random.default_rng(0)
    image = rng.normal(60, 4, (40, 60)).clip(0, 255).astype(np.uint8)
    target = np.zeros((40, 60), int)
    target[10:30, 10:30] = 1
    image[target == 1] += 100
    target[:, 33:] = IGNORE
    before = criinet.metrics.case_difficulty(image, target)
    image[:, 38:] = 255
    after = criinet.metrics.case_difficulty(image, target)
    assert after == before
    assert before["object_share"] == 400 / (40 * 33)
    target[:, 30:] = IGNORE
    image[:, 30:] = 160  # As bright as the object itself.
    beside = criinet.metrics.case_difficulty(image, target)
    assert beside["cnr"] == pytest.approx(before["cnr"], rel=0.2)
    assert beside["boundary_gradient"] == pytest.approx(before["boundary_gradient"], rel=0.1)
    target[:] = IGNORE
    assert all(math.isnan(value) for value in criinet.metrics.case_difficulty(image, target).values())


def test_rows_hold_plain_python_values():
    """A row goes into JSON and CSV as it is."""
    for row in criinet.metrics.case_metrics(*scene(), CLASSES, widths=(2.5,)):
        assert {type(value) for value in row.values()} == {str, float, int, bool}
        assert "band_dice_2.5" in row


def test_an_index_without_a_class_is_refused():
    """A mask of 0 and 255 would otherwise be scored as empty."""
    prediction, target = scene()
    with pytest.raises(DataError, match=r"target holds class indices 0 to 255, but -1 to 2 are expected"):
        criinet.metrics.case_metrics(prediction, np.where(target == 2, 255, target), CLASSES)
    with pytest.raises(DataError, match=r"prediction holds class indices -1 to 2, but 0 to 2"):
        criinet.metrics.case_metrics(np.where(prediction == 1, -1, prediction), target, CLASSES)
    with pytest.raises(TypeError, match="not integer"):
        criinet.metrics.case_metrics(prediction.astype(float), target, CLASSES)
    with pytest.raises(ShapeError, match="Bring the prediction"):
        criinet.metrics.case_metrics(prediction.T, target, CLASSES)


def test_case_difficulty_takes_all_classes_together():
    _, target = scene()
    image = np.random.default_rng(0).integers(0, 256, (*target.shape, 3), dtype=np.uint8)
    foreground = target > 0
    target[0, 0] = IGNORE
    assert criinet.metrics.case_difficulty(image, target) == {
        "cnr": criinet.metrics.contrast_to_noise(image, foreground),
        "boundary_gradient": criinet.metrics.boundary_gradient(image, foreground),
        "object_share": foreground.sum() / (foreground.size - 1),
    }


def test_everything_public_is_there_and_documented():
    names = criinet.metrics.__all__
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(criinet.metrics, name).__doc__
    module = ast.parse(Path(criinet.metrics.__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(module) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(names)


@pytest.mark.parametrize("room", ["overlap", "surface", "difficulty", "statistics", "cases"])
def test_metrics_need_no_torch(room):
    module = importlib.import_module(f"criinet.metrics.{room}")
    assert not hasattr(module, "torch")
    assert "torch" not in Path(module.__file__).read_text(encoding="utf-8")


def test_dice_over_classes_counts_only_those_that_occur():
    empty, one, two = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8), np.full((4, 4), 2, np.uint8)
    assert np.isnan(criinet.metrics.case_dice(empty, empty, 3))
    assert criinet.metrics.case_dice(one, one, 3) == 1
    assert criinet.metrics.case_dice(one, two, 3) == 0


def test_dice_over_classes_leaves_out_pixels_without_ground_truth():
    target = np.array([[1, 1], [-1, -1]])
    assert criinet.metrics.case_dice(np.ones((2, 2), int), target, 2) == 1


def test_a_prediction_beside_the_object_is_neither_a_miss_nor_a_false_alarm():
    prediction, target = np.zeros((2, 6, 6), np.uint8)
    prediction[0, 0], target[5, 5] = 1, 1
    (row,) = criinet.metrics.case_metrics(prediction, target, ("background", "cup"))
    assert (row["dice"], row["miss"], row["false_alarm"]) == (0, False, False)
