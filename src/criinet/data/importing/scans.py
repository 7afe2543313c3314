"""Data sets of volumes: ACDC, nnU-Net raw, Medical Segmentation Decathlon, and HDF5 of semi-supervised benchmarks."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from criinet.data.bad_files import BadFileError
from criinet.data.formats import Volume
from criinet.data.formats.nifti import count_channels, read_channel
from criinet.data.geometry import Geometry
from criinet.data.importing.plan import Content, ImportPlan, Item, Source, Wanted, Written, whole
from criinet.data.importing.published_lists import read_lists
from criinet.data.importing.sources import files_below, masks_by_case, readable_files, told, without_image
from criinet.data.importing.task_card import read_task_card
from criinet.data.kinds import PICTURE_SUFFIXES, is_volume, stem_of, suffix_of
from criinet.data.masks import IGNORED_VALUE, read_raw_mask
from criinet.data.threads import in_threads
from criinet.data.volumes import RawLabels, read_raw_labels, read_volume
from criinet.errors import DataError

_NIFTI = (".nii.gz", ".nii")
_PARTS = ("Tr", "Ts")
_HEART = ["background", "RV", "myocardium", "LV"]
_FRAME = re.compile(r"patient.*_frame.*")


def plan_acdc(source: Path, _: Wanted) -> ImportPlan:
    """ACDC: ``patient*/patient*_frame*.nii.gz`` and ``*_gt.nii.gz``; a patient is a group."""
    frames = [path for path in files_below(source) if suffix_of(path) in _NIFTI and _FRAME.fullmatch(stem_of(path))]
    drawn = [path for path in frames if stem_of(path).endswith("_gt")]
    masks = masks_by_case(drawn, lambda path: stem_of(path).removesuffix("_gt"))
    images = {path: stem_of(path) for path in frames if not stem_of(path).endswith("_gt")}
    items = [Item(name, path, masks.get(name), name.partition("_")[0]) for path, name in images.items()]
    card = {"name": "acdc", "classes": _HEART, "modality": "MR", "source": "ACDC"}
    left_out = without_image(masks, images.values())
    return ImportPlan(tuple(items), card, left_out=tuple(left_out))


def _mask(path: Path | None, ignored: int | None) -> Source | None:
    """Return a mask as it is, as one file, or with the ignored value brought to ours; None if there is no file."""
    if path is None or ignored is None:
        return None if path is None else whole(path, labels=True)
    is_picture = suffix_of(path) in PICTURE_SUFFIXES and not is_volume(path)

    def make() -> Content:
        raw = read_raw_mask(path) if is_picture else read_raw_labels(path)
        values = np.where(raw.values == ignored, IGNORED_VALUE, raw.values).astype(np.uint8)
        return values, raw.geometry if isinstance(raw, RawLabels) else None

    return Written(".png" if is_picture else ".nii.gz", make)


def _require_channel(source: Path, channel: int | None, there: Mapping[str, str]) -> None:
    """Check that one of the channels was chosen where there are several, and that it is there.

    Args:
        there: the name of each by its number, "" of one without a name.

    Raises:
        DataError: otherwise.
    """
    said = ", ".join(f"{number} {name}".strip() for number, name in there.items())
    if channel is None and len(there) > 1:
        raise DataError(f"{source} has {len(there)} channels ({said}), but one can be read; choose it with --channel.")
    if channel is not None and there and str(channel) not in there:
        one = f"its only one is {said}; leave out --channel" if len(there) == 1 else f"choose one of {said}"
        raise DataError(f"{source} has no channel {channel}; {one}.")


def _labels_of(folder: Path) -> dict[str, Path]:
    return masks_by_case(readable_files(folder), stem_of)


def plan_nnunet(source: Path, wanted: Wanted) -> ImportPlan:
    """nnU-Net raw data: ``imagesTr/CASE_0000.nii.gz``, ``labelsTr/CASE.nii.gz``, ``imagesTs``, versions 1 and 2.

    Raises:
        DataError: if cases have several channels and none was chosen, or one that is not there.
    """
    task, number = read_task_card(source), wanted.channel or 0
    items: list[Item] = []
    left_out: list[str] = []
    channels: set[int] = set()
    for part in _PARTS:
        labels = _labels_of(source / f"labels{part}")
        cases, others = _cases_in(source / f"images{part}")
        channels.update(*cases.values())
        for case, files in cases.items():
            if number in files:
                items.append(Item(case, whole(files[number]), _mask(labels.get(case), task.ignored), case))
        lacking = [case for case, files in cases.items() if number not in files]
        left_out += told(f"cases left out, as they have no channel {number}", lacking)
        left_out += told("images left out, as no channel like _0000 ends their name", others)
        left_out += without_image(labels, cases)
    _require_channel(source, wanted.channel, {str(n): task.channels.get(str(n), "") for n in sorted(channels)})
    return ImportPlan(tuple(items), task.described(source, number), left_out=tuple(left_out))


def _cases_in(folder: Path) -> tuple[dict[str, dict[int, Path]], list[str]]:
    """Return the images of nnU-Net by case and channel, and the names of files that say none."""
    cases: defaultdict[str, dict[int, Path]] = defaultdict(dict)
    others: list[str] = []
    for path in readable_files(folder):
        if found := re.fullmatch(r"(.+)_(\d{4})", stem_of(path)):
            cases[found[1]][int(found[2])] = path
        else:
            others.append(path.name)
    return cases, others


def plan_msd(source: Path, wanted: Wanted) -> ImportPlan:
    """Medical Segmentation Decathlon: ``imagesTr``, ``labelsTr``, ``imagesTs``; several channels are a fourth axis.

    Raises:
        DataError: if cases have several channels and none was chosen, or one that is not there.
    """
    task, number = read_task_card(source), wanted.channel or 0
    images = {part: readable_files(source / f"images{part}") for part in _PARTS}
    count = _common_channels([path for part in _PARTS for path in images[part]])
    _require_channel(source, wanted.channel, {str(n): task.channels.get(str(n), "") for n in range(count)})
    items: list[Item] = []
    left_out: list[str] = []
    for part in _PARTS:
        labels = _labels_of(source / f"labels{part}")
        for path in images[part]:
            image = whole(path) if count < 2 else Written(".nii.gz", _channel_of(path, number))
            items.append(Item(stem_of(path), image, _mask(labels.get(stem_of(path)), task.ignored), stem_of(path)))
        left_out += without_image(labels, [stem_of(path) for path in images[part]])
    return ImportPlan(tuple(items), task.described(source, number), left_out=tuple(left_out))


def _common_channels(images: Sequence[Path]) -> int:
    """Return how many channels every image has; 0 if there is no image.

    Raises:
        BadFileError: if a header cannot be read, or one has another number than the first.
    """
    counts = in_threads(lambda path: count_channels(path) if suffix_of(path) in _NIFTI else 1, images)
    for path, count in zip(images, counts, strict=True):
        if count != counts[0]:
            what = f"has another number of channels ({count}) than {images[0].name} ({counts[0]})"
            raise BadFileError(path, what, "Import those of each number apart")
    return counts[0] if counts else 0


def _channel_of(path: Path, channel: int) -> Callable[[], Content]:
    def make() -> Content:
        volume = read_channel(path, channel)
        return volume.values, volume.geometry

    return make


def plan_ssl4mis(source: Path, _: Wanted) -> ImportPlan:
    """HDF5 of SSL4MIS (``data/*.h5``) and UA-MT (``NAME/mri_norm2.h5``), with their lists as the split.

    UA-MT stores (w, h, d); SSL4MIS (d, h, w). Both become NIfTI without a known spacing. Labels of hearts are known by
    their names and values alone.
    """
    files = [path for path in files_below(source) if path.suffix.lower() == ".h5"]
    volumes = [path for path in files if not _is_slice(path.relative_to(source))]
    items: list[Item] = []
    for path in volumes:
        turned = path.stem == "mri_norm2"
        name = path.parent.name if turned else path.stem
        image, mask = (Written(".nii.gz", _from_h5(path, labels, turned)) for labels in (False, True))
        items.append(Item(name, image, mask, name.partition("_frame")[0]))
    splits, left_out = read_lists(source, [item.name for item in items])
    if slices := len(files) - len(volumes):
        left_out.insert(0, f"{slices} files of slices are left out: the volumes hold the same")
    classes = _classes_of(volumes) if volumes else []
    card = {"name": re.sub(r"\W+", "-", source.resolve().name), "classes": classes}
    return ImportPlan(tuple(items), card, splits, tuple(left_out))


def _is_slice(path: Path) -> bool:
    """Tell by the folders of a file whether it is one slice of a volume."""
    return any(parent.name.lower().endswith("slices") for parent in path.parents)


def _classes_of(files: Sequence[Path]) -> list[str]:
    """Return names for the values of all labels; those of ACDC where the files are called like its patients."""
    found = in_threads(lambda path: set(np.unique(read_raw_labels(path).values).tolist()), files)
    values: set[int] = set().union(*found)
    if max(values) == len(_HEART) - 1 and all("patient" in path.name for path in files):
        return _HEART
    if values <= {0, 1} or values <= {0, 255}:
        return ["background", "foreground"]
    return ["background", *(f"class {value}" for value in range(1, max(values) + 1))]


def _from_h5(path: Path, labels: bool, turned: bool) -> Callable[[], Content]:
    def make() -> Content:
        found: Volume = Volume(read_raw_labels(path).values, Geometry.unknown()) if labels else read_volume(path)
        values = found.values.transpose(2, 1, 0) if turned else found.values
        return values.astype(np.float32) if values.dtype.kind == "f" else values, Geometry.unknown()

    return make
