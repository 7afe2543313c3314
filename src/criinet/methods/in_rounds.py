"""What a method owes that trains in rounds."""

from torch import Tensor

from criinet.methods.base import Method


class InRounds(Method):
    """A method that starts anew several times, each time with pseudo-labels of the round before.

    The rounds share the run's steps; unlabeled batches of all rounds but the first carry a pseudo-label.

    Attributes:
        rounds: how many there are, at least two.
    """

    rounds: int

    def reliability(self, image: Tensor, probs: Tensor) -> Tensor:
        """Say how far a prediction can be trusted as a pseudo-label: (B,) in [0, 1].

        Called in evaluation mode at the end of a round, for unlabeled images.

        Args:
            image: (B, C, ...) float32 in [0, 1].
            probs: (B, K, ...) what the method says of it, averaged over mirrored images.
        """
        raise NotImplementedError

    def begin_round(self, number: int, reliability: Tensor) -> Tensor:
        """Start the round ``number`` >= 1 and return which unlabeled images it learns from.

        Args:
            reliability: (N,) of all unlabeled images.

        Returns:
            (N,) bool with at least one True.
        """
        raise NotImplementedError
