"""Formats of volumes, each read by the library that the field keeps for it; nothing is imported before it is needed."""

from pathlib import Path

from criinet.data.formats import dicom, hdf5, itk, nifti, tiff
from criinet.data.formats.volume import Format, Volume, VolumeHeader
from criinet.data.kinds import suffix_of

__all__ = ["Format", "Volume", "VolumeHeader", "format_of"]

_FORMATS: dict[str, Format] = {
    ".nii.gz": nifti.FORMAT,
    ".nii": nifti.FORMAT,
    ".nrrd": itk.FORMAT,
    ".nhdr": itk.FORMAT,
    ".mha": itk.FORMAT,
    ".mhd": itk.FORMAT,
    ".tif": tiff.FORMAT,
    ".tiff": tiff.FORMAT,
    ".h5": hdf5.FORMAT,
    ".hdf5": hdf5.FORMAT,
    ".dcm": dicom.FORMAT,
    "": dicom.FORMAT,
}


def format_of(path: Path) -> Format:
    """Return the format of a file by its suffix; a folder, or a file without a suffix, is DICOM."""
    return _FORMATS[suffix_of(path)] if not path.is_dir() else dicom.FORMAT
