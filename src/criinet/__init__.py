"""Masks for a whole folder of medical images from a handful of masks, with honest evidence of how good they are.

The calls that most programs need: :func:`train`, :func:`load`, :func:`predict`, :func:`evaluate`, :func:`benchmark`,
:func:`write_report`.
Losses, networks and metrics are plain functions and modules in ``criinet.losses``, ``criinet.networks`` and
``criinet.metrics``. Nothing heavy is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from criinet.benchmarking.bench import benchmark
    from criinet.engine.build import load
    from criinet.engine.evaluator import evaluate
    from criinet.engine.prediction import predict_folder as predict
    from criinet.engine.training import train
    from criinet.report.page import write_report

__all__ = ["benchmark", "evaluate", "load", "predict", "train", "write_report"]

_HOMES = {
    "benchmark": ("criinet.benchmarking.bench", "benchmark"),
    "evaluate": ("criinet.engine.evaluator", "evaluate"),
    "load": ("criinet.engine.build", "load"),
    "predict": ("criinet.engine.prediction", "predict_folder"),
    "train": ("criinet.engine.training", "train"),
    "write_report": ("criinet.report.page", "write_report"),
}


_PARTS = ("losses", "metrics", "networks")


def __dir__() -> list[str]:
    return [*__all__, *_PARTS]


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return import_module(f"criinet.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'criinet' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
