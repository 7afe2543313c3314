"""What a dataset folder says of itself: dataset.json on all of it, groups.csv on whose each case is."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_serializer, field_validator, model_validator

from criinet.config import Millimetres
from criinet.data.bad_files import BadFileError, reason_of
from criinet.data.files import read_json
from criinet.data.kinds import comparable
from criinet.data.masks import BACKGROUND, MaskEncoding, is_background, letters_of
from criinet.data.volumes import Partial

GROUPS = "groups.csv"
"""The file of a dataset that says whose each case is."""

PLAIN = re.compile(r"(?![=+@-])[^\x00-\x1f\x7f]*")
"""Names that no spreadsheet takes for a formula where a table of results is opened, and that stay on one line."""


class DatasetCard(BaseModel):
    """What dataset.json may say; other keys are kept as they are, and mean nothing."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str | None = None
    classes: tuple[str, ...] | None = None
    encoding: MaskEncoding | None = None
    spacing: Millimetres | tuple[Millimetres, Millimetres] | tuple[Millimetres, Millimetres, Millimetres] | None = None
    ignore: bool = False
    partial: Partial = "auto"
    regions: Mapping[str, tuple[str, ...]] = {}
    modality: str | None = None
    licence: str | None = None
    source: str | None = None
    note: str | None = None

    @field_validator("classes")
    @classmethod
    def _at_least_two_distinct(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and (not 2 <= len(classes) <= 256 or len(set(classes)) < len(classes)):
            raise ValueError("list 2 to 256 different names, background first")
        require_plain(classes or ())
        first, *others = classes or (BACKGROUND,)
        if not is_background(first) and BACKGROUND in map(letters_of, others):
            raise ValueError(f"the first name is that of the background, but '{first}' stands before it")
        return classes

    @field_validator("partial", mode="before")
    @classmethod
    def _true_is_yes(cls, partial: Any) -> Any:
        return ("yes" if partial else "no") if isinstance(partial, bool) else partial

    @field_serializer("partial", when_used="json")
    def _yes_is_true(self, partial: Partial) -> str | bool:
        return partial if partial == "auto" else partial == "yes"

    @model_validator(mode="after")
    def _regions_of_classes(self) -> "DatasetCard":
        require_plain(self.regions)
        for region, members in self.regions.items():
            unknown = [name for name in members if name not in (self.classes or ())[1:]]
            if unknown or not members or region in (self.classes or ()):
                raise ValueError(f"region '{region}' must have a name of its own and list foreground classes")
        return self

    def spacing_along(self, dims: int) -> tuple[float, ...] | None:
        """Return the spacing along each of ``dims`` axes.

        Raises:
            ValueError: if it has another number of them.
        """
        if self.spacing is None or not isinstance(self.spacing, tuple):
            return None if self.spacing is None else (self.spacing,) * dims
        if len(self.spacing) != dims:
            raise ValueError(f"{len(self.spacing)} numbers for {dims} axes")
        return self.spacing


def require_plain(names: Iterable[str]) -> None:
    """Check that no name of a class or region is taken for a formula by a spreadsheet, or holds a control character.

    Raises:
        ValueError: otherwise.
    """
    for name in names:
        if not PLAIN.fullmatch(name):
            raise ValueError(
                f"the name {name!r} begins with =, +, - or @, or holds a control character; choose another"
            )


def read_card(root: Path) -> DatasetCard:
    """Read dataset.json, or return an empty card if there is none.

    Raises:
        BadFileError: if it is malformed.
    """
    path = root / "dataset.json"
    if not path.exists():
        return DatasetCard()
    example = 'Write for instance {"name": "my-images", "classes": ["background", "lesion"]}'
    content = read_json(path, "Change its permissions", example)
    if not isinstance(content, dict):
        raise BadFileError(path, "is not a JSON object", example)
    try:
        return DatasetCard.model_validate(content)
    except ValidationError as error:
        key, reason = what_is_bad(error)
        raise BadFileError(path, f"has a bad '{key}': {reason}", example) from error


def what_is_bad(error: ValidationError) -> tuple[str, str]:
    """Return the key of a card that is wrong, and why."""
    problem = error.errors()[0]
    return str(problem["loc"][0]) if problem["loc"] else "regions", reason_of(problem["msg"])


def declared_spacing(card: DatasetCard, root: Path, dims: int) -> tuple[float, ...] | None:
    """Return the spacing along each axis in mm that dataset.json says, None if it says none.

    Raises:
        BadFileError: if it has another number of axes.
    """
    try:
        return card.spacing_along(dims)
    except ValueError as error:
        remedy = "Give one number for each axis, slices first" if dims == 3 else "Give height and width"
        raise BadFileError(root / "dataset.json", f"has a bad 'spacing': {error}", remedy) from error


def read_groups(root: Path, names: Sequence[str], given: Path | None = None) -> dict[str, str]:
    """Read the group of every case from ``given`` or groups.csv; without either, every case is its own group.

    Rows of cases that are not in ``names`` are ignored. Names are compared whatever their Unicode form; a group is
    spelled as where it is first.

    Raises:
        BadFileError: if the file is missing, malformed, contradicts itself, or lacks a case.
    """
    path = given or root / GROUPS
    if given is None and not path.exists():
        return {name: name for name in names}
    groups: dict[str, str] = {}
    spelling: dict[str, str] = {}
    for line, case, group in _group_rows(path):
        if not case or not group:
            raise BadFileError(path, f"has an empty field in line {line}", "Give every case a group")
        group = spelling.setdefault(comparable(group), group)
        if groups.setdefault(comparable(case), group) != group:
            what = f"puts case {case} in the groups {groups[comparable(case)]} and {group} (line {line})"
            raise BadFileError(path, what, "Keep one row for each case")
    missing = [name for name in names if comparable(name) not in groups]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadFileError(path, f"lacks the case {missing[0]}{more}", "Add a row for every image, without its suffix")
    return {name: groups[comparable(name)] for name in names}


def _group_rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line, case, group) of a groups CSV."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        delimiter = max(",;\t", key=lines[0].count) if lines else ","
        rows = list(csv.reader(lines, strict=True, delimiter=delimiter))
    except OSError as error:
        raise BadFileError(path, "cannot be read", "Check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise BadFileError(path, "is not text in UTF-8", "Save it again as CSV in UTF-8") from error
    except csv.Error as error:
        raise BadFileError(path, "is not a CSV file", "Write the columns case,group") from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    column = next((name for name in ("group", "patient") if name in header), None)
    if "case" not in header or column is None:
        raise BadFileError(path, "lacks a header with case and group", "Begin it with the line case,group")
    case_at, group_at = header.index("case"), header.index(column)
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        padded = [*row, *[""] * len(header)]
        yield line, padded[case_at].strip(), padded[group_at].strip()
