"""Data sets of volumes: ACDC, nnU-Net raw, Medical Segmentation Decathlon, and HDF5 of semi-supervised benchmarks."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from criinet.data.bad_files import BadFileError
from criinet.data.formats import Volume
from criinet.data.formats.nifti import read_channel
from criinet.data.geometry import Geometry
from criinet.data.importing.plan import Content, ImportPlan, Item, Source, Wanted, Written, whole
from criinet.data.kinds import stem_of, suffix_of
from criinet.data.masks import IGNORED_VALUE
from criinet.data.volumes import read_raw_labels, read_volume
from criinet.errors import DataError


def plan_acdc(source: Path, _: Wanted) -> ImportPlan:
    """ACDC: ``patient*/patient*_frame*.nii.gz`` and ``*_gt.nii.gz``; a patient is a group."""
    items: list[Item] = []
    for path in sorted(source.rglob("patient*_frame*.nii*")):
        name = stem_of(path)
        if name.endswith("_gt") or not suffix_of(path):
            continue
        mask = path.with_name(f"{name}_gt{suffix_of(path)}")
        items.append(Item(name, path, mask if mask.exists() else None, name.partition("_")[0]))
    classes = ["background", "RV", "myocardium", "LV"]
    return ImportPlan(tuple(items), {"name": "acdc", "classes": classes, "modality": "MR", "source": "ACDC"})


def _card(source: Path) -> dict[str, Any]:
    """Read the dataset.json of an nnU-Net or Decathlon folder.

    Raises:
        BadFileError: if it is missing or malformed.
    """
    path = source / "dataset.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        labels = content["labels"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "Give the folder that holds dataset.json, imagesTr and labelsTr"
        raise BadFileError(path, "is missing or names no labels", remedy) from error
    if not isinstance(labels, dict) or not labels:
        raise BadFileError(path, "has labels that are no table", 'Write for instance {"background": 0, "liver": 1}')
    return content


def _labels(card: Mapping[str, Any]) -> tuple[list[str], dict[str, list[str]], int | None]:
    """Return class names by value, regions as unions of them, and the value that means "no ground truth"."""
    labels: dict[str, Any] = card["labels"]
    if all(str(key).isdigit() for key in labels):
        by_value = {int(value): str(name) for value, name in labels.items()}
        return [by_value.get(v, f"class {v}") for v in range(max(by_value) + 1)], {}, None
    labels = {name: int(v) if isinstance(v, str) and v.isdigit() else v for name, v in labels.items()}
    ignored = labels.get("ignore")
    plain = {int(v): str(name) for name, v in labels.items() if isinstance(v, int) and name != "ignore"}
    unions = {str(name): [int(v) for v in values] for name, values in labels.items() if isinstance(values, list)}
    top = max([*plain, *(value for values in unions.values() for value in values)])
    classes = [plain.get(value, f"class {value}" if value else "background") for value in range(top + 1)]
    regions = {name: [classes[value] for value in values] for name, values in unions.items()}
    return classes, regions, None if ignored is None else int(ignored)


def _described(source: Path, content: Mapping[str, Any], channel: int | None) -> tuple[dict[str, Any], int | None]:
    """Return the card of the new dataset, and the ignored value."""
    classes, regions, ignored = _labels(content)
    channels: dict[str, str] = content.get("channel_names") or content.get("modality") or {}
    modality = str(channels.get(str(channel or 0), "")).upper()
    card: dict[str, Any] = {"name": str(content.get("name") or source.resolve().name), "classes": classes}
    card |= {"regions": regions} if regions else {}
    card |= {"ignore": True} if ignored is not None else {}
    if modality.startswith(("CT", "MR")) or modality in ("T1", "T2", "FLAIR", "LGE"):
        card["modality"] = "CT" if modality.startswith("CT") else "MR"
    card |= {
        key: str(content[old]) for key, old in (("licence", "licence"), ("source", "reference")) if content.get(old)
    }
    return card, ignored


def _mask(path: Path | None, ignored: int | None) -> Source | None:
    """Return a mask as it is, as one file, or with the ignored value brought to ours; None if there is no file."""
    if path is None or not path.exists():
        return None
    if ignored is None:
        return whole(path, labels=True)

    def make() -> Content:
        raw = read_raw_labels(path)
        return np.where(raw.values == ignored, IGNORED_VALUE, raw.values).astype(np.uint8), raw.geometry

    return Written(".nii.gz", make)


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


def plan_nnunet(source: Path, wanted: Wanted) -> ImportPlan:
    """nnU-Net raw data: ``imagesTr/CASE_0000.nii.gz``, ``labelsTr/CASE.nii.gz``, ``imagesTs``, versions 1 and 2.

    Raises:
        DataError: if cases have several channels and none was chosen, or one that is not there.
    """
    content, channel = _card(source), wanted.channel
    card, ignored = _described(source, content, channel)
    items: list[Item] = []
    channels: set[int] = set()
    for part in ("Tr", "Ts"):
        labels = {stem_of(path): path for path in sorted((source / f"labels{part}").glob("*")) if suffix_of(path)}
        for path in sorted((source / f"images{part}").glob("*")):
            found = re.fullmatch(r"(.+)_(\d{4})", stem_of(path))
            if found is None or not suffix_of(path) or path.name.startswith("."):
                continue
            channels.add(int(found[2]))
            if int(found[2]) == (channel or 0):
                items.append(Item(found[1], whole(path), _mask(labels.get(found[1]), ignored), found[1]))
    names: dict[str, str] = content.get("channel_names") or content.get("modality") or {}
    _require_channel(source, channel, {str(number): names.get(str(number), "") for number in sorted(channels)})
    return ImportPlan(tuple(items), card)


def plan_msd(source: Path, wanted: Wanted) -> ImportPlan:
    """Medical Segmentation Decathlon: ``imagesTr``, ``labelsTr``, ``imagesTs``; several channels are a fourth axis.

    Raises:
        DataError: if cases have several channels and none was chosen, or one that is not there.
    """
    content, channel = _card(source), wanted.channel
    card, ignored = _described(source, content, channel)
    names: dict[str, str] = content.get("modality") or {}
    _require_channel(source, channel, names)
    items: list[Item] = []
    for part in ("Tr", "Ts"):
        for path in sorted((source / f"images{part}").glob("*.nii.gz")):
            if path.name.startswith("."):
                continue
            image = path if len(names) < 2 else Written(".nii.gz", _channel_of(path, channel or 0))
            items.append(
                Item(stem_of(path), image, _mask(source / f"labels{part}" / path.name, ignored), stem_of(path))
            )
    return ImportPlan(tuple(items), card)


def _channel_of(path: Path, channel: int) -> Callable[[], Content]:
    def make() -> Content:
        volume = read_channel(path, channel)
        return volume.values, volume.geometry

    return make


def plan_ssl4mis(source: Path, _: Wanted) -> ImportPlan:
    """HDF5 of SSL4MIS (``data/*.h5``) and UA-MT (``NAME/mri_norm2.h5``), with their lists as the split.

    UA-MT stores (w, h, d); SSL4MIS (d, h, w). Both become NIfTI without a known spacing.
    """
    files = sorted(path for path in source.rglob("*.h5") if "slices" not in path.parts)
    items: list[Item] = []
    for path in files:
        turned = path.stem == "mri_norm2"
        name = path.parent.name if turned else path.stem
        group = name.partition("_frame")[0]
        image, mask = (Written(".nii.gz", _from_h5(path, labels, turned)) for labels in (False, True))
        items.append(Item(name, image, mask, group))
    known = {item.name for item in items}
    splits = {part: _listed(source, part, known) for part in ("train", "val", "test")}
    slices = sum(1 for path in source.rglob("*.h5") if "slices" in path.parts)
    left_out = (f"{slices} files of slices are left out: the volumes hold the same",) if slices else ()
    four = any("patient" in item.name for item in items)
    classes = ["background", "RV", "myocardium", "LV"] if four else ["background", "foreground"]
    card = {"name": re.sub(r"\W+", "-", source.resolve().name), "classes": classes, "modality": "MR"}
    return ImportPlan(tuple(items), card, splits if splits["train"] and splits["test"] else {}, left_out)


def _listed(source: Path, part: str, known: set[str]) -> list[str]:
    """Return the cases of the file ``PART.list``; a list of slices names their volumes."""
    path = next(iter(sorted(source.rglob(f"{part}.list"))), None)
    lines = [] if path is None else path.read_text(encoding="utf-8").split()
    names = (re.sub(r"(_slice_\d+)?(\.h5)?$", "", line.rstrip("/").removesuffix("/mri_norm2.h5")) for line in lines)
    return [name for name in dict.fromkeys(names) if name in known]


def _from_h5(path: Path, labels: bool, turned: bool) -> Callable[[], Content]:
    def make() -> Content:
        found: Volume = Volume(read_raw_labels(path).values, Geometry.unknown()) if labels else read_volume(path)
        values = found.values.transpose(2, 1, 0) if turned else found.values
        return values.astype(np.float32) if values.dtype.kind == "f" else values, Geometry.unknown()

    return make
