"""What happens inside CRII-Net while it trains: does its consistency say anything, and what do its ranked losses move?

    python benchmarks/inside_crii.py --data FOLDER --dataset kvasir-seg

Trains CRII-Net with its ranked losses and without them, on the same batches from the same weights, and looks at it on
the way. No test case is opened: what is measured on images with masks is measured on those held out for validation.

gap             mean over unlabeled pixels of |p_c - p_r|, in [0, 1]; differ: share of pixels where they say otherwise
dice            of the coarse and of the refined output
distances       between unit embeddings of boundary pixels and of others, of the same class and of different ones
gradients       norm of each weighted term's gradient on the shared network, over that of both supervised terms
near_boundary   share of a ranked loss's gradient on the embedding that falls within 2 pixels of a boundary, over the
                share of such pixels: 1 means that boundaries are nothing special to it
empty           share of queries of Intra-PRL whose sets hold nothing: no positive too far, no negative too near

The picture that it draws beside --out shows where the gradient lands. FOLDER holds dataset folders.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from provenance import provenance
from torch import Tensor

from criinet.data.dataset import Dataset, open_dataset
from criinet.data.draws import make_split
from criinet.data.files import write_json
from criinet.data.splits import Split
from criinet.engine.build import build_method
from criinet.engine.image_planner import look_at, plan
from criinet.engine.pools import Pools, load_pools
from criinet.engine.settings import resolve
from criinet.engine.shift import dice_by_class
from criinet.engine.trainer import Trainer
from criinet.losses import at_stride, boundary_band, boundary_patches, coarse_refined_consistency, cross_entropy_dice
from criinet.losses.coarse_refined import gather_pixels
from criinet.losses.patches import draw_pixels
from criinet.losses.ranked import euclidean
from criinet.methods import CRIINet
from criinet.types import LabeledBatch

matplotlib.use("Agg")
HERE = Path(__file__).parent
ROWS: dict[str, dict[str, Any]] = {
    "crii": {},
    "without ranked losses": {"weights": {"intra": 0.0, "inter": 0.0}},
}
DRAWN = 100
"""Pixels of each class of an image, near a boundary and elsewhere, whose distances are measured."""


def main() -> None:
    """Train both ways, look on the way, and write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of dataset folders")
    parser.add_argument("--dataset", default="kvasir-seg")
    parser.add_argument("--labeled", default="4%")
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--looks", type=int, default=5)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--network", default="{}", help='settings of the network as JSON, as {"pretrained": false}')
    parser.add_argument("--out", type=Path, default=Path("runs/inside_crii"), help="folder for the pictures")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "inside_crii.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    dataset = open_dataset(asked.data / asked.dataset)
    split = make_split(dataset, asked.labeled, asked.draw, measure="val")
    split = split.model_copy(update={"val": split.test, "test": []})
    record: dict[str, Any] = {
        **provenance("one thread"),
        "labeled": len(split.labeled),
        "looked_at": len(split.val),
        "rows": [],
    }
    for row, settings in ROWS.items():
        record["rows"] += train_and_look(row, settings, asked, dataset, split)
    write_json(asked.results, record)


def train_and_look(
    row: str, settings: dict[str, Any], asked: argparse.Namespace, dataset: Dataset, split: Split
) -> list[dict[str, Any]]:
    """Train CRII-Net with ``settings``, look at it early and then evenly, and return what was seen."""
    tables = {
        "method": {"name": "crii", **settings},
        "network": json.loads(asked.network),
        "data": {"size": [asked.size, asked.size]},
        "trainer": {
            "iterations": asked.iterations,
            "checks": asked.looks,
            "labeled_batch": 4,
            "unlabeled_batch": 4,
            "threads": 1,
        },
    }
    config = resolve(tables, plan(look_at(dataset, split), "cpu", tables), seed=0)
    method = build_method(config, dataset.classes)
    assert isinstance(method, CRIINet)
    pools = load_pools(dataset, split, config)
    every = asked.iterations // asked.looks
    due = {10, *range(every, asked.iterations + 1, every)}
    seen: list[dict[str, Any]] = []

    def watch(step: int, _: list[dict[str, Any]]) -> None:
        if step in due:
            due.remove(step)
            method.eval()
            seen.append({"row": row, "step": step, **look(method, pools, step / asked.iterations)})
            print(seen[-1], flush=True)
            method.train()

    Trainer(method, pools, config, dataset.classes, watch=watch).fit()
    draw_gradients(method.eval(), pools, asked.out / f"{asked.dataset}-{row.replace(' ', '_')}.png")
    return seen


def look(method: CRIINet, pools: Pools, progress: float) -> dict[str, Any]:
    """Measure everything once; the method is in evaluation mode."""
    torch.manual_seed(0)
    unlabeled = first(pools.unlabeled, 16)[0]
    with torch.no_grad():
        output = method.student(unlabeled)
    coarse, refined = output.coarse.softmax(1), output.refined.softmax(1)
    return {
        "gap": round(float((coarse - refined).abs().sum(1).mean() / 2), 5),
        "differ": round(float((coarse.argmax(1) != refined.argmax(1)).float().mean()), 5),
        **on_validation(method, pools),
        "gradients": gradients(method, pools, unlabeled, progress),
        "near_boundary": {name: round(nearness(method, pools, i), 3) for i, name in enumerate(("intra", "inter"))},
        "empty": empty_sets(method, pools),
    }


def first(store: Any, count: int) -> tuple[Tensor, Tensor | None]:
    """Return the first images of a store, and their masks."""
    return store.draw(range(min(count, len(store))), np.random.default_rng(0))


def labeled_batch(pools: Pools, count: int = 8) -> LabeledBatch:
    """Return the first labeled images as they are."""
    image, target = first(pools.labeled, count)
    assert target is not None
    return LabeledBatch(image, target, torch.arange(len(image)))


@torch.no_grad()
def on_validation(method: CRIINet, pools: Pools) -> dict[str, Any]:
    """Return Dice of both outputs, and distances of embeddings."""
    scores: dict[str, list[Tensor]] = {"coarse": [], "refined": []}
    distances: dict[str, list[float]] = {}
    for start in range(0, len(pools.val), 8):
        at = range(start, min(start + 8, len(pools.val)))
        image, target = pools.val.draw(at, np.random.default_rng(0))
        assert target is not None
        output = method.student(image)
        for name in scores:
            scores[name].append(dice_by_class(getattr(output, name).argmax(1), target, method.classes))
        labels = at_stride(target, method.stride, output.embedding.shape[2:])
        edge = boundary_band(labels, 1)
        for embedding, label, near in zip(output.embedding, labels, edge, strict=True):
            for place, where in (("boundary", near), ("elsewhere", ~near)):
                for kind, value in pair_distances(embedding, label, where).items():
                    distances.setdefault(f"{kind} class, {place}", []).append(value)
    return {
        "dice": {name: round(float(torch.cat(found).nanmean()), 4) for name, found in scores.items()},
        "distances": {name: round(float(np.mean(found)), 3) for name, found in sorted(distances.items())},
    }


def pair_distances(embedding: Tensor, label: Tensor, where: Tensor) -> dict[str, float]:
    """Return the mean distance of pixels of the same and of different classes of one image, among ``where``."""
    vectors = embedding.flatten(1).T
    groups = [vectors[((label == c) & where).flatten()] for c in (0, 1)]
    groups = [group[torch.randperm(len(group))[:DRAWN]] for group in groups]
    if min(len(group) for group in groups) < 2:
        return {}
    inside = [euclidean(group, group).sum() / (len(group) * (len(group) - 1)) for group in groups]
    return {"same": float(torch.stack(inside).mean()), "other": float(euclidean(*groups).mean())}


def gradients(method: CRIINet, pools: Pools, unlabeled: Tensor, progress: float) -> dict[str, float]:
    """Return how hard each weighted term pulls at the shared network, the supervised terms together being 1."""
    batch, weights = labeled_batch(pools), method.config.weights_at(progress)
    shared = [p for p in method.student.network.backbone.parameters() if p.requires_grad]
    terms = method.labeled_losses(batch)
    output = method.student(unlabeled[:8])
    terms["consistency"] = coarse_refined_consistency(output.coarse, output.refined)
    supervised = weights["supervised_coarse"] * terms.pop("supervised_coarse")
    supervised = supervised + weights["supervised_refined"] * terms.pop("supervised_refined")

    def norm(term: Tensor) -> float:
        parts = torch.autograd.grad(term, shared, retain_graph=True, allow_unused=True)
        return float(torch.stack([part.square().sum() for part in parts if part is not None]).sum().sqrt())

    whole = norm(supervised)
    return {name: round(weights[name] * norm(term) / whole, 4) for name, term in terms.items()}


def embedding_gradients(method: CRIINet, batch: LabeledBatch) -> tuple[Tensor, ...]:
    """Return |gradient| of Intra-PRL and of Inter-PRL on every pixel's embedding: (B, h, w) each."""
    with torch.no_grad():
        embedding = method.student(batch.image).embedding
    embedding.requires_grad_()
    terms = method.ranked_losses(embedding, batch)
    found = [torch.autograd.grad(term, embedding, retain_graph=True)[0] for term in terms]
    return tuple(each.square().sum(1).sqrt() for each in found)


def nearness(method: CRIINet, pools: Pools, which: int) -> float:
    """Return how much denser one ranked loss's gradient is near boundaries than anywhere."""
    batch = labeled_batch(pools)
    size = embedding_gradients(method, batch)[which]
    near = boundary_band(at_stride(batch.target, method.stride, size.shape[1:]), 1)
    share = float(size[near].sum() / size.sum().clamp(min=1e-20))
    return share / float(near.float().mean())


@torch.no_grad()
def empty_sets(method: CRIINet, pools: Pools) -> dict[str, float]:
    """Return the share of boundary queries without a positive that is too far, and without a negative too near."""
    batch, ranked = labeled_batch(pools), method.config.ranked
    embedding = method.student(batch.image).embedding
    labels = at_stride(batch.target, method.stride, embedding.shape[2:])
    size = tuple(max(4, round(ranked.patch * side)) for side in labels.shape[1:])
    patches = boundary_patches(labels, method.classes, size=size, count=ranked.boundary_patches, band=1)
    query_at, query_class = draw_pixels(patches.labels, patches.band, method.classes, ranked.queries)
    vectors = gather_pixels(embedding, patches.pixels)
    query = vectors.gather(2, query_at.unsqueeze(-1).expand(-1, -1, -1, vectors.shape[-1]))
    distance = euclidean(query, vectors)
    alike = query_class.unsqueeze(-1) == patches.labels.unsqueeze(-2)
    known = (query_class >= 0).unsqueeze(-1) & (patches.labels >= 0).unsqueeze(-2)
    valid = query_class >= 0
    far = (known & alike & (distance > ranked.alpha - ranked.margin)).any(-1)
    close = (known & ~alike & (distance < ranked.alpha)).any(-1)
    return {
        "positives": round(1 - float(far[valid].float().mean()), 4),
        "negatives": round(1 - float(close[valid].float().mean()), 4),
    }


def draw_gradients(method: CRIINet, pools: Pools, path: Path) -> None:
    """Draw four labeled images, their masks, and where the gradient of each ranked loss lands."""
    from matplotlib import pyplot

    torch.manual_seed(0)
    batch = labeled_batch(pools, 4)
    intra, inter = embedding_gradients(method, batch)
    with torch.no_grad():
        loss = cross_entropy_dice(method.student(batch.image).refined, batch.target)
    figure, axes = pyplot.subplots(4, 4, figsize=(8, 8), layout="constrained")
    for i, row in enumerate(axes):
        shown = (batch.image[i].permute(1, 2, 0), batch.target[i], intra[i], inter[i])
        titles = ("image", "target", "Intra-PRL", "Inter-PRL")
        for axis, what, title in zip(row, shown, titles, strict=True):
            axis.imshow(what, cmap="magma")
            axis.set_axis_off()
            if i == 0:
                axis.set_title(title)
    figure.suptitle(f"|gradient| on the embedding; supervised loss of these images {float(loss):.3f}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
