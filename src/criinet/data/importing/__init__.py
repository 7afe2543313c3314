"""From the layout in which others publish a data set to a dataset folder: first a plan, then the files."""

from collections.abc import Callable
from pathlib import Path

from criinet.data.importing.dicom_trees import plan_dicom
from criinet.data.importing.pictures import plan_busi, plan_isic, plan_kvasir, plan_pairs
from criinet.data.importing.plan import ImportPlan, carry_out
from criinet.data.importing.scans import plan_acdc, plan_msd, plan_nnunet, plan_ssl4mis
from criinet.errors import DataError
from criinet.registry import nearest

__all__ = ["IMPORTERS", "ImportPlan", "carry_out", "plan_import"]

IMPORTERS: dict[str, Callable[[Path, int | None], ImportPlan]] = {
    "acdc": plan_acdc,
    "busi": plan_busi,
    "dicom": plan_dicom,
    "isic": plan_isic,
    "kvasir": plan_kvasir,
    "msd": plan_msd,
    "nnunet": plan_nnunet,
    "pairs": plan_pairs,
    "ssl4mis-h5": plan_ssl4mis,
}


def plan_import(kind: str, source: Path, channel: int | None = None) -> ImportPlan:
    """Say what an import would do; nothing is written.

    Args:
        kind: one of ``IMPORTERS``.
        channel: which channel of scans that have several.

    Raises:
        DataError: if the kind is unknown, or the source has not that layout.
    """
    if kind not in IMPORTERS:
        raise DataError(
            f"there is no import of kind '{kind}'.{nearest(kind, IMPORTERS)} Kinds: {', '.join(IMPORTERS)}."
        )
    if not source.is_dir():
        raise DataError(f"{source} is no folder; give the folder of the unpacked data set.")
    plan = IMPORTERS[kind](source, channel)
    if not plan.items:
        raise DataError(f"{source} holds nothing that looks like {kind}; check the folder, or try another kind.")
    return plan
