"""What methods with a moving-average teacher share."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from criinet.config import MethodConfig
from criinet.methods.base import Method, probabilities
from criinet.methods.ema import EMA
from criinet.networks import Network


class TaughtConfig(MethodConfig):
    """Base of the settings of a method with a teacher."""

    ema_decay: Annotated[float, Field(ge=0, lt=1, description="teacher decay per step")] = 0.99


class Taught(Method):
    """A method whose teacher is the exponential moving average of its student, and says what to predict.

    Attributes:
        teacher: moved after every step, never with a gradient.
    """

    def __init__(self, network: Network, config: TaughtConfig) -> None:
        super().__init__(network, config)
        self.teacher = EMA(network, config.ema_decay)

    def after_step(self) -> None:
        """Move the teacher."""
        self.teacher.update(self.student)

    def targets(self, image: Tensor) -> Tensor:
        """Return the teacher's probabilities."""
        return probabilities(self.teacher, image)
