"""dataset.json of nnU-Net, versions 1 and 2, and of the Medical Segmentation Decathlon."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from criinet.data.bad_files import BadFileError, reason_of
from criinet.data.files import read_json

_IGNORE = "ignore"
_EXAMPLE = 'Write for instance {"background": 0, "liver": 1}'
_FORMS = ("value", "region")


def _form(said: Any) -> str:
    return _FORMS[isinstance(said, list)]


Value = Annotated[int, Field(ge=0, le=255)]
Label = Annotated[
    Annotated[Value, Tag("value")] | Annotated[list[Value], Field(min_length=1), Tag("region")], Discriminator(_form)
]
"""The value of a class, or the values of a region."""


def _by_name(labels: dict[str, Any]) -> dict[str, Any]:
    """Turn round what version 1 and the Decathlon write: names by values."""
    if not all(key.isdigit() for key in labels):
        return labels
    if not all(isinstance(name, str) for name in labels.values()):
        raise ValueError("a name is no text")
    if twice := [name for name, count in Counter(labels.values()).items() if count > 1]:
        raise ValueError(f"two values are called '{twice[0]}'")
    return {name: value for value, name in labels.items()}


def _by_number(said: Any) -> Any:
    """Turn a list of channels, or the name of the only one, into a table."""
    listed = [said] if isinstance(said, str) else said
    return {str(number): name for number, name in enumerate(listed)} if isinstance(listed, list) else said


class TaskCard(BaseModel):
    """What such a file says.

    labels: by the name of the class or region; ``ignore`` is the value that means "no ground truth".
    channels: their names by their numbers.
    """

    labels: Annotated[dict[str, Label], BeforeValidator(_by_name)]
    channels: Annotated[dict[str, str], BeforeValidator(_by_number)] = Field(
        {}, validation_alias=AliasChoices("channel_names", "modality")
    )
    name: Any = None
    licence: Any = None
    reference: Any = None

    @model_validator(mode="after")
    def _one_name_for_each_value(self) -> "TaskCard":
        plain = [value for value in self.labels.values() if isinstance(value, int)]
        if twice := [value for value, count in Counter(plain).items() if count > 1]:
            raise ValueError(f"labels: two names have the value {twice[0]}")
        if _IGNORE in self._unions:
            raise ValueError("labels: 'ignore' is one value, no list")
        return self

    @property
    def ignored(self) -> int | None:
        """The value that means "no ground truth"."""
        value = self.labels.get(_IGNORE)
        return value if isinstance(value, int) else None

    @property
    def classes(self) -> list[str]:
        """Their names by value; a value that only regions name, or none, is called after itself."""
        names = {v: name for name, v in self.labels.items() if isinstance(v, int) and name != _IGNORE}
        top = max([0, *names, *(value for values in self._unions.values() for value in values)])
        return [names.get(value, f"class {value}" if value else "background") for value in range(top + 1)]

    @property
    def regions(self) -> dict[str, list[str]]:
        """Unions of classes by their names."""
        return {name: [self.classes[value] for value in values] for name, values in self._unions.items()}

    @property
    def _unions(self) -> dict[str, list[int]]:
        return {name: values for name, values in self.labels.items() if isinstance(values, list)}

    def described(self, source: Path, channel: int) -> dict[str, Any]:
        """Return what dataset.json of the new dataset says, if one channel is taken."""
        card: dict[str, Any] = {"name": str(self.name or source.resolve().name), "classes": self.classes}
        card |= {"regions": self.regions} if self.regions else {}
        card |= {"ignore": True} if self.ignored is not None else {}
        modality = self.channels.get(str(channel), "").upper()
        if modality.startswith(("CT", "MR")) or modality in ("T1", "T2", "FLAIR", "LGE"):
            card["modality"] = "CT" if modality.startswith("CT") else "MR"
        said = {"licence": self.licence, "source": self.reference}
        return card | {key: str(value) for key, value in said.items() if value}


def read_task_card(source: Path) -> TaskCard:
    """Read the dataset.json of an nnU-Net or Decathlon folder.

    Raises:
        BadFileError: if it is missing or malformed.
    """
    path, remedy = source / "dataset.json", "Give the folder that holds dataset.json, imagesTr and labelsTr"
    try:
        content = read_json(path, remedy, remedy)
        labels = content["labels"]
    except (BadFileError, KeyError, TypeError) as error:
        raise BadFileError(path, "is missing or names no labels", remedy) from error
    if not isinstance(labels, dict) or not labels:
        raise BadFileError(path, "has labels that are no table", _EXAMPLE)
    try:
        return TaskCard.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"] if part not in _FORMS)
        reason = reason_of(problem["msg"])
        said = f"has a bad '{where}': {reason}" if where else f"has bad {reason}"
        raise BadFileError(path, said, _EXAMPLE if "labels" in said else 'Write for instance {"0": "CT"}') from error
