"""From the layout in which others publish a data set to a dataset folder: first a plan, then the files."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from criinet.data.bad_files import without_hints
from criinet.data.importing.coco import plan_coco
from criinet.data.importing.dicom_trees import plan_dicom
from criinet.data.importing.labelme import plan_labelme
from criinet.data.importing.pictures import plan_busi, plan_isic, plan_kvasir, plan_pairs
from criinet.data.importing.plan import ImportPlan, Wanted, carry_out, require_card
from criinet.data.importing.scans import plan_acdc, plan_msd, plan_nnunet, plan_ssl4mis
from criinet.data.layout import require_finished
from criinet.errors import DataError
from criinet.registry import nearest

__all__ = ["IMPORTERS", "ImportPlan", "Wanted", "carry_out", "plan_import"]

IMPORTERS: dict[str, Callable[[Path, Wanted], ImportPlan]] = {
    "acdc": plan_acdc,
    "busi": plan_busi,
    "coco": plan_coco,
    "dicom": plan_dicom,
    "isic": plan_isic,
    "kvasir": plan_kvasir,
    "labelme": plan_labelme,
    "msd": plan_msd,
    "nnunet": plan_nnunet,
    "pairs": plan_pairs,
    "ssl4mis-h5": plan_ssl4mis,
}
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "--channel": ("msd", "nnunet", "pairs"),
    "--structure": ("coco", "dicom", "labelme", "pairs"),
    "--any-value-is-object": ("pairs",),
}
"""The kinds that each option means something to."""


@without_hints()
def plan_import(kind: str, source: Path, wanted: Wanted | None = None) -> ImportPlan:
    """Say what an import would do; nothing is written.

    Args:
        kind: one of ``IMPORTERS``.
        wanted: which channel or structures to take; None leaves it to the source.

    Raises:
        DataError: if the kind is unknown, does not have what is wanted, or the source has not that layout, or says what
            no dataset can.
    """
    if kind not in IMPORTERS:
        raise DataError(
            f"there is no import of kind '{kind}'.{nearest(kind, IMPORTERS)} Kinds: {', '.join(IMPORTERS)}."
        )
    if not source.is_dir():
        raise DataError(f"{source} is no folder; give the folder of the unpacked data set.")
    require_finished(source)
    wanted = wanted or Wanted()
    asked = (wanted.channel is not None, bool(wanted.structures), wanted.any_value_is_object)
    for option, given in zip(_OPTIONS, asked, strict=True):
        if given and kind not in _OPTIONS[option]:
            raise DataError(f"{option} says nothing to {kind}, only to {' and '.join(_OPTIONS[option])}; leave it out.")
    if wanted.structures and wanted.any_value_is_object:
        raise DataError(
            "--structure takes colours apart that --any-value-is-object makes one object; give one of them."
        )
    plan = IMPORTERS[kind](source, wanted)
    if not plan.items:
        raise DataError(f"{source} holds nothing that looks like {kind}; check the folder, or try another kind.")
    require_card(source, plan.card)
    return replace(plan, wanted=wanted, source=source)
