"""Numbers as the report writes them, on its page, in its tables and under its figures."""

import math
from collections.abc import Callable

MISSING = "–"


def number(value: float, digits: int = 3) -> str:
    """Write a share as ``.812`` and a number from 1 on as ``12.345``; a dash for what is not known.

    What rounds to 0 has no sign. With three digits or more what is below 1 stays below it: .9996 is ``.999``.
    """
    if not math.isfinite(value):
        return MISSING
    text = f"{value:.{digits}f}"
    if digits >= 3 and abs(value) < 1 <= abs(float(text)):
        text = text.replace(f"1.{'0' * digits}", f"0.{'9' * digits}")
    text = text.removeprefix("-") if float(text) == 0 else text
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def signed(value: float, digits: int = 3) -> str:
    """Write a difference as ``+.041``; one that rounds to 0 has no sign."""
    text = number(value, digits)
    return f"+{text}" if math.isfinite(value) and value > 0 and float(text) > 0 else text


def interval(low: float, high: float, write: Callable[[float, int], str] = number) -> str:
    """Write ``[.790, .832]``; nothing if there is no interval.

    An end that rounds to 0 has more digits, ``[-.0004, .021]``, so that it shows on which side of 0 it lies.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{write(low, _digits(low))}, {write(high, _digits(high))}]"


def chance_text(p: float) -> str:
    """Write a p value as ``.012``, ``< .001`` or ``> .99``; one below .05 never as ``.050``."""
    if p < 0.001:
        return "< .001"
    if 0.0495 <= p < 0.05:
        return number(min(p, 0.0499), 4)
    return "> .99" if 0.995 <= p < 1 else number(p, 3 if p < 0.1 else 2)


def chance_after(p: float) -> str:
    """Write what stands after the letter p: ``= .012``, or ``< .001``."""
    text = chance_text(p)
    return text if text.startswith(("<", ">")) else f"= {text}"


def distance(value: float) -> str:
    """Write a distance with one decimal."""
    return f"{value:.1f}" if math.isfinite(value) else MISSING


def minutes(seconds: float) -> str:
    """Write seconds as minutes with one decimal."""
    return f"{seconds / 60:.1f}" if math.isfinite(seconds) else MISSING


def percent(share: float) -> str:
    """Write a share as ``4 %``."""
    return f"{100 * share:.3g} %" if math.isfinite(share) else MISSING


def _digits(end: float) -> int:
    """Return how many digits show the sign of an end: three, more where these are all 0; three again below 1e-6."""
    return next((digits for digits in range(3, 7) if round(end, digits)), 3)
