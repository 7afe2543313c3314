"""A file that states voxels of an absurd size is refused by name before anything of that size is made."""

from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from criinet.data.bad_files import BadFileError
from criinet.data.check import check_dataset
from criinet.data.dataset import open_dataset
from criinet.data.formats import Volume
from criinet.data.geometry import Geometry
from criinet.data.grid import require_grid
from criinet.data.predictions import predict_files
from criinet.data.resampling import fit_volume
from criinet.data.settings import DataConfig
from criinet.data.store import load_store
from criinet.errors import DataError
from volume_sets import write_volumes

CONFIG = DataConfig(kind="slices", size=(32, 32), channels=1, window="patch", spacing=(2.0, 1.0, 1.0))


@pytest.fixture
def balls(tmp_path: Path) -> Path:
    """Six volumes of 24 x 20 x 12 voxels of 1 x 1 x 2 mm, of which the last says that they are of 300 mm."""
    root = write_volumes(tmp_path / "data")
    for part in ("images", "masks"):
        stored = nib.load(root / part / "v5.nii.gz")
        affine = np.diag([300.0, 300.0, 300.0, 1.0])
        nib.save(nib.Nifti1Image(np.asanyarray(stored.dataobj), affine), root / part / "v5.nii.gz")
    return root


def test_a_grid_has_no_more_voxels_than_a_volume_may():
    """2048 x 1024 x 1024 voxels are 2^31; one slice more is one too many. Unknown voxels are never resampled."""
    thick = Volume(np.zeros((8, 1, 1), np.uint8), Geometry.unknown((256.0, 1024.0, 1024.0)))
    require_grid(Path("a.nii.gz"), thick, (1.0, 1.0, 1.0))
    require_grid(Path("a.nii.gz"), thick, None)
    more = Volume(np.zeros((8, 1, 1), np.uint8), Geometry.unknown((256.125, 1024.0, 1024.0)))
    with pytest.raises(BadFileError) as refused:
        require_grid(Path("a.nii.gz"), more, (1.0, 1.0, 1.0))
    assert str(refused.value).startswith(
        "a.nii.gz has voxels of 256.1 x 1024 x 1024 mm, so that it would be 2049 x 1024 x 1024 voxels of 1 x 1 x 1 mm, "
        "over 2,147,483,648. Write its voxel size again, for instance from the original scan, or crop it; "
    )
    with pytest.raises(DataError, match="a volume has voxels of"):
        fit_volume(more, DataConfig(kind="slices", size=(32, 32), window="patch", spacing=(1.0, 1.0, 1.0)))
    require_grid(Path("a.nii.gz"), Volume(more.values, Geometry.unknown()), (1e-6, 1e-6, 1e-6))


def test_a_volume_too_large_at_the_median_voxel_is_a_problem_of_its_dataset(balls):
    said = (
        "images/v5.nii.gz has voxels of 300 x 300 x 300 mm, so that it would be 1800 x 6000 x 7200 voxels of 2 x 1 x 1"
    )
    report = check_dataset(balls)
    assert [str(problem).startswith(said) for problem in report.problems] == [True]
    dataset = open_dataset(balls, skip_bad=True)
    assert [case.name for case in dataset.cases] == [f"v{i}" for i in range(5)]
    assert [f"{balls}/{said}" in sentence for sentence in dataset.skipped] == [True]


def test_training_refuses_a_volume_too_large_for_its_grid_by_name(balls):
    dataset = open_dataset(balls)
    with pytest.raises(BadFileError, match=r"v5\.nii\.gz has voxels of 300 x 300 x 300 mm"):
        load_store(dataset, dataset.cases, CONFIG, with_masks=True)


def test_prediction_goes_on_without_a_volume_too_large_for_the_grid_of_its_run(balls):
    paths = sorted((balls / "images").iterdir(), reverse=True)
    segmenter = SimpleNamespace(
        scan_dims=3, spacing=CONFIG.spacing, predict_many=lambda scans: (s.shape for s in scans)
    )
    skipped: list[str] = []
    read: list[Path] = []
    found = [
        path for path, _ in predict_files(segmenter, paths, None, skipped, None, lambda path, _: read.append(path))
    ]
    assert read == found
    assert (found, len(skipped)) == (paths[1:], 1)
    assert skipped[0].startswith(f"{paths[0]} has voxels of 300 x 300 x 300 mm")
    with pytest.raises(BadFileError, match="--skip-bad goes on without them"):
        list(predict_files(segmenter, paths, None, None, None, lambda *_: None))
