"""Which volumes of a folder are segmented where DICOM files lie in it: none hides another."""

from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_multiframe, write_series

from criinet.data.geometry import Geometry
from criinet.data.inputs import images_in
from criinet.data.volumes import write_labels
from criinet.errors import DataError

VALUES = np.zeros((3, 6, 7), np.int16)


def names(folder: Path) -> list[str]:
    return [path.name for path in images_in(folder)]


def test_one_dicom_file_hides_no_series_beside_it(tmp_path):
    """Nor does the index of a disc, which is a DICOM file but no scan."""
    for name in ("ct1", "ct2"):
        write_series(tmp_path / name, VALUES)
    write_multiframe(tmp_path / "DICOMDIR", VALUES, (1.0, 1.0, 1.0))
    assert names(tmp_path) == ["ct1", "ct2"]
    write_series(tmp_path, VALUES[:1])
    write_labels(tmp_path / "v.nii.gz", VALUES, Geometry.unknown())
    assert names(tmp_path) == ["ct1", "ct2", "im000.dcm", "v.nii.gz"]


def test_slices_beside_other_volumes_are_refused(tmp_path):
    write_series(tmp_path, VALUES)
    assert images_in(tmp_path) == [tmp_path]
    write_series(tmp_path / "ct1", VALUES)
    with pytest.raises(DataError, match=r"holds the slices of a DICOM series beside other volumes, the first is ct1\."):
        images_in(tmp_path)


@pytest.mark.parametrize("marked", [True, False])
def test_files_of_a_scan_each_are_volumes_each_in_whatever_folder(marked, tmp_path):
    """In images/ of a dataset and in any other; a series of one file keeps its folder's name outside of datasets."""
    images = tmp_path / "images"
    images.mkdir()
    if marked:
        (tmp_path / "masks").mkdir()
    write_multiframe(images / "a.dcm", VALUES, (1.0, 1.0, 1.0))
    assert names(images) == (["a.dcm"] if marked else ["images"])
    write_multiframe(images / "b", VALUES, (1.0, 1.0, 1.0))
    assert names(images) == (["a.dcm"] if marked else ["a.dcm", "b"])
    write_multiframe(images / "b.dcm", VALUES, (1.0, 1.0, 1.0))
    (images / "b").unlink()
    assert names(images) == names(tmp_path) == ["a.dcm", "b.dcm"]
    write_series(images, VALUES[:1])
    assert names(images) == names(tmp_path) == ["a.dcm", "b.dcm", "im000.dcm"]
