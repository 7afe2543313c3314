"""What a method is: named losses of a labeled and an unlabeled batch, and a prediction."""

from typing import ClassVar, NamedTuple, cast

from torch import Tensor, nn

from criinet.config import MethodConfig
from criinet.networks import Network
from criinet.types import LabeledBatch, UnlabeledBatch


class Prediction(NamedTuple):
    """What a method says about images: ``probs`` (B, K, ...), and the first of two opinions where it holds two."""

    probs: Tensor
    coarse: Tensor | None = None


def probabilities(network: nn.Module, image: Tensor) -> Tensor:
    """Return the class probabilities (B, K, ...) float32 that a network gives to images."""
    return cast(Tensor, network(image).logits).float().softmax(1)


class Method(nn.Module):
    """One way to learn from labeled and unlabeled images.

    A method owns all of its state (teachers, memory banks) as modules and buffers, so that saving it never reaches
    inside. The trainer weighs the losses, steps and logs; it knows no method by name.

    Attributes:
        Config: the method's settings; ``weights`` has one entry for every loss term.
        summary, reference: one line each, for `criinet methods`.
        views: the views of an unlabeled batch it wants, of "weak", "strong_1", "strong_2"; none for supervised methods.
        unlabeled_terms: the loss terms that unlabeled images alone cause.
        opponent_terms: the loss terms that train an opponent of the student, as a discriminator, and never the student.
        recordable: all steps do the same operations on the device, in one round: neither ``losses`` nor ``after_step``
            looks at ``progress``, keeps numbers in Python, draws random numbers on the CPU, or waits for the device.
        student: the module that ``predict`` uses; the network itself, unless the method builds more around it.
    """

    Config: ClassVar[type[MethodConfig]]
    summary: ClassVar[str]
    reference: ClassVar[str]
    views: ClassVar[tuple[str, ...]] = ()
    unlabeled_terms: ClassVar[tuple[str, ...]] = ()
    opponent_terms: ClassVar[tuple[str, ...]] = ()
    recordable: ClassVar[bool] = False

    def __init__(self, network: Network, config: MethodConfig) -> None:
        super().__init__()
        self.config = config
        self.classes = network.classes
        self.student = network

    @property
    def networks(self) -> list[Network]:
        """The networks that it is built of, teachers and second opinions among them; the student's is the first."""
        return [module for module in self.modules() if isinstance(module, Network)]

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:
        """Return every loss term, unweighted, as a scalar by the name that it has in ``Config.weights``.

        Labeled and unlabeled images go through the network in batches of their own. In one batch they share batch
        normalisation's statistics, and a network can learn to tell the two kinds by their offset from the shared mean:
        it then fits the labeled images and predicts noise for all others (`benchmarks/shared_statistics.py`).

        Args:
            progress: the fraction of training that is done, in [0, 1); that of the round for ``InRounds``.
        """
        raise NotImplementedError

    def begin_with(self, state: dict[str, Tensor]) -> None:
        """Begin training with what another run of this method ended with, its ``state_dict``.

        Raises:
            RuntimeError: if the state is that of another method, network or number of classes.
        """
        self.load_state_dict(state)

    def after_step(self) -> None:
        """Do what follows an optimizer step, such as moving a teacher."""

    def predict(self, image: Tensor) -> Prediction:
        """Segment (B, C, ...) float32 images in [0, 1]; by default with the student, as the public benchmarks do."""
        return Prediction(probabilities(self.student, image))

    def targets(self, image: Tensor) -> Tensor:
        """Return the probabilities (B, K, ...) that unlabeled images are trained towards; by default the prediction."""
        return self.predict(image).probs
