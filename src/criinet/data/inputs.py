"""Which files a prediction reads: a folder of images or volumes, or of a dataset, or a part of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from criinet.data.card import declared_spacing, read_card
from criinet.data.formats.dicom import scans_apart
from criinet.data.geometry import Spacing, voxel_of
from criinet.data.kinds import PICTURE_SUFFIXES, SUFFIXES, is_readable, is_series, is_special, key_of, suffix_of
from criinet.data.patient_folders import IMAGE_FOLDERS, folders_of_images, gathered
from criinet.data.provenance import NOTE
from criinet.errors import ConfigError, DataError


@dataclass(frozen=True)
class Part:
    """Which images of a folder are segmented: the ``number``-th of ``of`` parts, and of these, what is not done yet.

    resume: leave out images whose mask the same weights and options have written already.
    """

    number: int = 1
    of: int = 1
    resume: bool = False

    @classmethod
    def parse(cls, text: str, *, resume: bool = False) -> "Part":
        """Read ``"2/8"``.

        Raises:
            ConfigError: if it is anything else, or beyond the last part.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigError(
                f"--shard {text} is no part of the images; give for instance 1/8 to 8/8, one to each process."
            )
        return cls(int(found[1]), int(found[2]), resume)

    @property
    def begins_anew(self) -> bool:
        """Whether masks that are there already count for nothing."""
        return self.of == 1 and not self.resume


def images_in(folder: Path) -> list[Path]:
    """Return the images or volumes of a folder, of its images/ if it is a dataset, or the one that was given.

    A folder of the slices of a DICOM series is one volume.

    Raises:
        DataError: if there is none, two share a stem, since their masks would share a name, or slices of a series lie
            among other volumes.
    """
    if folder.is_file():
        return [folder]
    apart: list[Path] = []
    if (folder / "images").is_dir():
        folder = folder / "images"
    elif is_series(folder) and not is_of_dataset(folder):
        others, scans = volumes_beside(folder), scans_apart(folder)
        if not others and (scans is None or len(scans) < 2):
            return [folder]
        if scans is None:
            what = f"{folder} holds the slices of a DICOM series beside other volumes, the first is {others[0].name}"
            raise DataError(f"{what}. Put the slices into a folder of their own.")
        apart = scans
    if is_special(folder):
        raise DataError(f"{folder} is a pipe, socket or device. Give a folder of images, or one image.")
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist. Give a folder of images, or one image.")
    found = sorted({*apart, *(path for path in folder.iterdir() if is_readable(path))})
    if not found:
        command = gathered(folder.parent if folder.name.lower() in IMAGE_FOLDERS else folder)
        below = [path for top in (folder, *sorted(folder.iterdir())) if top.is_dir() for path in folders_of_images(top)]
        if below:
            gather = f", or let {command} gather all" if command else ""
            raise DataError(f"{folder} holds no images itself, but {below[0]} does; give one such folder{gather}.")
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise DataError(f"{folder} holds no images. Supported are {kinds}.")
    same: dict[str, Path] = {}
    for path in found:
        if same.setdefault(key_of(path), path) is not path:
            raise DataError(f"{path} and {same[key_of(path)].name} share a name, so would their masks. Rename one.")
    return found


def is_of_dataset(folder: Path) -> bool:
    """Tell whether a folder is images/ of a dataset, where every file is a case."""
    home = folder.absolute().parent
    return folder.absolute().name == "images" and ((home / "masks").is_dir() or (home / "dataset.json").exists())


def volumes_beside(folder: Path) -> list[Path]:
    """Return the volumes of a folder beside the DICOM files in it: series in folders, and files of other formats."""
    dicom_or_picture = (".dcm", *PICTURE_SUFFIXES)
    found = sorted(path for path in folder.iterdir() if is_readable(path))
    return [path for path in found if path.is_dir() or suffix_of(path) not in dicom_or_picture]


def spare_originals(paths: Sequence[Path], out: Path) -> None:
    """Refuse to write masks over the images themselves, or over files that no prediction wrote, as true masks are.

    Raises:
        DataError: if ``out`` is the folder of the images, or masks/ of their dataset with masks in it, or holds an
            image or a volume of the name of one of them without the note that predictions leave.
    """
    home = paths[0].parent.resolve()
    truth = home.parent / "masks"
    taken = home.name == "images" and truth.is_dir() and any(truth.iterdir())
    if out.resolve() == home or (taken and out.resolve() == truth):
        raise DataError(f"{out} holds the originals, which masks would overwrite. Give --out another folder.")
    if not out.is_dir() or (out / NOTE).exists():
        return
    names = {key_of(path) for path in paths}
    theirs = next((path for path in sorted(out.iterdir()) if is_readable(path) and key_of(path) in names), None)
    if theirs is not None:
        raise DataError(
            f"{out} holds {theirs.name}, which no prediction wrote and a mask would replace. Give --out another folder."
        )


def declared_voxel(path: Path) -> Spacing | None:
    """Return the voxel (d, h, w) in mm that the dataset.json of a volume's own dataset says, None without any.

    Raises:
        BadFileError: if dataset.json cannot be used.
    """
    home = path.parent.absolute()
    if home.name != "images":
        return None
    return voxel_of(declared_spacing(read_card(home.parent), home.parent, 3), 3)
