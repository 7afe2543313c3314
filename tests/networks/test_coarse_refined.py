"""The refined head is the composition that its description gives, in its value and in its gradients."""

import torch
from torch.nn import functional as F

from criinet.networks import CoarseRefined, ImagePrototypes, build_network, parse_network


def test_refined_logits_and_their_gradients_are_the_composition_by_hand():
    """The refinement sees probabilities, prototypes take their weights from z_c, and gradients reach every part."""
    config = parse_network("unet", {"channels": [4, 8, 16], "dropout": []})
    network = build_network("unet", config, in_channels=3, classes=3, dims=2, seed=0)
    prototypes = ImagePrototypes(3, 8, temperature=0.1, sure=0.36, prior=0.01, passes=1)
    model = CoarseRefined(network, embedding_channels=8, width=6, prototypes=prototypes).eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(model.refine[-1].weight)  # It starts at zero, where no gradient passes.
    image = torch.rand(2, 3, 21, 30)

    features = network.features(image)
    coarse = network.head(features.decoder)
    embedding = F.normalize(model.embed(features.decoder), dim=1)
    seen = torch.cat([features.decoder, embedding, features.scales[0], coarse.softmax(1)], dim=1)
    by_hand = network.to_image(prototypes(embedding, coarse, coarse + model.refine(seen)), image)
    assert (coarse.softmax(1).amax((0, 2, 3)) >= 0.36).sum() >= 2, "some classes have a prototype"

    refined = model(image).refined
    torch.testing.assert_close(refined, by_hand)
    weight = torch.linspace(-1, 1, refined.numel()).view_as(refined)
    parameters = list(model.parameters())
    found, expected = (
        torch.autograd.grad((z * weight).sum(), parameters, retain_graph=True) for z in (refined, by_hand)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
