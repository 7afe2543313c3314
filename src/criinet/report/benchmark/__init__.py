"""The report of a benchmark: statistics over methods, settings, draws and seeds; tables, figures and a page."""

from criinet.report.benchmark.grid import is_benchmark, read_grid
from criinet.report.benchmark.page import write_benchmark_report

__all__ = ["is_benchmark", "read_grid", "write_benchmark_report"]
