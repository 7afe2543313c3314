"""A mask written as DICOM-SEG reads back as the same array in the same place, and belongs to its series."""

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_files import remove_tags, write_multiframe, write_series, write_sparse_segmentation
from scipy.spatial.transform import Rotation

from criinet.data.bad_files import BadFileError
from criinet.data.check import check_dataset
from criinet.data.dataset import open_dataset
from criinet.data.dicom_seg import require_dicom, write_segmentation
from criinet.data.mask_folders import paired_masks
from criinet.data.scans import mask_mismatch
from criinet.data.volumes import read_raw_labels, read_volume, write_labels

CLASSES = ("background", "liver", "spleen", "kidney")


def labels() -> np.ndarray:
    drawn = np.random.default_rng(0).integers(0, 3, (5, 6, 7)).astype(np.uint8)
    drawn[2] = 0
    return drawn


@pytest.mark.parametrize("angles", [(0, 0, 0), (20, -35, 10)])
def test_a_segmentation_reads_back_where_its_series_lies(angles, tmp_path):
    direction = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    write_series(tmp_path / "ct", np.zeros((5, 6, 7), np.int16), direction=direction)
    write_segmentation(tmp_path / "seg.dcm", labels(), tmp_path / "ct", CLASSES)
    back = read_raw_labels(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.values, labels())
    scan = read_volume(tmp_path / "ct")
    np.testing.assert_allclose(back.geometry.affine, scan.geometry.affine, atol=1e-4)


def test_highdicom_reads_the_same_array_and_the_names_of_the_classes(tmp_path):
    write_series(tmp_path / "ct", np.zeros((5, 6, 7), np.int16))
    write_segmentation(tmp_path / "seg.dcm", labels(), tmp_path / "ct", CLASSES)
    segmentation = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert [segmentation.get_segment_description(n).SegmentLabel for n in (1, 2, 3)] == list(CLASSES[1:])
    volume = segmentation.get_volume(combine_segments=True)
    for d in range(5):
        (frame,) = volume.map_reference_to_indices(np.array([[-10.0, 20.0, 30.0 + 2.5 * d]]))
        np.testing.assert_array_equal(volume.array[round(frame[0])], labels()[d])
    scan = pydicom.dcmread(next((tmp_path / "ct").iterdir()))
    assert segmentation.StudyInstanceUID == scan.StudyInstanceUID
    assert segmentation.SeriesInstanceUID != scan.SeriesInstanceUID


def test_frames_of_one_file_are_segmented_in_their_own_order(tmp_path):
    write_multiframe(tmp_path / "ct.dcm", np.zeros((5, 6, 7), np.int16), (3.0, 0.5, 0.6))
    write_segmentation(tmp_path / "seg.dcm", labels(), tmp_path / "ct.dcm", CLASSES)
    np.testing.assert_array_equal(read_raw_labels(tmp_path / "seg.dcm").values, labels())


def test_only_dicom_gets_a_segmentation(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"")
    with pytest.raises(BadFileError, match="is not DICOM"):
        require_dicom(tmp_path / "a.nii.gz")


def test_what_a_series_lacks_for_a_segmentation_is_said(tmp_path):
    """A series without positions, and one without its patient's study, can both be read."""
    for name, tags, sentence in (
        ("unplaced", ("ImagePositionPatient",), "says not where its slices lie, so its mask cannot be a DICOM-SEG"),
        ("foreign", ("StudyInstanceUID", "PatientID"), "lacks what a DICOM-SEG must repeat of its series"),
    ):
        write_series(tmp_path / name, np.zeros((5, 6, 7), np.int16))
        remove_tags(tmp_path / name, *tags)
        assert read_volume(tmp_path / name).shape == (5, 6, 7)
        with pytest.raises(BadFileError, match=f"{name} {sentence}. Leave out --dicom-seg; --skip-bad writes"):
            write_segmentation(tmp_path / "seg.dcm", labels(), tmp_path / name, CLASSES)
        assert not (tmp_path / "seg.dcm").exists()


def test_a_segmentation_is_a_mask_of_a_dataset_and_no_image(tmp_path):
    for name in ("pat.1", "pat.2"):
        write_series(tmp_path / "data" / "images" / name, np.zeros((5, 6, 7), np.int16))
    (tmp_path / "data" / "masks").mkdir()
    scan = tmp_path / "data" / "images" / "pat.1"
    write_segmentation(tmp_path / "data" / "masks" / "pat.1.dcm", labels(), scan, CLASSES[:3])
    report = check_dataset(tmp_path / "data")
    assert report.problems == ()
    dataset = open_dataset(tmp_path / "data")
    assert [case.name for case in dataset.labeled] == ["pat.1"]
    np.testing.assert_array_equal(dataset.read_mask(dataset.case("pat.1")), labels())
    with pytest.raises(BadFileError, match="holds no DICOM image"):
        read_volume(tmp_path / "data" / "masks" / "pat.1.dcm")


@pytest.mark.parametrize("kept", [(1, 2, 3), (2,), (1, 3)])
def test_slices_that_a_segmentation_leaves_out_are_background(kept, tmp_path):
    """For `data check`, a dataset opened either way, training's look at headers, and `evaluate` on either side."""
    root = tmp_path / "data"
    write_series(root / "images" / "a", np.zeros((5, 6, 7), np.int16))
    (root / "masks").mkdir()
    (root / "dataset.json").write_text('{"classes": ["background", "x", "y"], "partial": false}')
    whole = np.where(np.isin(np.arange(5), kept)[:, None, None], 1 + labels() % 2, 0).astype(np.uint8)
    write_sparse_segmentation(root / "masks" / "a.dcm", whole, root / "images" / "a")
    assert read_raw_labels(root / "masks" / "a.dcm").values.shape[0] < 5
    report = check_dataset(root)
    assert report.problems == ()
    assert report.classes[0].pixels == pytest.approx(1 - len(kept) / 5)
    for skip_bad in (False, True):
        dataset = open_dataset(root, skip_bad=skip_bad)
        np.testing.assert_array_equal(dataset.read_mask(dataset.case("a")), whole)
    assert mask_mismatch(root / "masks" / "a.dcm", root / "images" / "a", 3) is None
    (tmp_path / "found").mkdir()
    write_labels(tmp_path / "found" / "a.nii.gz", whole, read_volume(root / "images" / "a").geometry)
    for folders in ((tmp_path / "found", root / "masks"), (root / "masks", tmp_path / "found")):
        (pair,) = paired_masks(*folders)
        np.testing.assert_array_equal(pair.prediction, whole)
        np.testing.assert_array_equal(pair.target, whole)


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ((1, 1), "has segments that overlap, but a voxel has one class. Export it with segments that do not overlap."),
        ((0.8, 0.0), "holds fractions, as of probabilities, but a voxel is in a segment or not. Export it as a binary"),
    ],
)
def test_a_segmentation_that_is_no_mask_says_why(shares, said, tmp_path):
    """A sound file is not called damaged."""
    write_series(tmp_path / "ct", np.zeros((5, 6, 7), np.int16))
    segments = np.zeros((5, 6, 7, 2), type(shares[0]))
    segments[1:4, 2:4, 2:5] = shares
    segments[1:4, 1, 1, 1] = 1
    write_sparse_segmentation(tmp_path / "seg.dcm", segments, tmp_path / "ct")
    with pytest.raises(BadFileError) as refused:
        read_raw_labels(tmp_path / "seg.dcm", tmp_path / "ct")
    assert str(refused.value).startswith(f"{tmp_path / 'seg.dcm'} {said}")


def test_fractions_of_0_and_1_are_a_mask(tmp_path):
    write_series(tmp_path / "ct", np.zeros((5, 6, 7), np.int16))
    drawn = labels()
    write_sparse_segmentation(tmp_path / "seg.dcm", np.stack([drawn == 1, drawn == 2], -1) * 1.0, tmp_path / "ct")
    np.testing.assert_array_equal(read_raw_labels(tmp_path / "seg.dcm", tmp_path / "ct").values, drawn)


def test_a_segmentation_beyond_its_image_is_none_of_its_masks(tmp_path):
    write_series(tmp_path / "ct", np.zeros((5, 6, 7), np.int16))
    write_series(tmp_path / "higher", np.zeros((5, 6, 7), np.int16), origin=(-10.0, 20.0, 35.0))
    write_sparse_segmentation(
        tmp_path / "seg.dcm", np.ones((5, 6, 7), np.uint8) * (np.arange(5) > 1)[:, None, None], tmp_path / "higher"
    )
    problem = mask_mismatch(tmp_path / "seg.dcm", tmp_path / "ct", 3)
    assert problem is not None
    assert "is 7x6x3 but its image is 7x6x5" in str(problem)
