"""A decoder and a head of its own on another network's encoder."""

from collections.abc import Sequence

from torch import Tensor, nn

from criinet.networks.base import CONV, Network, Upsampling, fit_to_image


class Branch(nn.Module):
    """A second opinion on the encoder features of a network: ``z = conv1x1(D(E(x)))``, D of the network's own form.

    The encoder stays where it is; the branch holds its decoder and its head only, with random weights.

    Args:
        network: whose encoder features it reads.
        upsampling: how D enlarges features.
    """

    def __init__(self, network: Network, upsampling: Upsampling = "linear") -> None:
        super().__init__()
        backbone = network.backbone
        self.decoder = backbone.new_decoder(upsampling)
        self.head = CONV[backbone.dims](backbone.decoder_channels, network.classes, 1)
        self.multiple = backbone.multiple

    def forward(self, scales: Sequence[Tensor], image: Tensor) -> Tensor:
        """Map encoder features, finest first, to logits (B, K, ...) at the resolution of ``image``."""
        return fit_to_image(self.head(self.decoder(scales)[0]), image, self.multiple)
