"""Semi-supervised methods: one small file each, one line here."""

from collections.abc import Mapping
from typing import Any

from criinet.config import MethodConfig, parse
from criinet.methods.base import Method, Prediction
from criinet.methods.bcp import BidirectionalCopyPaste
from criinet.methods.cct import CrossConsistency
from criinet.methods.cps import CrossPseudoSupervision
from criinet.methods.crii import CRIINet
from criinet.methods.crii_plus import CRIIPlus
from criinet.methods.cross_teaching import CrossTeaching
from criinet.methods.dan import AdversarialNetwork
from criinet.methods.declaration import require_declared
from criinet.methods.dtc import DualTaskConsistency
from criinet.methods.entropy_minimisation import EntropyMinimisation
from criinet.methods.fixmatch import FixMatch
from criinet.methods.ict import InterpolationConsistency
from criinet.methods.in_rounds import InRounds
from criinet.methods.mc_net import MutualConsistency
from criinet.methods.mean_teacher import MeanTeacher
from criinet.methods.sassnet import ShapeAware
from criinet.methods.ss_net import SmoothnessSeparation
from criinet.methods.st_plus_plus import STPlusPlus
from criinet.methods.supervised import Supervised
from criinet.methods.ua_mt import UncertaintyAwareMeanTeacher
from criinet.methods.unimatch import UniMatch
from criinet.methods.urpc import PyramidConsistency
from criinet.registry import Registry

__all__ = [
    "AdversarialNetwork",
    "BidirectionalCopyPaste",
    "CRIINet",
    "CRIIPlus",
    "CrossConsistency",
    "CrossPseudoSupervision",
    "CrossTeaching",
    "DualTaskConsistency",
    "EntropyMinimisation",
    "FixMatch",
    "InRounds",
    "InterpolationConsistency",
    "MeanTeacher",
    "Method",
    "MutualConsistency",
    "Prediction",
    "PyramidConsistency",
    "STPlusPlus",
    "ShapeAware",
    "SmoothnessSeparation",
    "Supervised",
    "UncertaintyAwareMeanTeacher",
    "UniMatch",
    "methods",
    "parse_method",
]

methods: Registry[type[Method]] = Registry("method", "criinet methods", require_declared)
methods.add("bcp", BidirectionalCopyPaste)
methods.add("cct", CrossConsistency)
methods.add("cps", CrossPseudoSupervision)
methods.add("crii", CRIINet)
methods.add("crii-plus", CRIIPlus)
methods.add("cross-teaching", CrossTeaching)
methods.add("dan", AdversarialNetwork)
methods.add("dtc", DualTaskConsistency)
methods.add("entropy-min", EntropyMinimisation)
methods.add("fixmatch", FixMatch)
methods.add("ict", InterpolationConsistency)
methods.add("mc-net", MutualConsistency)
methods.add("mean-teacher", MeanTeacher)
methods.add("sassnet", ShapeAware)
methods.add("ss-net", SmoothnessSeparation)
methods.add("st++", STPlusPlus)
methods.add("supervised", Supervised)
methods.add("ua-mt", UncertaintyAwareMeanTeacher)
methods.add("unimatch", UniMatch)
methods.add("urpc", PyramidConsistency)


def parse_method(name: str, settings: Mapping[str, Any]) -> MethodConfig:
    """Return the typed settings of the method called ``name``."""
    return parse(methods.get(name).Config, settings, "method")
