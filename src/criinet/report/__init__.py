"""Pictures and pages of recorded runs: what was reached, against what, and how sure that is. Needs no torch.

Importing it loads Matplotlib and SciPy, about a second; a command line imports it only when a report is asked for.
"""

from criinet.report.benchmark import is_benchmark, write_benchmark_report
from criinet.report.comparison import Comparison, Effect, Headline, compare, run_labels
from criinet.report.figures import save_figures
from criinet.report.page import is_report, write_report
from criinet.report.reading import read_run
from criinet.report.records import RecordedRun, Results

__all__ = [
    "Comparison",
    "Effect",
    "Headline",
    "RecordedRun",
    "Results",
    "compare",
    "is_benchmark",
    "is_report",
    "read_run",
    "run_labels",
    "save_figures",
    "write_benchmark_report",
    "write_report",
]
