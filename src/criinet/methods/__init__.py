"""Semi-supervised methods: one small file each, one line here."""

from collections.abc import Mapping
from typing import Any

from criinet.config import MethodConfig, parse
from criinet.methods.base import Method, Prediction
from criinet.methods.crii import CRIINet
from criinet.methods.mean_teacher import MeanTeacher
from criinet.methods.st_plus_plus import STPlusPlus
from criinet.methods.supervised import Supervised
from criinet.registry import Registry

__all__ = ["CRIINet", "MeanTeacher", "Method", "Prediction", "STPlusPlus", "Supervised", "methods", "parse_method"]

methods: Registry[type[Method]] = Registry("method", "criinet methods")
methods.add("crii", CRIINet)
methods.add("mean-teacher", MeanTeacher)
methods.add("st++", STPlusPlus)
methods.add("supervised", Supervised)


def parse_method(name: str, settings: Mapping[str, Any]) -> MethodConfig:
    """Return the typed settings of the method called ``name``."""
    return parse(methods.get(name).Config, settings, "method")
