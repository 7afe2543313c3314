"""Logits at several scales: heads on coarser features, beside the one that a network has on its finest."""

from torch import Tensor, nn

from criinet.networks.base import CONV, Network, Segmentation, fit_to_image


class ScaleHeads(nn.ModuleList):
    """A 1x1 convolution to logits on each of the scales 2 to S, finest first.

    Scale 1 is the decoder feature, which the network's own head reads; then come the coarser decoder features and,
    where the decoder has too few, the coarsest encoder feature. A network with fewer scales gets fewer heads.

    Args:
        network: whose features are read.
        scales: S, at least 1.
    """

    def __init__(self, network: Network, scales: int) -> None:
        backbone = network.backbone
        channels = [*backbone.pyramid_channels, backbone.scale_channels[-1]][1:scales]
        super().__init__(CONV[backbone.dims](width, network.classes, 1) for width in channels)
        self.multiple = backbone.multiple

    def forward(self, said: Segmentation, image: Tensor) -> list[Tensor]:
        """Return the logits (B, K, ...) of every scale at the resolution of ``image``, of which the network said this.

        The network's own come first, as they are.
        """
        coarser = [*said.features.pyramid, said.features.scales[-1]][1:]
        heads = zip(self, coarser, strict=False)
        return [said.logits, *(fit_to_image(head(feature), image, self.multiple) for head, feature in heads)]
