"""Which files are images and which are volumes, and the name of the case that a file belongs to."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from criinet.data.provenance import NOTE

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
"""Files of one image; a TIFF of several pages is a volume."""

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".h5", ".hdf5", ".dcm")
"""Files of one volume; a folder of DICOM files is one, too."""

SUFFIXES = (*PICTURE_SUFFIXES, *VOLUME_SUFFIXES)
TIFF = (".tif", ".tiff")
_COMPANIONS = (".raw", ".zraw")
"""Pixels that a .nhdr or .mhd header beside them points to."""

_MAGIC = b"DICM"
_DESCRIPTION = 270
_CHANNELS = re.compile(r"(^channels=|\bSizeC=\")(?P<number>\d+)", re.MULTILINE)
_MARK = re.compile(r"[_. -]+(segmentation|(cp[_. -]?)?masks?|seg|gt|labels?)(?P<number>[_. -]?\d+)?$", re.IGNORECASE)


def suffix_of(path: Path) -> str:
    """Return the suffix in lower case, ``.nii.gz`` as one; empty if it is none that is read."""
    name = path.name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix) and len(name) > len(suffix)), "")


def stem_of(path: Path) -> str:
    """Return the name of the case: the file's without its suffix, or the folder's, dots and all."""
    return path.name[: len(path.name) - len(suffix_of(path))]


def comparable(name: str) -> str:
    """Return a case's name as it is compared: in Unicode's form NFC.

    A Mac may store the letter é as e and an accent, and other systems as one character; they look the same. A case
    keeps its image's own spelling, so that whatever is written for it is named like its image.
    """
    return unicodedata.normalize("NFC", name)


def key_of(path: Path) -> str:
    """Return by what the files of one case are told to belong together."""
    return comparable(stem_of(path))


def unmarked(path: Path) -> tuple[str, bool]:
    """Return the key of a mask without a mark like ``_mask`` at its end, and whether a number stood behind the mark."""
    key = key_of(path)
    found = _MARK.search(key)
    return (key, False) if found is None or not found.start() else (key[: found.start()], bool(found["number"]))


def mask_suffix(dims: int) -> str:
    """Return the suffix of the masks that are written: of images (2 axes), or of volumes (3)."""
    return ".png" if dims == 2 else ".nii.gz"


def is_companion(path: Path) -> bool:
    """Tell whether a file holds the pixels of a header file."""
    return path.suffix.lower() in _COMPANIONS


def is_dicom(path: Path) -> bool:
    """Tell whether a file says of itself that it is DICOM; its name does not matter."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == _MAGIC
    except OSError:
        return False


def is_series(path: Path) -> bool:
    """Tell whether a folder directly holds DICOM files, among which a few pictures may lie, as previews do."""
    if not path.is_dir():
        return False
    files = sorted(file for file in path.iterdir() if file.is_file())
    others = [file for file in files if suffix_of(file) not in PICTURE_SUFFIXES]
    return 2 * len(others) > len(files) and any(is_dicom(file) for file in others)


def is_readable(path: Path) -> bool:
    """Tell by its name, or for a folder by its first DICOM file, whether ``path`` is an image or a volume.

    Hidden files are not, as those that macOS puts beside every file on a foreign disk.
    """
    if path.name.startswith("."):
        return False
    return is_series(path) if path.is_dir() else bool(suffix_of(path)) and not is_special(path)


def is_special(path: Path) -> bool:
    """Tell whether ``path`` is a pipe, a socket or a device, from which a reader might wait for ever."""
    return not path.is_file() and not path.is_dir() and path.exists()


def not_read(paths: Iterable[Path]) -> list[str]:
    """Return a sentence on files that are not read for their kind, and one on each folder that holds images of its own.

    Hidden files, pixels that a header file points to, and folders of predicted masks need no word.
    """
    left = [path for path in paths if not (_needs_no_word(path) or is_readable(path))]
    inside = {path: sum(map(is_readable, path.iterdir())) for path in left if path.is_dir()}
    kinds = Counter(_kind(path) for path in left if path not in inside)
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    sentences = [f"files that are not read, for their kind: {listed}"] if kinds else []
    return sentences + [
        f"folder {path} is not looked into, though it holds images or volumes ({count}); move them up"
        for path, count in inside.items()
        if count
    ]


def _needs_no_word(path: Path) -> bool:
    return path.name.startswith(".") or is_companion(path) or (path / NOTE).exists()


def _kind(path: Path) -> str:
    return "pipe, socket or device" if is_special(path) else path.suffix.lower() or "no suffix"


def pages(path: Path) -> int:
    """Return how many pages a TIFF has, 1 for any other or damaged file."""
    if suffix_of(path) not in TIFF:
        return 1
    from PIL import Image

    try:
        with path.open("rb") as file, Image.open(file, formats=("TIFF",)) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # Pillow raises nearly anything on a damaged file; reading it says so in a sentence.
        return 1


def pages_of(path: Path) -> str:
    """Return how many pages a TIFF has, or channels, where its ImageJ or OME description says that they are such."""
    from PIL import Image

    number = pages(path)
    with path.open("rb") as file, Image.open(file, formats=("TIFF",)) as image:
        described = str(getattr(image, "tag_v2", {}).get(_DESCRIPTION, ""))
    channels = _CHANNELS.search(described)
    return f"{number} {'channels' if channels and int(channels['number']) == number else 'pages'}"


def is_volume(path: Path) -> bool:
    """Tell whether ``path`` is a volume: by its suffix, a folder, or a TIFF of several pages."""
    return path.is_dir() or suffix_of(path) in VOLUME_SUFFIXES or pages(path) > 1
