"""The coarse-refined heads of CRII-Net: one shared encoder-decoder, two outputs and a pixel embedding."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from criinet.networks.base import CONV, NORM, Features, Network, conv_block
from criinet.networks.image_prototypes import ImagePrototypes


class CoarseRefinedOutput(NamedTuple):
    """What a coarse-refined network gives.

    coarse, refined: (B, K, ...) logits at the image's resolution.
    embedding: (B, E, ...) float32 unit vectors at the decoder feature's resolution.
    """

    coarse: Tensor
    refined: Tensor
    embedding: Tensor


class CoarseRefined(nn.Module):
    """A network whose first prediction is corrected by a second head that sees more.

        F                                         decoder feature of the shared network            [I]
        z_c = conv1x1(F),  p_c = softmax(z_c)     coarse                        [A: two outputs; C: form]
        e   = g(F) / ||g(F)||                     g = conv1x1, norm, ReLU, conv1x1
                                                                         [A: pixel features; C: form]
        z_0 = z_c + R([F, e, E_1, p_c])           R = two 3x3 blocks and a 1x1, E_1 the finest encoder
                                                  feature                                        [I/C]
        z_r = z_0 + s / t                         s = likeness of e to what is sure in the same image;
                                                  see ImagePrototypes                            [C]

    Marks: [A] stated by the abstract, [I] inferred from it, [C] our choice.

    Args:
        network: any backbone with its linear head, which becomes the coarse head.
        embedding_channels: E, length of a pixel embedding.
        width: channels inside R.
        prototypes: compares pixels with their image's prototypes; None leaves s out, so that z_r = z_0.

    Reference: Du, Zhang, Liu, Wang, IEEE JBHI 27(8), 2023, doi 10.1109/JBHI.2023.3278741.
    Differs: only the abstract is open, so the forms above are ours. The last layer of R starts at zero, so z_0
    equals z_c at the first step.
    """

    def __init__(
        self,
        network: Network,
        *,
        embedding_channels: int = 64,
        width: int = 32,
        prototypes: ImagePrototypes | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.prototypes = prototypes
        backbone = network.backbone
        dims, decoder = backbone.dims, backbone.decoder_channels
        conv, norm = CONV[dims], NORM[dims]
        self.embed = nn.Sequential(
            conv(decoder, decoder, 1), norm(decoder), nn.ReLU(inplace=True), conv(decoder, embedding_channels, 1)
        )
        inputs = decoder + embedding_channels + backbone.scale_channels[0] + network.classes
        correction = conv(width, network.classes, 1)
        nn.init.zeros_(correction.weight)
        nn.init.zeros_(correction.bias)  # pyright: ignore[reportArgumentType]
        self.refine = nn.Sequential(conv_block(dims, inputs, width), conv_block(dims, width, width), correction)

    def forward(self, image: Tensor) -> CoarseRefinedOutput:
        """Segment (B, C, ...) float32 images in [0, 1] twice."""
        return self.segment(self.network.features(image), image)

    def segment(self, features: Features, image: Tensor) -> CoarseRefinedOutput:
        """Apply both heads to features of ``image``, as incomplete ones."""
        decoder = features.decoder
        coarse = self.network.head(decoder)
        embedding = F.normalize(self.embed(decoder).float(), dim=1, eps=1e-6)
        seen = torch.cat([decoder, embedding, features.scales[0], coarse.softmax(1)], dim=1)
        refined = coarse + self.refine(seen)
        if self.prototypes is not None:
            refined = self.prototypes(embedding, coarse, refined)
        return CoarseRefinedOutput(
            self.network.to_image(coarse, image), self.network.to_image(refined, image), embedding
        )
