"""What is noted of the rounds of learning: RUN/review/rounds.json holds it."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from criinet.errors import RunError

FORMAT = 1
RoundStatus = Literal["training", "stopped", "failed", "done"]
Verdict = Literal["better", "worse", "no measurable change", "too few to tell"]


class Round(BaseModel):
    """One round; round 0 is the run itself.

    masks: that it learned from. minutes: that people worked on masks until then. dice: mean over the frozen validation
    cases at their own size, None before it is measured, or without such cases. difference, low, high: of the Dice to
    the round it began from, case by case (or patient by patient), with the 95 % bootstrap interval; below six of them
    there is none, and the verdict is "too few to tell". reason: why it failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: Annotated[int, Field(ge=0)]
    began_from: int | None = None
    status: RoundStatus
    masks: int
    minutes: float
    started: str
    iterations: int
    dice: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: Verdict | None = None
    reason: str = ""


class RoundBook(BaseModel):
    """What rounds.json holds: round 0, which is done, and those after it in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = FORMAT
    current: int = 0
    rounds: Annotated[tuple[Round, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if [found.number for found in self.rounds] != list(range(len(self.rounds))):
            raise ValueError("the rounds are not numbered from 0")
        if self.rounds[0].status != "done":
            raise ValueError("round 0 is not done")
        if not 0 <= self.current < len(self.rounds):
            raise ValueError("there is no round of that number to be in use")
        return self


def read_book(path: Path) -> RoundBook:
    """Return what rounds.json holds; a round that was training when everything was killed counts as stopped.

    Raises:
        RunError: if it is damaged.
    """
    try:
        book = RoundBook.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise RunError(f"{path} cannot be read. Restore it from a copy, or move RUN/review away.") from error
    rounds = [r.model_copy(update={"status": "stopped"}) if r.status == "training" else r for r in book.rounds]
    return book.model_copy(update={"rounds": tuple(rounds)})
