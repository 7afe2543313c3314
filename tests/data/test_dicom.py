"""A DICOM series becomes a volume, or it is said which of its slices is at fault."""

import locale
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_files import PERSON, SECRETS, write_contours, write_multiframe, write_series
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless, JPEGLosslessSV1
from scipy.spatial.transform import Rotation
from volume_arrays import numbers

from criinet.data.bad_files import BadFileError
from criinet.data.volumes import read_volume, read_volume_header


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


def test_nothing_personal_is_read_from_a_header(tmp_path, capfd):
    """Names, birth dates and numbers of people are in no volume, no message and on no terminal."""
    write_series(tmp_path / "ct", numbers((3, 4, 4)))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        volume = read_volume(tmp_path / "ct")
    said = repr(volume) + "".join(str(w.message) for w in warned) + "".join(capfd.readouterr())
    assert not [secret for secret in SECRETS if secret in said]


def test_the_window_of_monochrome1_is_turned_over_too(tmp_path):
    """Stored values from 550 to 750 are shown: turned over within 12 bits, 3345 to 3545."""
    values = numbers(dtype=np.uint16)
    window = {"WindowCenter": 650, "WindowWidth": 200}
    for kind, limits in (("MONOCHROME1", (3345, 3545)), ("MONOCHROME2", (550, 750))):
        write_series(tmp_path / kind, values, PhotometricInterpretation=kind, BitsStored=12, HighBit=11, **window)
        assert read_volume(tmp_path / kind).window == limits


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


@pytest.mark.parametrize("name", ["s{}", "s{}.IMA", "1.2.840.{}"])
@pytest.mark.parametrize("length", [0, 100])
def test_a_slice_at_the_end_that_is_cut_off_is_named_whatever_its_suffix(name, length, tmp_path):
    """Nothing in it says DICOM any more, but it is called like the others; what lies beside a series is not."""
    write_series(tmp_path / "scan", numbers(), names=[name.format(d) for d in range(5)])
    for other in ("README", "DICOMDIR", "Thumbs.db", "notes1.txt", ".hidden1"):
        (tmp_path / "scan" / other).write_bytes(b"")
    assert read_volume_header(tmp_path / "scan").shape == (5, 6, 7)
    last = tmp_path / "scan" / name.format(4)
    last.write_bytes(last.read_bytes()[:length])
    for read in (read_volume, read_volume_header):
        with pytest.raises(BadFileError, match=rf"{last.name} is damaged or cut short, so a slice is missing"):
            read(tmp_path / "scan")


def test_a_slice_whose_pixels_are_cut_off_is_named(tmp_path):
    names = [f"slice_{d}.dcm" for d in range(5)]
    write_series(tmp_path / "scan", numbers(), names=names)
    third = tmp_path / "scan" / "slice_2.dcm"
    third.write_bytes(third.read_bytes()[:-20])
    with pytest.raises(BadFileError, match=r"slice_2\.dcm is damaged"):
        read_volume(tmp_path / "scan")


def compressed(source: Path, folder: Path, kind: str) -> None:
    """Write the slices of a series again, compressed by the GDCM that SimpleITK holds, which leaves another locale."""
    folder.mkdir()
    before = locale.setlocale(locale.LC_ALL)
    for path in source.iterdir():
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.KeepOriginalImageUIDOn()
        writer.UseCompressionOn()
        writer.SetCompressor(kind)
        writer.SetFileName(str(folder / path.name))
        writer.Execute(sitk.ReadImage(str(path)))
    locale.setlocale(locale.LC_ALL, before)


@pytest.mark.parametrize(("kind", "syntax"), [("JPEG", JPEGLosslessSV1), ("JPEG2000", JPEG2000Lossless)])
def test_compressed_slices_are_read_as_they_were(kind, syntax, tmp_path):
    """JPEG Lossless is what many archives export."""
    if kind == "JPEG":
        pytest.importorskip("gdcm", reason="python-gdcm of the extra dicom is not installed")
    values = numbers((5, 40, 36))
    write_series(tmp_path / "plain", values)
    compressed(tmp_path / "plain", tmp_path / "packed", kind)
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in (tmp_path / "packed").iterdir()]
    assert {header.file_meta.TransferSyntaxUID for header in headers} == {syntax}
    np.testing.assert_array_equal(read_volume(tmp_path / "packed").values, values)


@pytest.mark.parametrize(
    ("lacking", "remedy"),
    [
        (["pylibjpeg - requires pylibjpeg>=2.0"], "Export it again, uncompressed."),
        (
            ["gdcm - requires gdcm>=3.0.10"],
            "Install what decodes it with pip install 'criinet[dicom]', or export it again, uncompressed.",
        ),
    ],
)
def test_a_compression_that_nothing_here_decodes_is_named(lacking, remedy, tmp_path, monkeypatch):
    """The extra is named where it would help."""
    write_multiframe(tmp_path / "a.dcm", numbers(dtype=np.int16), (1, 1, 1))
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    dataset.compress(pydicom.uid.RLELossless)
    dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
    dataset.save_as(tmp_path / "a.dcm")
    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.missing_dependencies", lacking)
    with pytest.raises(BadFileError) as refused:
        read_volume(tmp_path / "a.dcm")
    said = "is compressed as High-Throughput JPEG 2000 Image Compression (Lossless Only), which cannot be decoded here"
    assert str(refused.value) == f"{tmp_path / 'a.dcm'} {said}. {remedy}"


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
