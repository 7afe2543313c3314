"""Numbers as the report writes them, on its page, in its tables and under its figures."""

import math
from collections.abc import Callable

MISSING = "–"


def number(value: float, digits: int = 3) -> str:
    """Write a share as ``.812`` and a number from 1 on as ``12.345``; a dash for what is not known."""
    if not math.isfinite(value):
        return MISSING
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def signed(value: float) -> str:
    """Write a difference as ``+.041``."""
    text = number(value)
    return f"+{text}" if math.isfinite(value) and not text.startswith("-") else text


def interval(low: float, high: float, write: Callable[[float], str] = number) -> str:
    """Write ``[.790, .832]``; nothing if there is no interval."""
    return f"[{write(low)}, {write(high)}]" if math.isfinite(low) and math.isfinite(high) else ""


def chance_text(p: float) -> str:
    """Write a p value as ``.012``, or ``< .001``."""
    return "< .001" if p < 0.001 else number(p, 3 if p < 0.1 else 2)


def distance(value: float) -> str:
    """Write a distance with one decimal."""
    return f"{value:.1f}" if math.isfinite(value) else MISSING


def minutes(seconds: float) -> str:
    """Write seconds as minutes with one decimal."""
    return f"{seconds / 60:.1f}" if math.isfinite(seconds) else MISSING


def percent(share: float) -> str:
    """Write a share as ``4 %``."""
    return f"{100 * share:.3g} %" if math.isfinite(share) else MISSING
