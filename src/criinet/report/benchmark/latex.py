"""LaTeX of a table of text: booktabs rules, every special character escaped."""

from collections.abc import Sequence

from criinet.report.benchmark.tables import TextTable

_NEEDS = "% Needs \\usepackage{booktabs,graphicx} in the preamble."
_SHRUNK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
_LAST_SURE = 0x17F
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    '"': "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "—": "---",
    "’": "'",
    "“": "``",
    "”": "''",
}


def escape(text: str) -> str:
    """Return text that LaTeX prints as it stands; what its usual fonts lack becomes a question mark."""
    spaced = " ".join(text.split())
    return "".join(_ESCAPES.get(c) or (c if _printable(c) else "?") for c in spaced)


def as_latex(tables: Sequence[TextTable]) -> str:
    """Return one ``table`` environment for each table, words to the left and numbers to the right.

    A table wider than the text is shrunk to fit.
    """
    return "\n".join([_NEEDS, *(_environment(table) for table in tables)]) + "\n"


def _printable(character: str) -> bool:
    return (character.isascii() and character.isprintable()) or (character.isalpha() and ord(character) <= _LAST_SURE)


def _environment(table: TextTable) -> str:
    align = "".join("l" if column < table.names else "r" for column in range(len(table.headers)))
    body = [_line(row, table.bold(index)) for index, row in enumerate(table.rows)]
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            rf"\centering\{table.font}\setlength{{\tabcolsep}}{{{table.gap}pt}}",
            rf"\caption{{{escape(table.caption)}}}",
            _SHRUNK,
            rf"\begin{{tabular}}{{{align}}}",
            r"\toprule",
            _line(table.headers, frozenset()),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
    )


def _line(cells: Sequence[str], bold: frozenset[int]) -> str:
    written = [rf"\textbf{{{_cell(cell)}}}" if column in bold else _cell(cell) for column, cell in enumerate(cells)]
    return " & ".join(written) + r" \\"


def _cell(cell: str) -> str:
    """Escape a cell; a minus before a number becomes one, and a bracket may not follow a line break of LaTeX."""
    text = escape(cell)
    if text[:1] in "+-" and text[1:2] in tuple(".0123456789"):
        text = f"${text[0]}${text[1:]}"
    return f"{{}}{text}" if text.startswith(("[", "*")) else text
