"""A second head that regresses the distance to the border of every foreground class."""

from torch import Tensor, nn

from criinet.networks import Network, Segmentation
from criinet.networks.base import CONV, fit_to_image


class DistanceHead(nn.Module):
    """Signed distances from the decoder feature: ``z = tanh(conv1x1(F))`` at the image's resolution.

    Negative inside a class, positive outside, one map for each class but the background.

    Args:
        network: whose decoder feature it reads.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        backbone = network.backbone
        self.head = CONV[backbone.dims](backbone.decoder_channels, network.classes - 1, 1)
        self.multiple = backbone.multiple

    def forward(self, output: Segmentation, image: Tensor) -> Tensor:
        """Return (B, K - 1, ...) float32 in [-1, 1] from what the network makes of ``image``."""
        return fit_to_image(self.head(output.features.decoder), image, self.multiple).float().tanh()
