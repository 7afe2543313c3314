"""`criinet data` and `criinet split`: look at a dataset before anything is trained on it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from criinet.cli.options import AsJson, GroupBy, Labeled

if TYPE_CHECKING:
    from criinet.data.check import CheckReport

app = typer.Typer(help="Check, group and import datasets.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """Check, group and import datasets."""


@app.command("check")
def check(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder with images/ and masks/.")],
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the contact sheet goes. [default: ./NAME_check.png]")
    ] = None,
    group_by: GroupBy = None,
    as_json: AsJson = False,
) -> None:
    """Read every file and list every problem; exit 2 if there are any, draw a contact sheet if there are none."""
    import json
    import re

    from criinet.cli.outputs import require_replaceable
    from criinet.cli.show import bar, err, out, table
    from criinet.data.check import check_dataset, joined
    from criinet.data.contact_sheet import contact_sheet, is_contact_sheet
    from criinet.data.dataset import open_dataset

    if sheet is not None:
        require_replaceable(sheet, "a contact sheet", is_contact_sheet, "Give --sheet another name")
    with bar("checking") as advance:
        report = check_dataset(dataset, groups=group_by, advance=advance)
    if as_json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        out.print(table(report.name, ("what", "found"), facts(report), words=True))
        for note in report.notes:
            out.print(f"note: {note}")
    sentences = joined(report.problems)
    for sentence in sentences:
        err.print(f"criinet: {sentence}")
    if report.problems:
        count = f"{len(report.problems)} problem{'s' if len(report.problems) > 1 else ''}"
        count += ", --json lists the file of each" if len(sentences) < len(report.problems) else ""
        err.print(f"criinet: {count}; a contact sheet is drawn once there are none.")
        raise typer.Exit(2)
    sheet = sheet or Path(re.sub(r"\W+", "-", report.name) + "_check.png")
    contact_sheet(open_dataset(dataset, groups=group_by), sheet)
    err.print(f"contact sheet: {sheet}")


@app.command("import")
def import_(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="acdc, busi, coco, dicom, isic, kvasir, labelme, msd, nnunet, pairs or ssl4mis-h5."
        ),
    ],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder of the unpacked data set.")],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of the new dataset.")],
    channel: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Which channel of scans, or page of TIFF images (pairs), that have several; 0 is the first.",
        ),
    ] = None,
    structure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Name of what was drawn (coco, dicom, labelme), or NAME=COLOUR of masks in colour (pairs); "
            "repeat it for more classes.",
        ),
    ] = None,
    any_value_is_object: Annotated[
        bool,
        typer.Option(
            "--any-value-is-object",
            help="For pairs: every value above 0 is the object, as in numbered instances; masks of one image are "
            "joined.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
) -> None:
    """Convert a data set of another layout to a dataset folder; a second run writes only what is missing."""
    from criinet.cli.show import bar, err, out
    from criinet.data.importing import Wanted, carry_out, plan_import

    plan = plan_import(kind, source, Wanted(channel, tuple(structure or ()), any_value_is_object))
    for line in plan.summary():
        out.print(line)
    if dry_run:
        err.print(f"nothing was written to {dataset} (--dry-run)")
        return
    with bar("importing") as advance:
        written = carry_out(plan, dataset, advance)
    left = plan.files - written
    there = f", the other {left} were there already" if left else ""
    err.print(f"{dataset}: {written} files written{there}; next: `criinet data check {dataset}`")


@app.command("groups")
def groups(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder with images/ and masks/.")],
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Regular expression of the patient in a name, as 'P[0-9]+'. [default: how names begin alike]",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
) -> None:
    """Write groups.csv, which keeps the images of a patient in one part of a split, from the names of the images."""
    from collections import Counter

    from criinet.cli.show import err, out
    from criinet.data.patients import listed, propose_groups, write_groups

    found = propose_groups(dataset, pattern)
    sizes = Counter(found.values()).values()
    span = str(min(sizes)) if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    out.print(f"{len(sizes)} groups of {len(found)} images, {span} in each: {listed(found.values())}")
    if dry_run:
        err.print(f"nothing was written to {dataset} (--dry-run)")
        return
    write_groups(dataset, found)
    err.print(f"{dataset / 'groups.csv'}: look whether its groups are your patients; --pattern tells them otherwise")


def facts(report: "CheckReport") -> list[tuple[str, str]]:
    """Return what a dataset holds, line by line."""
    rows = [
        (
            "images" if report.dims == 2 else "volumes",
            f"{report.images}: {report.rgb} colour, {report.gray} gray, {report.deep} of more than 8 bits",
        ),
        ("masks", f"{report.masks}: {report.empty_masks} empty"),
        ("unlabeled", str(report.unlabeled)),
        ("groups", str(report.groups) if report.groups_given else "none given"),
    ]
    if report.sizes is not None:
        found = (report.sizes.depth, report.sizes.height, report.sizes.width)
        sides = [(side[0], side[1], side[2]) for side in found if side is not None]
        spans = [str(low) if low == high else f"{low} to {high} (median {mid})" for low, mid, high in sides]
        axes = "height, width" if report.sizes.depth is None else "slices, height, width"
        rows.append((axes, f"{', '.join(spans)}; {report.sizes.distinct} sizes"))
    if report.sizes is not None and report.sizes.depth is not None:
        steps = [" x ".join(f"{step:g}" for step in spacing) for spacing in report.sizes.spacing]
        more = f" and {len(steps) - 3} more" if len(steps) > 3 else ""
        rows.append(
            ("voxels in mm", f"{', '.join(steps[:3])}{more}" if steps else "not known; add spacing to dataset.json")
        )
    shares = [
        (
            c.name if c.name.startswith("class ") else f"class {c.name}",
            f"{c.pixels:.1%} of the pixels, in {c.cases} masks",
        )
        for c in report.classes
    ]
    return rows + shares


def split(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder with images/ and masks/.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File of the split.")],
    labeled: Labeled = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the draw.")] = 0,
    group_by: GroupBy = None,
    stratify: Annotated[
        bool, typer.Option("--stratify", help="Draw labeled cases evenly over object sizes; reads all masks.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another split in FILE.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw labeled, unlabeled, validation and test cases and write them to a file with a hash."""
    import json

    from criinet.cli.outputs import require_replaceable
    from criinet.cli.show import err
    from criinet.data.dataset import open_dataset
    from criinet.data.draws import make_split
    from criinet.data.notes import split_notes
    from criinet.data.splits import is_split, save_split

    require_replaceable(out, "a split", is_split, "Give --out another name")
    opened = open_dataset(dataset, groups=group_by)
    drawn = make_split(opened, labeled, seed, stratify=stratify)
    if not overwrite:
        same, remedy = drawn.to_text().encode(), "Give --out another name, or add --overwrite"
        require_replaceable(out, "the split that is drawn now", lambda path: path.read_bytes() == same, remedy)
    save_split(drawn, out)
    counts = {part: len(getattr(drawn, part)) for part in ("labeled", "unlabeled", "val", "test")}
    if as_json:
        print(json.dumps({**counts, "hash": drawn.hash, "fraction": drawn.fraction}))
    else:
        described = ", ".join(f"{count} {part}" for part, count in counts.items())
        err.print(f"{out}: {described}, hash {drawn.hash}")
    for note in split_notes(opened, drawn):
        err.print(f"note: {note}")
