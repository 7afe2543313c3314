"""A volume is read with its values and its place, whatever the format; and masks are written where their image lies."""

import gzip
import math
import struct
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_arrays import affine_of, numbers

from criinet.data.bad_files import BadFileError
from criinet.data.geometry import Geometry
from criinet.data.kinds import stem_of
from criinet.data.volumes import (
    annotated_slices,
    lone_slices,
    read_labels,
    read_raw_labels,
    read_volume,
    read_volume_header,
    write_labels,
    write_volume,
)

DTYPES = [np.uint8, np.int16, np.uint16, np.int32, np.float32]


AFFINES = {
    "plain": affine_of(),
    "anisotropic": affine_of((0.3, 0.9, 12.0)),
    "negative directions": affine_of(flips=(-1, -1, 1)),
    "left-handed": affine_of(flips=(1, 1, -1)),
    "oblique": affine_of(angles=(20, -35, 10)),
    "sagittal": affine_of(angles=(0, 90, 90)),
}


@pytest.fixture(params=AFFINES.values(), ids=AFFINES.keys())
def affine(request) -> np.ndarray:
    return request.param


def as_itk(values: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """Build the same volume with SimpleITK alone; its space is left-posterior-superior."""
    lps = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    direction = np.linalg.qr(lps[:3, :3] / spacing)[0]
    image.SetDirection((direction * np.sign((direction * lps[:3, :3]).sum(0))).ravel().tolist())
    return image


def test_nifti_keeps_values_and_affine_exactly(affine, tmp_path):
    values = numbers()
    nib.save(nib.Nifti1Image(values.transpose(2, 1, 0), affine), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.values, values)
    np.testing.assert_array_equal(volume.geometry.nifti, affine)
    header = read_volume_header(tmp_path / "a.nii.gz")
    assert header.shape == values.shape
    np.testing.assert_array_equal(header.geometry.nifti, affine)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".nii.gz"])
def test_itk_files_mean_the_same_as_for_itk(suffix, affine, tmp_path):
    """Every voxel lies where SimpleITK says it lies."""
    values, path = numbers(), tmp_path / f"a{suffix}"
    image = as_itk(values, affine)
    sitk.WriteImage(image, path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.values, values)
    for d, h, w in [(0, 0, 0), (4, 5, 6), (1, 2, 3)]:
        mine = volume.geometry.lps @ (w, h, d, 1)
        np.testing.assert_allclose(mine[:3], image.TransformIndexToPhysicalPoint((w, h, d)), atol=1e-4)


def test_written_masks_overlay_their_image_in_other_libraries(affine, tmp_path):
    """nibabel gets the very affine of the source, and SimpleITK the same place."""
    labels = numbers(dtype=np.uint8) % 4
    write_labels(tmp_path / "m.nii.gz", labels, Geometry.from_nifti(affine))
    written = nib.load(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj).transpose(2, 1, 0), labels)
    np.testing.assert_array_equal(written.affine, affine)
    assert written.get_data_dtype() == np.uint8
    image = sitk.ReadImage(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), labels)
    place = image.TransformIndexToPhysicalPoint((6, 5, 4))
    np.testing.assert_allclose(place, (np.diag([-1, -1, 1, 1]) @ affine @ (6, 5, 4, 1))[:3], atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    spacing=st.tuples(*[st.floats(0.1, 9)] * 3),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    dtype=st.sampled_from(DTYPES),
)
def test_any_volume_survives_writing_and_reading(tmp_path_factory, shape, spacing, angles, flips, dtype):
    affine, values = affine_of(spacing, angles, flips), numbers(shape, dtype)
    path = tmp_path_factory.mktemp("any") / "v.nii"
    write_volume(path, values, Geometry.from_nifti(affine))
    back = read_volume(path)
    assert back.values.dtype == dtype
    np.testing.assert_array_equal(back.values, values)
    np.testing.assert_array_equal(back.geometry.nifti, affine)
    axes = back.geometry.axes
    np.testing.assert_array_equal(axes.undo(axes.apply(values)), values)


def test_the_viewers_order_is_head_up_front_first_and_right_on_the_left(affine):
    """A step along d goes up, along h back, along w to the patient's left, as far as a quarter turn can."""
    geometry = Geometry.from_nifti(affine)
    steps = geometry.affine[:3, :3][:, list(geometry.axes.order)] * np.where(geometry.axes.flipped, -1, 1)
    right, anterior, superior = steps / np.linalg.norm(steps, axis=0)
    assert superior[0] > 0.5
    assert anterior[1] < -0.5
    assert right[2] < -0.5


def test_tiff_pages_are_slices_and_dataset_json_knows_their_spacing(tmp_path):
    values = numbers(dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    volume = read_volume(tmp_path / "a.tif", spacing=(3.0, 0.5, 0.6))
    np.testing.assert_array_equal(volume.values, values)
    assert volume.geometry.spacing == (3.0, 0.5, 0.6)
    assert not read_volume(tmp_path / "a.tif").geometry.known


def test_hdf5_holds_image_and_label_in_one_file(tmp_path):
    values, labels = numbers(dtype=np.float32), numbers() % 2
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"], file["label"] = values, labels
    np.testing.assert_array_equal(read_volume(tmp_path / "a.h5").values, values)
    np.testing.assert_array_equal(read_raw_labels(tmp_path / "a.h5").values, labels)


def write_mask(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(values.transpose(2, 1, 0), np.eye(4) if affine is None else affine), path)
    return path


def test_masks_hold_whole_numbers(tmp_path):
    soft = np.zeros((4, 5, 6), np.float32)
    soft[0, 0, 0] = 0.4
    with pytest.raises(BadFileError, match=r"the value 0\.4, which is no class\. Save class indices"):
        read_raw_labels(write_mask(tmp_path / "soft.nii.gz", soft))
    whole = np.round(soft + 0.4).astype(np.float64)
    assert read_raw_labels(write_mask(tmp_path / "whole.nii.gz", whole)).values.dtype == np.uint8
    with pytest.raises(BadFileError, match=r"values from -1 to 0"):
        read_raw_labels(write_mask(tmp_path / "minus.nii.gz", np.where(soft > 0, -1, 0).astype(np.int16)))


def test_a_scale_in_the_header_of_a_mask_leaves_its_classes_whole(tmp_path):
    """nibabel scales what is saved with the header of a scan that has a scale of its own."""
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3, 1:3, 1:3] = 1
    labels[3] = 255
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(labels.transpose(2, 1, 0).astype(np.float64), np.eye(4), header), tmp_path / "m.nii.gz")
    stored = np.asanyarray(nib.load(tmp_path / "m.nii.gz").dataobj)
    assert (stored != np.rint(stored)).any()
    np.testing.assert_array_equal(read_raw_labels(tmp_path / "m.nii.gz").values, labels)


@pytest.mark.parametrize(("value", "said"), [(1.00123, r"1\.00123"), (np.nan, "nan")])
def test_a_value_that_is_no_class_is_said_to_enough_digits(value, said, tmp_path):
    with pytest.raises(BadFileError, match=f"the value {said}, which is no class"):
        read_raw_labels(write_mask(tmp_path / "soft.nii.gz", np.full((4, 5, 6), value, np.float64)))


def test_every_tenth_slice_is_a_partial_annotation(tmp_path):
    labels = np.zeros((40, 8, 8), np.uint8)
    labels[5:36:10, 2:6, 2:6] = 1
    axis, seen = annotated_slices(labels, "auto")
    assert axis == 0
    assert np.flatnonzero(seen).tolist() == [5, 15, 25, 35]
    read = read_labels(write_mask(tmp_path / "m.nii.gz", labels), "index", ("background", "organ"))
    assert set(np.unique(read[5])) == {0, 1}
    assert set(np.unique(read[6])) == {-1}
    whole = read_labels(tmp_path / "m.nii.gz", "index", ("background", "organ"), partial="no")
    np.testing.assert_array_equal(whole, labels)


@settings(max_examples=30, deadline=None)
@given(first=st.integers(0, 9), last=st.integers(12, 19), axis=st.integers(0, 2))
def test_an_organ_is_never_taken_for_a_partial_annotation(first, last, axis):
    labels = np.zeros((20, 20, 20), np.uint8)
    np.moveaxis(labels, axis, 0)[first:last, 4:9, 3:12] = 1
    assert annotated_slices(labels, "auto") is None


def test_slices_that_stand_alone_are_counted_whatever_their_pattern():
    labels = np.zeros((20, 8, 8), np.uint8)
    labels[[3, 5], 2:6, 2:6] = 1
    assert (annotated_slices(labels, "auto"), lone_slices(labels)) == (None, (2, 20))
    labels[4, 3, 3] = 1
    assert lone_slices(labels) is None
    labels[4:] = 0
    assert lone_slices(labels) is None, "a single slice may be a small object"


def test_what_dataset_json_calls_partial_is_partial():
    labels = np.zeros((20, 8, 8), np.uint8)
    labels[3:5, 2:6, 2:6] = 1
    assert annotated_slices(labels, "auto") is None
    assert annotated_slices(labels, "yes")[1].sum() == 2


def test_255_means_no_ground_truth_where_it_is_declared(tmp_path):
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[0], labels[1] = 1, 255
    path = write_mask(tmp_path / "m.nii.gz", labels)
    read = read_labels(path, "index", ("background", "organ"), ignore=True)
    assert [int(read[d, 0, 0]) for d in range(4)] == [1, -1, 0, 0]
    with pytest.raises(BadFileError, match="has class 255"):
        read_labels(path, "index", ("background", "organ"))


def test_the_same_mask_is_written_byte_for_byte_the_same(tmp_path):
    for name in ("a", "b"):
        write_labels(tmp_path / f"{name}.nii.gz", numbers(dtype=np.uint8), Geometry.from_nifti(np.eye(4)))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes())


def forms(path: Path) -> list:
    """Return what a NIfTI header says of its place: unit, and both forms with their codes."""
    header = nib.load(path).header
    q, s = header.get_qform(coded=True), header.get_sform(coded=True)
    return [header.get_xyzt_units()[0], q[1], s[1], *(None if form[0] is None else form[0].tolist() for form in (q, s))]


@pytest.mark.parametrize(
    ("qform", "sform", "unit"),
    [((AFFINES["plain"], 1), (AFFINES["oblique"], 4), "mm"), ((AFFINES["oblique"], 1), (None, 0), "mm"),
     ((None, 0), (AFFINES["sagittal"], 2), "unknown"), ((AFFINES["plain"], 1), (AFFINES["plain"], 1), "micron")],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_mask_says_where_it_lies_as_its_image_does(qform, sform, unit, suffix, tmp_path):
    """Viewers that follow the qform and those that follow the sform then both overlay it."""
    image = nib.Nifti1Image(numbers().transpose(2, 1, 0), qform[0] if sform[0] is None else sform[0])
    image.set_qform(*qform, update_affine=False)
    image.set_sform(*sform, update_affine=False)
    image.header.set_xyzt_units(unit)
    scan, mask = tmp_path / f"scan{suffix}", tmp_path / f"mask{suffix}"
    nib.save(image, scan)
    found = read_volume(scan)
    np.testing.assert_array_equal(found.values, numbers())
    write_labels(mask, numbers(), found.geometry)
    assert forms(mask) == forms(scan)
    np.testing.assert_array_equal(nib.load(mask).affine, nib.load(scan).affine)
    assert nib.load(mask).header.get_zooms() == nib.load(scan).header.get_zooms()
    assert read_volume_header(mask).geometry.difference(found.geometry, (5, 6, 7)) is None


def with_a_quaternion_of(path: Path, squared: float, sform_code: int) -> Path:
    """Write a scan whose qform turns by a quaternion b = c = d of a squared length, and whose sform has a code."""
    nib.save(nib.Nifti1Image(numbers().transpose(2, 1, 0), AFFINES["plain"]), path)
    header = bytearray(path.read_bytes())
    struct.pack_into("<hhfff", header, 252, 1, sform_code, *[math.sqrt(squared / 3)] * 3)
    path.write_bytes(header)
    return path


def test_a_scan_is_read_by_its_sform_where_its_qform_is_rounded(tmp_path):
    """1e-6 above 1 is more than nibabel takes for the rounding of 32 bits; nothing needs the qform here."""
    path = with_a_quaternion_of(tmp_path / "a.nii", 1 + 1e-6, sform_code=1)
    found = read_volume(path)
    np.testing.assert_array_equal(found.values, numbers())
    np.testing.assert_array_equal(found.geometry.nifti, AFFINES["plain"])
    write_labels(tmp_path / "mask.nii.gz", numbers(), found.geometry)
    np.testing.assert_array_equal(nib.load(tmp_path / "mask.nii.gz").affine, AFFINES["plain"])
    without = with_a_quaternion_of(tmp_path / "b.nii", 1 + 1e-6, sform_code=0)
    for read in (read_volume, read_volume_header):
        with pytest.raises(BadFileError, match=r"b\.nii says in its qform an orientation that is none .*affine again"):
            read(without)


def test_lengths_of_nifti_are_in_mm_whatever_its_unit(tmp_path):
    for unit, share in (("mm", 1.0), ("micron", 0.001), ("meter", 1000.0), ("unknown", 1.0)):
        image = nib.Nifti1Image(numbers().transpose(2, 1, 0), affine_of((0.5, 2.0, 4.0)))
        image.header.set_xyzt_units(unit)
        nib.save(image, tmp_path / "scan.nii")
        spacing = read_volume_header(tmp_path / "scan.nii").geometry.spacing
        np.testing.assert_allclose(spacing, np.array([4.0, 2.0, 0.5]) * share)


def test_a_volume_written_without_lengths_is_read_without_them(tmp_path):
    """So that the spacing in dataset.json holds for it."""
    path = tmp_path / "scan.nii.gz"
    write_volume(path, numbers(), Geometry.unknown())
    assert not read_volume(path).geometry.known
    assert read_volume(path, (5.0, 1.0, 1.0)).geometry.spacing == (5.0, 1.0, 1.0)
    nib.save(nib.Nifti1Image(numbers(), np.eye(4)), path)
    assert read_volume(path).geometry.known


def test_values_beside_their_header_are_read(tmp_path):
    """In one file and in two, of either format."""
    for name in ("a.mhd", "a.mha", "a.nhdr", "a.nrrd"):
        sitk.WriteImage(sitk.GetImageFromArray(numbers()), tmp_path / name)
        np.testing.assert_array_equal(read_volume(tmp_path / name).values, numbers())


def test_folders_keep_the_dots_of_their_names():
    names = ("scans/pat.1", "scans/1.2.840.113619", "scans/pat.1.nii.gz", "scans/pat.1.DCM")
    assert [stem_of(Path(name)) for name in names] == ["pat.1", "1.2.840.113619", "pat.1", "pat.1"]
