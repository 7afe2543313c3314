"""A file that is no volume, or of which a part is elsewhere or broken, is refused in a sentence."""

from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
from dicom_files import write_multiframe
from volume_arrays import numbers

from criinet.data.bad_files import BadFileError
from criinet.data.geometry import Geometry
from criinet.data.volumes import read_volume, write_volume


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


def cut_values(header: str, values: str, *, packed: bool = False) -> Callable[[Path], Path]:
    """A header whose values end in the middle."""

    def make(path: Path) -> Path:
        sitk.WriteImage(sitk.GetImageFromArray(numbers((30, 30, 30))), path / header, useCompression=packed)
        whole = (path / values).read_bytes()
        (path / values).write_bytes(whole[: len(whole) // 2])
        return path / header

    return make


def without_values(header: str) -> Callable[[Path], Path]:
    """A header alone."""

    def make(path: Path) -> Path:
        sitk.WriteImage(sitk.GetImageFromArray(numbers()), path / header)
        (path / "a.raw").unlink()
        return path / header

    return make


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
    "an .mhd alone": (without_values("a.mhd"), "takes its values from a.raw, which is not there"),
    "an .nhdr alone": (without_values("a.nhdr"), "takes its values from a.raw, which is not there"),
    "cut values of an .mhd": (cut_values("a.mhd", "a.raw"), "takes its values from a.raw, which is cut short"),
    "cut values of a packed .mhd": (
        cut_values("a.mhd", "a.zraw", packed=True),
        "takes its values from a.zraw, which is cut short",
    ),
    "a cut .mha": (cut_values("a.mha", "a.mha"), "is cut short"),
    "a cut packed .mha": (cut_values("a.mha", "a.mha", packed=True), "is cut short"),
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
