"""Grids of runs under one budget: plans, the runs they mean, engines that do them, and what they found."""

from criinet.benchmarking.bench import benchmark
from criinet.benchmarking.plan import Plan, read_plan, shipped_plans
from criinet.benchmarking.search import search

__all__ = ["Plan", "benchmark", "read_plan", "search", "shipped_plans"]
