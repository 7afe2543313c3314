"""A volume is read with its values and its place, whatever the format; and masks are written where their image lies."""

import gzip
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
from dicom_files import PERSON, SECRETS, write_contours, write_multiframe, write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from criinet.data.geometry import Geometry
from criinet.data.images import BadFileError
from criinet.data.kinds import stem_of
from criinet.data.volumes import (
    annotated_slices,
    read_labels,
    read_raw_labels,
    read_volume,
    read_volume_header,
    write_labels,
    write_volume,
)

DTYPES = [np.uint8, np.int16, np.uint16, np.int32, np.float32]


def affine_of(spacing=(0.7, 1.3, 5.0), angles=(0, 0, 0), flips=(1, 1, 1), origin=(3.0, -40.0, 5.5)) -> np.ndarray:
    """Return a NIfTI affine, rounded to what the file can hold."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(np.array(spacing) * flips)
    affine[:3, 3] = origin
    return affine.astype(np.float32).astype(np.float64)


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


def numbers(shape=(5, 6, 7), dtype=np.int16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


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


def test_a_dicom_series_is_ordered_by_position_and_in_hounsfield_units(tmp_path):
    values = numbers()
    write_series(tmp_path / "ct", values, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=40, WindowWidth=400)
    (tmp_path / "ct" / "notes.txt").write_text("no slice")
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(volume.values, values * 2 - 1000)
    assert (volume.modality, volume.window) == ("CT", (-160.0, 240.0))
    np.testing.assert_allclose(volume.geometry.spacing, (2.5, 0.7, 0.8))


@pytest.mark.parametrize("angles", [(0, 0, 0), (0, 90, 90), (20, -35, 10)])
def test_a_dicom_series_lies_where_itk_says(angles, tmp_path):
    values = numbers()
    write_series(tmp_path / "ct", values, direction=Rotation.from_euler("xyz", angles, degrees=True).as_matrix())
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "ct")))
    image, volume = reader.Execute(), read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(volume.values, sitk.GetArrayFromImage(image))
    place = image.TransformIndexToPhysicalPoint((6, 5, 4))
    np.testing.assert_allclose((volume.geometry.lps @ (6, 5, 4, 1))[:3], place, atol=1e-3)


def test_frames_of_one_file_are_ordered_by_position_too(tmp_path):
    values = numbers()
    write_multiframe(tmp_path / "ct.dcm", values, (3.0, 0.5, 0.6), slope=2)
    volume = read_volume(tmp_path / "ct.dcm")
    np.testing.assert_array_equal(volume.values, values * 2 - 5)
    np.testing.assert_allclose(volume.geometry.spacing, (3.0, 0.5, 0.6))


def test_monochrome1_is_turned_over(tmp_path):
    values = numbers(dtype=np.uint16)
    write_series(tmp_path / "x", values, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_volume(tmp_path / "x").values, 4095 - values.astype(int))


NAMES = [f"slice{d}.dcm" for d in range(6)]


def lacking(folder: Path) -> None:
    write_series(folder, numbers((6, 4, 4)), names=NAMES)
    (folder / "slice2.dcm").unlink()


def double(folder: Path) -> None:
    write_series(folder, numbers((6, 4, 4)), names=NAMES, series="1.2.3")
    write_series(folder, numbers((1, 4, 4)), names=["again.dcm"], series="1.2.3")


def uneven(folder: Path) -> None:
    write_series(folder, numbers((4, 4, 4)), names=NAMES[:4], series="1.2.3")
    write_series(folder, numbers((1, 4, 4)), names=["off.dcm"], series="1.2.3", origin=(-10, 20, 30 + 2.5 * 3 + 1.1))


def two_series(folder: Path) -> None:
    write_series(folder, numbers((3, 4, 4)), names=NAMES[:3])
    write_series(folder, numbers((2, 4, 4)), names=["a.dcm", "b.dcm"], origin=(0, 0, 500))


def turned(folder: Path) -> None:
    write_series(folder, numbers((3, 4, 4)), names=NAMES[:3], series="1.2.3")
    flat = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    write_series(folder, numbers((1, 4, 4)), names=["scout.dcm"], series="1.2.3", direction=flat)


def tilted(folder: Path) -> None:
    for d in range(3):
        place = (-10.0, 20.0 + d, 30.0 + 2.5 * d)
        write_series(folder, numbers((1, 4, 4)), names=[f"t{d}.dcm"], series="1.2.3", origin=place)


SERIES = {
    "a missing slice": (lacking, ["lacks 1 slice between slice1.dcm and slice3.dcm", "every 2.5 mm"]),
    "a slice twice": (double, ["two slices at one place", "slice0.dcm", "again.dcm"]),
    "uneven slices": (uneven, ["unevenly spaced", "1.1 mm between slice3.dcm and off.dcm", "2.5 mm elsewhere"]),
    "two series": (two_series, ["holds 2 series (2 and 3 files)", "data import dicom"]),
    "another direction": (turned, ["different directions", "scout.dcm"]),
    "gantry tilt": (tilted, ["tilted by 21.8 degrees"]),
}


@pytest.mark.parametrize(("make", "fragments"), SERIES.values(), ids=SERIES.keys())
def test_a_series_that_is_no_volume_names_the_slices_at_fault(make, fragments, tmp_path):
    make(tmp_path / "ct")
    with pytest.raises(BadFileError) as refused:
        read_volume(tmp_path / "ct")
    for fragment in fragments:
        assert fragment in str(refused.value)
    assert PERSON not in str(refused.value)


def truncated(path: Path) -> Path:
    nib.save(nib.Nifti1Image(numbers((40, 40, 40)), np.eye(4)), path / "a.nii.gz")
    (path / "a.nii.gz").write_bytes((path / "a.nii.gz").read_bytes()[:2000])
    return path / "a.nii.gz"


def no_gzip(path: Path) -> Path:
    (path / "a.nii.gz").write_bytes(b"not an archive")
    return path / "a.nii.gz"


def short(path: Path) -> Path:
    nib.save(nib.Nifti1Image(numbers(), np.eye(4)), path / "a.nii")
    (path / "a.nii").write_bytes((path / "a.nii").read_bytes()[:400])
    return path / "a.nii"


def four_axes(path: Path) -> Path:
    nib.save(nib.Nifti1Image(numbers((3, 4, 5, 6)), np.eye(4)), path / "a.nii.gz")
    return path / "a.nii.gz"


def flat_affine(path: Path) -> Path:
    image = nib.Nifti1Image(numbers(), None)
    image.header["sform_code"] = 1
    nib.save(image, path / "a.nii.gz")
    return path / "a.nii.gz"


def colour(path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True), path / "a.nrrd")
    return path / "a.nrrd"


def cut_nrrd(path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(numbers((30, 30, 30))), path / "a.nrrd", useCompression=True)
    (path / "a.nrrd").write_bytes((path / "a.nrrd").read_bytes()[:900])
    return path / "a.nrrd"


def no_image_key(path: Path) -> Path:
    with h5py.File(path / "a.h5", "w") as file:
        file["picture"] = numbers()
    return path / "a.h5"


def mixed_pages(path: Path) -> Path:
    with tifffile.TiffWriter(path / "a.tif") as file:
        file.write(np.zeros((4, 5), np.uint8))
        file.write(np.zeros((6, 5), np.uint8))
    return path / "a.tif"


def no_slices(path: Path) -> Path:
    (path / "empty").mkdir()
    return path / "empty"


def huge(path: Path) -> Path:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((2048, 2048, 513))
    (path / "a.nii").write_bytes(header.binaryblock + bytes(100))
    return path / "a.nii"


def many_frames(path: Path) -> Path:
    """Of a megabyte each, in a file of a few."""
    write_multiframe(path / "a.dcm", numbers(dtype=np.int16), (1, 1, 1))
    dataset = pydicom.dcmread(path / "a.dcm")
    dataset.NumberOfFrames = 10**9
    dataset.save_as(path / "a.dcm")
    return path / "a.dcm"


def compressed_frames(path: Path) -> Path:
    """As many as nobody can tell from the length of the file."""
    write_multiframe(path / "a.dcm", numbers(dtype=np.int16), (1, 1, 1))
    dataset = pydicom.dcmread(path / "a.dcm")
    dataset.compress(pydicom.uid.RLELossless)
    dataset.NumberOfFrames = 10**9
    dataset.save_as(path / "a.dcm")
    return path / "a.dcm"


def external_link(path: Path) -> Path:
    with h5py.File(path / "other.h5", "w") as file:
        file["image"] = numbers()
    with h5py.File(path / "a.h5", "w") as file:
        file["image"] = h5py.ExternalLink("other.h5", "/image")
    return path / "a.h5"


def external_behind_a_link(path: Path) -> Path:
    with h5py.File(path / "other.h5", "w") as file:
        file["image"] = numbers()
    with h5py.File(path / "a.h5", "w") as file:
        file["other"] = h5py.ExternalLink("other.h5", "/")
        file["image"] = h5py.SoftLink("/other/image")
    return path / "a.h5"


def external_storage(path: Path) -> Path:
    (path / "secret.txt").write_bytes(bytes(100))
    with h5py.File(path / "a.h5", "w") as file:
        file.create_dataset("image", (4, 5, 5), np.uint8, external=[(str(path / "secret.txt"), 0, 100)])
    return path / "a.h5"


def virtual(path: Path) -> Path:
    with h5py.File(path / "other.h5", "w") as file:
        file["image"] = numbers()
    layout = h5py.VirtualLayout((5, 6, 7), np.int16)
    layout[:] = h5py.VirtualSource(str(path / "other.h5"), "image", (5, 6, 7))
    with h5py.File(path / "a.h5", "w") as file:
        file.create_virtual_dataset("image", layout)
    return path / "a.h5"


def elsewhere(header: str, old: str, new: str) -> Callable[[Path], Path]:
    """A header beside its values, with a line of it replaced."""

    def make(path: Path) -> Path:
        sitk.WriteImage(sitk.GetImageFromArray(numbers()), path / header)
        text = (path / header).read_text()
        assert old in text
        (path / header).write_text(text.replace(old, new))
        return path / header

    return make


FILES = {
    "voxels without end": (huge, "has over 2,147,483,648 voxels"),
    "frames that are not in the file": (many_frames, "is damaged or cut short"),
    "compressed frames without end": (compressed_frames, "has over 2,147,483,648 voxels"),
    "a link to another HDF5": (external_link, "takes 'image' from another file"),
    "a link through another HDF5": (external_behind_a_link, "takes 'image' from another file"),
    "values outside of an HDF5": (external_storage, "takes 'image' from another file"),
    "an HDF5 of pieces of others": (virtual, "takes 'image' from another file"),
    "values above an .mhd": (elsewhere("a.mhd", "= a.raw", "= ../a.raw"), "takes its values from another folder"),
    "values of an .mhd anywhere": (elsewhere("a.mhd", "= a.raw", "= /a.raw"), "takes its values from another folder"),
    "a list of an .mhd": (
        elsewhere("a.mhd", "= a.raw", "= LIST\na.raw\n/a.raw"),
        "takes its values from another folder",
    ),
    "values above an .nhdr": (
        elsewhere("a.nhdr", "file: a.raw", "file: ..\\a.raw"),
        "takes its values from another folder",
    ),
    "a list of an .nhdr": (
        elsewhere("a.nhdr", "file: a.raw", "file: LIST\n/a.raw"),
        "takes its values from another folder",
    ),
    "a cut archive": (truncated, "damaged, cut short, or no NIfTI file"),
    "no archive": (no_gzip, "damaged, cut short, or no NIfTI file"),
    "a short file": (short, "damaged, cut short, or no NIfTI file"),
    "four dimensions": (four_axes, "has 4 dimensions (3x4x5x6), a time series or several channels"),
    "no geometry": (flat_affine, "geometry without volume"),
    "colours": (colour, "3 values for each voxel"),
    "a cut NRRD": (cut_nrrd, "damaged, cut short, or no NRRD"),
    "HDF5 of another layout": (no_image_key, "no dataset called image"),
    "pages of two sizes": (mixed_pages, "pages of different sizes"),
    "no slices": (no_slices, "holds no DICOM files"),
}


@pytest.mark.parametrize(("make", "fragment"), FILES.values(), ids=FILES.keys())
def test_a_file_that_is_no_volume_says_why(make, fragment, tmp_path, capfd):
    path = make(tmp_path)
    with pytest.raises(BadFileError) as refused:
        read_volume(path)
    assert fragment in str(refused.value)
    assert str(refused.value).startswith(str(path))
    assert capfd.readouterr() == ("", "")


def test_nothing_personal_is_read_from_a_header(tmp_path, capfd):
    """Names, birth dates and numbers of people are in no volume, no message and on no terminal."""
    write_series(tmp_path / "ct", numbers((3, 4, 4)))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        volume = read_volume(tmp_path / "ct")
    said = repr(volume) + "".join(str(w.message) for w in warned) + "".join(capfd.readouterr())
    assert not [secret for secret in SECRETS if secret in said]


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


def test_the_window_of_monochrome1_is_turned_over_too(tmp_path):
    """Stored values from 550 to 750 are shown: turned over within 12 bits, 3345 to 3545."""
    values = numbers(dtype=np.uint16)
    window = {"WindowCenter": 650, "WindowWidth": 200}
    for kind, limits in (("MONOCHROME1", (3345, 3545)), ("MONOCHROME2", (550, 750))):
        write_series(tmp_path / kind, values, PhotometricInterpretation=kind, BitsStored=12, HighBit=11, **window)
        assert read_volume(tmp_path / kind).window == limits


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


@pytest.mark.parametrize("seed", range(8))
def test_a_flipped_bit_in_a_compressed_file_is_found(seed, tmp_path):
    """Decoders need not reach the checksum at its end; the values may be wrong without it."""
    path = tmp_path / "scan.nii.gz"
    write_volume(path, np.random.default_rng(0).integers(0, 4, (20, 30, 30)).astype(np.int16), Geometry.unknown())
    content, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    content[rng.integers(len(content) // 10, len(content) - 8)] ^= 1 << rng.integers(8)
    path.write_bytes(content)
    with pytest.raises(BadFileError, match="is damaged, cut short, or no NIfTI file"):
        read_volume(path)


def test_a_volume_of_nothing_finite_is_refused(tmp_path):
    values = np.full((3, 4, 5), np.nan, np.float32)
    write_volume(tmp_path / "scan.nii.gz", values, Geometry.unknown())
    with pytest.raises(BadFileError, match="has no value that is a finite number"):
        read_volume(tmp_path / "scan.nii.gz")
    values[2, 3, 4] = 1
    write_volume(tmp_path / "scan.nii.gz", values, Geometry.unknown())
    assert np.isfinite(read_volume(tmp_path / "scan.nii.gz").values).sum() == 1


def test_a_volume_that_does_not_fit_into_memory_is_a_bad_file(tmp_path, monkeypatch):
    write_volume(tmp_path / "scan.nii.gz", numbers(), Geometry.unknown())

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "asanyarray", full)
    with pytest.raises(BadFileError, match=r"scan\.nii\.gz needs more memory than there is"):
        read_volume(tmp_path / "scan.nii.gz")


def test_values_beside_their_header_are_read(tmp_path):
    """In one file and in two, of either format."""
    for name in ("a.mhd", "a.mha", "a.nhdr", "a.nrrd"):
        sitk.WriteImage(sitk.GetImageFromArray(numbers()), tmp_path / name)
        np.testing.assert_array_equal(read_volume(tmp_path / name).values, numbers())


@pytest.mark.parametrize("length", [0, 100, 300])
def test_a_slice_at_the_end_that_is_cut_off_is_named(length, tmp_path):
    """It leaves no gap, so only its own file can tell."""
    names = [f"slice_{d}.dcm" for d in range(5)]
    write_series(tmp_path / "scan", numbers(), names=names)
    last = tmp_path / "scan" / "slice_4.dcm"
    last.write_bytes(last.read_bytes()[:length])
    for read in (read_volume, read_volume_header):
        with pytest.raises(BadFileError, match=r"slice_4\.dcm is damaged or cut short, so a slice is missing"):
            read(tmp_path / "scan")


def test_a_slice_whose_pixels_are_cut_off_is_named(tmp_path):
    names = [f"slice_{d}.dcm" for d in range(5)]
    write_series(tmp_path / "scan", numbers(), names=names)
    third = tmp_path / "scan" / "slice_2.dcm"
    third.write_bytes(third.read_bytes()[:-20])
    with pytest.raises(BadFileError, match=r"slice_2\.dcm is damaged"):
        read_volume(tmp_path / "scan")


def test_what_is_no_image_may_lie_beside_a_series(tmp_path):
    write_series(tmp_path / "scan", numbers())
    write_contours(tmp_path / "scan" / "contours.dcm", "1.2.3", {"organ": []})
    (tmp_path / "scan" / "readme.txt").write_text("exported in May")
    assert read_volume_header(tmp_path / "scan").shape == (5, 6, 7)


def test_floating_point_pixels_of_dicom_are_kept(tmp_path):
    write_series(tmp_path / "scan", numbers())
    rng = np.random.default_rng(0)
    expected: dict[float, np.ndarray] = {}
    for path in (tmp_path / "scan").iterdir():
        ds = pydicom.dcmread(path)
        del ds.PixelData, ds.PixelRepresentation, ds.BitsStored, ds.HighBit
        values = rng.random((6, 7)).astype(np.float32)
        ds.BitsAllocated, ds.FloatPixelData = 32, values.tobytes()
        ds.save_as(path)
        expected[float(ds.ImagePositionPatient[2])] = values
    np.testing.assert_allclose(read_volume(tmp_path / "scan").values, [expected[z] for z in sorted(expected)])


def test_without_positions_slices_are_as_far_apart_as_they_are_thick(tmp_path):
    """And where nothing says how far, nobody knows."""
    write_series(tmp_path / "scan", numbers())
    for tag, spacing in (("ImagePositionPatient", (2.5, 0.7, 0.8)), ("SliceThickness", None)):
        for path in (tmp_path / "scan").iterdir():
            ds = pydicom.dcmread(path)
            delattr(ds, tag)
            ds.save_as(path)
        geometry = read_volume_header(tmp_path / "scan").geometry
        assert (geometry.spacing if geometry.known else None) == spacing


def test_folders_keep_the_dots_of_their_names():
    names = ("scans/pat.1", "scans/1.2.840.113619", "scans/pat.1.nii.gz", "scans/pat.1.DCM")
    assert [stem_of(Path(name)) for name in names] == ["pat.1", "1.2.840.113619", "pat.1", "pat.1"]


def test_without_positions_slices_are_in_the_order_of_their_numbers(tmp_path):
    """Ten comes after nine."""
    values = np.arange(12 * 6 * 7).reshape(12, 6, 7).astype(np.int16)
    write_series(tmp_path / "scan", values)
    for path in (tmp_path / "scan").iterdir():
        ds = pydicom.dcmread(path)
        values[ds.InstanceNumber - 1] = ds.pixel_array
        del ds.ImagePositionPatient
        ds.save_as(path)
    np.testing.assert_array_equal(read_volume(tmp_path / "scan").values, values)
