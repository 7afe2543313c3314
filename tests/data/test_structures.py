"""What others drew on a series lands on the voxels it was drawn on, or a sentence says why it cannot."""

from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_contours, write_series
from scipy.spatial.transform import Rotation

from criinet.data.bad_files import BadFileError
from criinet.data.dicom_seg import write_segmentation
from criinet.data.formats.dicom import header
from criinet.data.formats.structures import draw, drawing_in
from criinet.data.importing import Wanted, carry_out, plan_import
from criinet.data.volumes import read_raw_labels

SHAPE = (5, 9, 12)


def box(affine: np.ndarray, d: float, rows: tuple[float, float], columns: tuple[float, float]) -> np.ndarray:
    """Return the contour, in mm, half a voxel around the rows and columns of slice ``d``."""
    (top, bottom), (left, right) = (rows[0] - 0.5, rows[1] + 0.5), (columns[0] - 0.5, columns[1] + 0.5)
    corners = np.array([(left, top, d), (right, top, d), (right, bottom, d), (left, bottom, d)])
    return corners @ affine[:3, :3].T + affine[:3, 3]


def series(folder: Path, angles: tuple[float, ...] = (0, 0, 0), uid: str = "1.2.3") -> np.ndarray:
    """Write a series and return its affine from (column, row, slice) to mm."""
    direction = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    write_series(folder, np.zeros(SHAPE, np.int16), direction=direction, series=uid)
    return header(folder).geometry.lps


def drawn(path: Path, names: list[str], folder: Path) -> np.ndarray:
    found = drawing_in(path)
    assert found is not None
    return draw(found, names, header(folder))


@pytest.mark.parametrize("angles", [(0, 0, 0), (20, -35, 10), (180, 0, 90)])
def test_contours_fill_the_voxels_whose_centres_they_hold(angles, tmp_path):
    """Boxes with a hole, on several slices, of a series that lies any way in the patient."""
    affine = series(tmp_path / "ct", angles)
    liver = [box(affine, 1, (1, 6), (2, 9)), box(affine, 1, (3, 4), (4, 6)), box(affine, 2, (2, 2), (2, 3))]
    write_contours(tmp_path / "rs.dcm", "1.2.3", {"tumour": [box(affine, 1, (3, 4), (4, 6))], "liver": liver})
    expected = np.zeros(SHAPE, np.uint8)
    expected[1, 1:7, 2:10] = 1
    expected[1, 3:5, 4:7] = 2
    expected[2, 2, 2:4] = 1
    np.testing.assert_array_equal(drawn(tmp_path / "rs.dcm", ["liver", "tumour"], tmp_path / "ct"), expected)
    only = drawn(tmp_path / "rs.dcm", ["tumour"], tmp_path / "ct")
    np.testing.assert_array_equal(only, expected == 2)


def test_a_curved_contour_covers_its_area(tmp_path):
    affine = series(tmp_path / "ct")
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    ring = np.stack([5.3 + 4 * np.cos(angle), 4.1 + 3 * np.sin(angle), np.full(400, 2.0)], axis=1)
    write_contours(tmp_path / "rs.dcm", "1.2.3", {"heart": [ring @ affine[:3, :3].T + affine[:3, 3]]})
    row, column = np.mgrid[:9, :12]
    inside = ((column - 5.3) / 4) ** 2 + ((row - 4.1) / 3) ** 2 < 1
    np.testing.assert_array_equal(drawn(tmp_path / "rs.dcm", ["heart"], tmp_path / "ct")[2], inside)


def test_voxels_on_a_contour_belong_to_the_structure_around_a_hole_too(tmp_path):
    """As with software that draws from centre to centre: the millimetres of its points are rounded."""
    affine = series(tmp_path / "ct", (20, -35, 10))
    outer, hole = box(affine, 1, (1.5, 6.5), (2.5, 9.5)), box(affine, 1, (3.5, 5.5), (4.5, 7.5))
    write_contours(tmp_path / "rs.dcm", "1.2.3", {"liver": [outer, hole]})
    expected = np.zeros(SHAPE, np.uint8)
    expected[1, 1:8, 2:11] = 1
    expected[1, 4:6, 5:8] = 0
    np.testing.assert_array_equal(drawn(tmp_path / "rs.dcm", ["liver"], tmp_path / "ct"), expected)


def test_a_segmentation_of_other_software_is_placed_by_its_names(tmp_path):
    series(tmp_path / "ct", (20, -35, 10))
    labels = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
    write_segmentation(tmp_path / "seg.dcm", labels, tmp_path / "ct", ("background", "liver", "spleen"))
    swapped = drawn(tmp_path / "seg.dcm", ["spleen", "liver"], tmp_path / "ct")
    np.testing.assert_array_equal(swapped, np.array([0, 2, 1])[labels])


def test_a_segmentation_of_some_slices_is_placed_among_all(tmp_path):
    series(tmp_path / "ct")
    labels = np.random.default_rng(0).integers(0, 2, SHAPE).astype(np.uint8)
    for path in (tmp_path / "ct").iterdir():
        place = round((header(path).geometry.lps[2, 3] - 30) / 2.5)
        if place in (1, 2):
            (tmp_path / "part").mkdir(exist_ok=True)
            path.rename(tmp_path / "part" / path.name)
    write_segmentation(tmp_path / "seg.dcm", labels[1:3], tmp_path / "part", ("background", "liver"))
    for path in (tmp_path / "part").iterdir():
        path.rename(tmp_path / "ct" / path.name)
    labels[[0, 3, 4]] = 0
    np.testing.assert_array_equal(drawn(tmp_path / "seg.dcm", ["liver"], tmp_path / "ct"), labels)


def test_points_and_open_lines_are_no_structures(tmp_path):
    affine = series(tmp_path / "ct")
    write_contours(tmp_path / "rs.dcm", "1.2.3", {"isocentre": [box(affine, 1, (1, 2), (1, 2))[:1]]}, kind="POINT")
    found = drawing_in(tmp_path / "rs.dcm")
    assert found is not None
    assert found.numbers == {}
    assert drawing_in(next((tmp_path / "ct").iterdir())) is None


def overlapping(path: Path, affine: np.ndarray) -> None:
    write_contours(path, "1.2.3", {"a": [box(affine, 1, (1, 3), (1, 3))], "b": [box(affine, 1, (3, 4), (3, 4))]})


def between_slices(path: Path, affine: np.ndarray) -> None:
    write_contours(path, "1.2.3", {"a": [box(affine, 1.5, (1, 3), (1, 3))], "b": [box(affine, 1, (5, 5), (5, 5))]})


def beyond(path: Path, affine: np.ndarray) -> None:
    write_contours(path, "1.2.3", {"a": [box(affine, 7, (1, 3), (1, 3))], "b": [box(affine, 1, (5, 5), (5, 5))]})


def lacking(path: Path, affine: np.ndarray) -> None:
    write_contours(path, "1.2.3", {"a": [box(affine, 1, (1, 3), (1, 3))]})


BAD = {
    "two classes in a voxel": (overlapping, "has 'a' and 'b' overlap in 1 voxels. Choose one of them"),
    "between two slices": (between_slices, "has a contour that lies on no slice of its series"),
    "beyond the series": (beyond, "has a contour that lies on no slice of its series"),
    "a structure that is not there": (lacking, "lacks 'b'"),
}


@pytest.mark.parametrize(("make", "sentence"), BAD.values(), ids=BAD.keys())
def test_what_makes_no_mask_is_said_in_a_sentence(make, sentence, tmp_path):
    make(tmp_path / "rs.dcm", series(tmp_path / "ct"))
    with pytest.raises(BadFileError) as refused:
        drawn(tmp_path / "rs.dcm", ["a", "b"], tmp_path / "ct")
    assert sentence in str(refused.value)


def test_two_structures_of_one_name_are_refused(tmp_path):
    affine = series(tmp_path / "ct")
    labels = np.ones(SHAPE, np.uint8)
    write_segmentation(tmp_path / "seg.dcm", labels, tmp_path / "ct", ("background", "liver", "liver"))
    with pytest.raises(BadFileError, match="has two structures called 'liver'"):
        drawing_in(tmp_path / "seg.dcm")
    write_contours(tmp_path / "rs.dcm", "1.2.3", {"a": [box(affine, 1, (1, 3), (1, 3))]})
    cut = (tmp_path / "rs.dcm").read_bytes()
    (tmp_path / "rs.dcm").write_bytes(cut[:-60])
    with pytest.raises(BadFileError):
        drawing_in(tmp_path / "rs.dcm")


def test_a_segmentation_on_another_grid_is_refused(tmp_path):
    series(tmp_path / "ct")
    series(tmp_path / "turned", (0, 0, 30))
    write_segmentation(tmp_path / "seg.dcm", np.ones(SHAPE, np.uint8), tmp_path / "turned", ("background", "liver"))
    with pytest.raises(BadFileError, match="does not lie on the voxels of its series"):
        drawn(tmp_path / "seg.dcm", ["liver"], tmp_path / "ct")


def test_a_tree_with_drawings_becomes_a_dataset_with_masks_and_says_which_scans_have_none(tmp_path):
    """Two scans with contours, one with a segmentation, one with two drawings, one with overlaps, one with nothing."""
    source = tmp_path / "source"
    for i in range(6):
        affine = series(source / f"ct{i}", uid=f"1.2.{i}")
    parts = {"a": [box(affine, 1, (1, 3), (1, 3))], "b": [box(affine, 1, (4, 5), (4, 5))]}
    for i, name in ((0, "rs0"), (1, "rs1"), (3, "rs3"), (3, "rs3_new")):
        write_contours(source / f"{name}.dcm", f"1.2.{i}", parts)
    labels = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
    write_segmentation(source / "seg.dcm", labels, source / "ct2", ("background", "a", "b"))
    write_contours(source / "rs4.dcm", "1.2.4", {**parts, "a": [box(affine, 1, (1, 4), (1, 4))]})
    untaken = plan_import("dicom", source)
    assert sum(item.mask is not None for item in untaken.items) == 0
    assert "no mask is taken of 'a' (in 6), 'b' (in 6); choose with --structure NAME" in untaken.left_out
    plan = plan_import("dicom", source, Wanted(structures=("a", "b")))
    assert plan.summary()[0].startswith("6 images, 3 with a mask")
    assert plan.card["classes"] == ["background", "a", "b"]
    said = "\n".join(plan.left_out)
    assert "comes without a mask" in said
    assert "rs3_new.dcm both draw 'a' on one series" in said
    assert "overlap in 1 voxels" in said
    carry_out(plan, tmp_path / "data")
    found = [read_raw_labels(path).values for path in sorted((tmp_path / "data" / "masks").iterdir())]
    assert sum(np.array_equal(values, labels) for values in found) == 1
    assert sum((values == 1).sum() == 9 and (values == 2).sum() == 4 for values in found) == 2


def test_a_mask_whose_structures_lie_in_two_files_is_not_made_and_the_reason_is_true(tmp_path):
    affine = series(tmp_path / "ct", uid="1.2.3")
    for name, rows in (("liver", (1, 3)), ("tumour", (4, 5))):
        write_contours(tmp_path / f"{name}.dcm", "1.2.3", {name: [box(affine, 1, rows, rows)]})
    (said,) = plan_import("dicom", tmp_path, Wanted(structures=("liver", "tumour"))).left_out
    assert "liver.dcm draws 'liver' and" in said
    assert "tumour.dcm 'tumour', but a mask is made of one file. Save both structures in one file" in said
    (one,) = plan_import("dicom", tmp_path, Wanted(structures=("tumour",))).items
    assert one.mask is not None
