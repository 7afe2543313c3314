"""One loop for every method: the seed decides everything, and no mask but those of labeled cases is opened."""

import json
import math
import random
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from criinet.config import merge
from criinet.data.dataset import open_dataset
from criinet.data.draws import make_split
from criinet.data.images import read_image
from criinet.data.spill import Spill
from criinet.data.splits import load_split
from criinet.data.store import load_store
from criinet.engine.batches import LABELED, UNLABELED
from criinet.engine.build import build_method
from criinet.engine.checkpoint import load_checkpoint
from criinet.engine.folder import RunFolder
from criinet.engine.interrupts import stop_on_interrupt
from criinet.engine.machine import threads
from criinet.engine.pools import load_pools
from criinet.engine.settings import TrainerConfig, resolve
from criinet.engine.trainer import Trainer
from criinet.engine.training import train
from criinet.errors import ConfigError, DataError, MethodError, RunError
from criinet.labels import IGNORE
from criinet.methods import Method, Supervised, methods
from criinet.records import Record, ValidationRecord
from criinet.types import LabeledBatch, UnlabeledBatch

ALL = list(methods)


def weights(run: RunFolder, name: str = "last") -> dict[str, torch.Tensor]:
    return load_checkpoint(run.checkpoint(name))["method"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def records(run: RunFolder, kind: str) -> list[dict]:
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def make_trainer(dataset: Path, settings: dict, method: str = "mean-teacher", seed: int = 0) -> Trainer:
    opened = open_dataset(dataset)
    config = resolve({**settings, "method": {"name": method}}, seed=seed)
    split = make_split(opened, None, seed=0)
    built = build_method(config, opened.classes)
    return Trainer(built, load_pools(opened, split, config), config, opened.classes)


@pytest.mark.parametrize("method", ALL)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(method, drawn, fit, tmp_path):
    short = {"iterations": 2, "checks": 1}
    one, two = (fit(drawn, tmp_path / name, method=method, trainer=short) for name in ("one", "two"))
    assert same(weights(one), weights(two))
    other = fit(drawn, tmp_path / "other", method=method, trainer=short, seed=1)
    assert not same(weights(one), weights(other))


def test_every_method_starts_from_the_same_network(tiny):
    """Every weight of the plain network stands in every method bit for bit: fair comparisons begin alike."""
    plain = build_method(resolve({**tiny(), "method": {"name": "supervised"}}, seed=4), ("a", "b")).student.state_dict()
    for method in ALL:
        built = build_method(resolve({**tiny(), "method": {"name": method}}, seed=4), ("a", "b"))
        state = built.student.state_dict()
        for name, weight in plain.items():
            assert any(key.endswith(name) and torch.equal(state[key], weight) for key in state), (method, name)


def test_batches_depend_on_seed_and_step_alone(drawn, tiny, batches_of):
    def batch(trainer: Trainer, step: int) -> tuple[LabeledBatch, UnlabeledBatch]:
        trainer.step = step
        return batches_of(trainer)

    one, two = make_trainer(drawn, tiny()), make_trainer(drawn, tiny())
    batch(one, 0)
    torch.rand(7)
    for step in (4, 2):
        (labeled, unlabeled), (again, unlabeled_again) = batch(one, step), batch(two, step)
        assert torch.equal(labeled.image, again.image)
        assert torch.equal(labeled.target, again.target)
        assert torch.equal(unlabeled.weak, unlabeled_again.weak)
    assert not torch.equal(batch(one, 1)[1].weak, batch(one, 2)[1].weak)
    assert not torch.equal(batch(one, 1)[1].weak, batch(make_trainer(drawn, tiny(), seed=1), 1)[1].weak)


def test_the_labeled_batches_are_the_same_for_every_method(drawn, tiny, batches_of):
    first, *others = (batches_of(make_trainer(drawn, tiny(), method))[0] for method in ALL)
    assert all(torch.equal(first.image, other.image) for other in others)
    assert all(torch.equal(first.case, other.case) for other in others)


def test_every_labeled_case_is_seen_equally_often(drawn, tiny, batches_of):
    """Six labeled cases, two a step: nine steps show each three times."""
    trainer = make_trainer(drawn, tiny(), "supervised")
    seen = []
    for trainer.step in range(9):
        seen += batches_of(trainer)[0].case.tolist()
    assert sorted(seen) == sorted(list(range(6)) * 3)


def test_every_unlabeled_image_is_seen_once_before_one_is_seen_again(drawn, tiny):
    trainer = make_trainer(drawn, tiny())
    pool = trainer.pools.unlabeled
    assert len(pool) % 2 == 0 < len(pool)
    seen = torch.cat([trainer.batches.draw(step)[3] for step in range(len(pool) // 2)])
    assert len(seen) == len(seen.unique(dim=0)) == len(pool)


def test_a_case_that_is_seen_again_is_cropped_elsewhere(drawn, tiny, monkeypatch):
    trainer = make_trainer(drawn, merge(tiny(), {"data": {"window": "patch"}}))
    monkeypatch.setattr(trainer.batches, "cases", lambda *_: [0, 1])
    first, second, again = (trainer.batches.draw(step) for step in (1, 2, 1))
    for place, name in ((0, "labeled images"), (1, "targets"), (3, "unlabeled images")):
        assert not torch.equal(first[place], second[place]), name
        assert torch.equal(first[place], again[place]), name


def test_a_case_that_is_seen_again_is_augmented_otherwise(drawn, tiny):
    trainer = make_trainer(drawn, tiny())
    images, views = trainer.batches.draw(0), []
    for step in (1, 2, 1):
        trainer.batches.seed(step)
        labeled, unlabeled = trainer.batches.views_of(images)
        views.append((labeled.image, unlabeled.weak))
    first, second, again = views
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, second))


def test_masks_of_unlabeled_and_test_cases_are_never_opened(dataset, fit, tmp_path):
    """Every mask but the labeled and validation ones is garbage: training does not notice."""
    shutil.copytree(dataset, tmp_path / "whole")
    split = make_split(open_dataset(dataset), "4")
    closed = [path for path in (dataset / "masks").iterdir() if path.stem in {*split.unlabeled, *split.test}]
    assert len(closed) == 2 + 4
    for path in closed:
        path.write_bytes(b"not a mask")
    card = json.loads((dataset / "dataset.json").read_text())
    (dataset / "dataset.json").write_text(json.dumps({**card, "encoding": "binary255"}))
    run = fit(dataset, tmp_path / "run", method="mean-teacher", labeled="4")
    whole = fit(tmp_path / "whole", tmp_path / "run-whole", method="mean-teacher", labeled="4")
    assert same(weights(run), weights(whole))


def test_images_of_test_cases_are_never_opened(dataset, fit, tmp_path):
    for name in make_split(open_dataset(dataset)).test:
        (dataset / "images" / f"{name}.png").write_bytes(b"not an image")
    assert weights(fit(dataset, tmp_path / "run", method="mean-teacher"))


def test_an_unlabeled_store_holds_no_mask(drawn, tiny):
    opened = open_dataset(drawn)
    store = load_store(opened, opened.labeled[:3], resolve(tiny()).data, with_masks=False)
    assert (len(store), store.masks) == (3, ())


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("masks", [1, 5, 20])
def test_any_number_of_masks_trains(method, masks, drawn, fit, tmp_path):
    """One label, more than the batch, and every image labeled: 20 masks leave no unlabeled image."""
    data = tmp_path / "data"
    for i, image in enumerate(sorted((drawn / "images").iterdir())[:20]):
        (data / "images").mkdir(parents=True, exist_ok=True)
        shutil.copy(image, data / "images")
        if i < masks:
            (data / "masks").mkdir(exist_ok=True)
            mask = drawn / "masks" / image.name
            source = mask if mask.exists() else drawn / "masks" / "case_0001.png"
            shutil.copy(source, data / "masks" / image.name)
    run = fit(data, tmp_path / "run", method=method, trainer={"iterations": 2, "checks": 1})
    split = load_split(run.split, open_dataset(data))
    assert (bool(split.val), bool(split.test)) == (masks == 20, masks == 20)
    assert bool(split.unlabeled) == (masks < 20)
    assert bool(records(run, "validation")) == (masks == 20)
    assert all(math.isfinite(float(v.float().sum())) for v in weights(run).values())


def test_records_hold_raw_and_weighted_terms(trained):
    run = RunFolder(trained)
    last = records(run, "train")[-1]
    assert last["loss"] == pytest.approx(sum(last["weights"][name] * last["terms"][name] for name in last["terms"]))
    assert (last["step"], last["progress"]) == (6, 1.0)
    assert last["learning_rate"] == pytest.approx(TrainerConfig().learning_rate * TrainerConfig().rate(5 / 6))
    assert [record["step"] for record in records(run, "validation")] == [3, 6]
    assert [record["step"] for record in records(run, "monitor")] == [3, 6]


def test_the_best_checkpoint_is_the_one_of_the_best_validation(trained):
    run = RunFolder(trained)
    scores = {record["step"]: record["dice"] for record in records(run, "validation")}
    best = load_checkpoint(run.checkpoint("best"))
    assert scores[best["step"]] == max(scores.values()) == best["best"]


def test_a_worse_or_equal_validation_replaces_no_best_checkpoint(drawn, fit, tmp_path, monkeypatch):
    """Dice .5, .8, .8 and .2 at steps 1 to 4."""
    scores = dict(enumerate((0.5, 0.8, 0.8, 0.2), 1))
    monkeypatch.setattr(Trainer, "validate", lambda self: ValidationRecord(self.step, scores[self.step], {}, 0.0))
    run = fit(drawn, tmp_path / "run", trainer={"iterations": 4, "checks": 4})
    best, last = (load_checkpoint(run.checkpoint(name)) for name in ("best", "last"))
    assert (best["step"], best["best"], last["step"]) == (2, 0.8, 4)


def test_validation_looks_change_no_weight(drawn, fit, tmp_path):
    often, seldom = (
        fit(drawn, tmp_path / str(checks), method="mean-teacher", trainer={"checks": checks}) for checks in (6, 1)
    )
    assert same(weights(often), weights(seldom))


@pytest.mark.parametrize("method", ["crii", "mean-teacher"])
def test_a_step_minimises_the_weighted_sum_as_fast_as_the_settings_say(method, drawn, tiny, monkeypatch):
    """At .2 of training a ramp over .4 is not yet up, and the rate is .8^.9 of its own."""
    trainer = make_trainer(drawn, tiny(clip=1e-3, weight_decay=0.3, learning_rate=2e-3), method)
    minimised, backward = [], trainer.fabric.backward
    monkeypatch.setattr(trainer.fabric, "backward", lambda loss: (minimised.append(loss.item()), backward(loss)))
    terms, norm = trainer.train_step(0.2)
    weights_then = trainer.method.config.weights_at(0.2)
    assert weights_then != trainer.method.config.weights_at(1.0)
    assert minimised == pytest.approx([sum(weights_then[name] * term.item() for name, term in terms.items())])
    group = trainer.optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (pytest.approx(2e-3 * 0.8**0.9), 0.3)
    gradients = [p.grad.flatten() for p in trainer.method.parameters() if p.grad is not None]
    assert torch.cat(gradients).norm() == pytest.approx(1e-3, rel=0.01)
    assert norm > 1e-2, "as long as it was"


def test_a_step_forgets_the_gradient_of_the_one_before(drawn, tiny):
    clean, left = (make_trainer(drawn, tiny()) for _ in range(2))
    for parameter in left.method.student.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert clean.train_step(0.0)[1] == left.train_step(0.0)[1]


def test_a_teacher_follows_what_the_step_made_of_the_student(drawn, tiny):
    """It takes over the first student whole: the one after the step."""
    trainer = make_trainer(drawn, tiny(), "mean-teacher")
    before = [p.clone() for p in trainer.method.student.parameters()]
    trainer.train_step(0.0)
    teacher, student = ([*m.parameters()] for m in (trainer.method.teacher.network, trainer.method.student))
    assert all(map(torch.equal, teacher, student))
    assert not all(map(torch.equal, before, student))


def test_a_pretrained_encoder_learns_at_its_own_rate(drawn, tiny):
    settings = merge(tiny(encoder_rate=0.3), {"network": {"name": "lite0-unet"}})
    del settings["network"]["channels"], settings["network"]["dropout"]
    trainer = make_trainer(drawn, settings, "supervised")
    trainer.train_step(0.5)
    new, encoder = trainer.optimizer.param_groups
    assert len(new["params"]) > 0 < len(encoder["params"])
    assert encoder["lr"] == pytest.approx(0.3 * new["lr"])


def test_the_monitor_compares_with_what_is_known_of_the_labeled_masks(drawn, tiny):
    """Of the upper half nothing is known: the lower half alone is the labeled area."""
    first = make_trainer(drawn, tiny())
    masks = torch.stack(first.pools.labeled.masks).to(torch.int16)
    masks[:, :16] = IGNORE
    pools = replace(first.pools, labeled=replace(first.pools.labeled, masks=tuple(masks)))
    monitor = Trainer(first.method, pools, first.config, first.classes).monitor
    share = float(masks[:, 16:].float().mean())
    assert share > 0.05
    assert monitor.labeled_area == pytest.approx([1 - share, share])


def test_an_old_run_stays_when_the_new_one_cannot_begin(dataset, fit, tmp_path):
    """--overwrite with an unreadable image: the finished run is still there, weights and all."""
    run = fit(dataset, tmp_path / "run")
    before = run.checkpoint("last").read_bytes()
    image = dataset / "images" / "case_0010.png"
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(Exception, match=r"case_0010\.png is damaged"):
        fit(dataset, tmp_path / "run", method="mean-teacher", overwrite=True)
    assert run.checkpoint("last").read_bytes() == before
    assert json.loads(run.config.read_text())["method"]["name"] == "supervised"


def test_overwrite_leaves_nothing_of_the_old_run(drawn, fit, tmp_path):
    run = fit(drawn, tmp_path / "run")
    (run.root / "results.json").write_text("{}")
    fit(drawn, tmp_path / "run", method="mean-teacher", overwrite=True)
    assert json.loads(run.config.read_text())["method"]["name"] == "mean-teacher"
    assert not run.results.exists()
    with pytest.raises(RunError, match=r"--resume \(in Python resume=True\), or replace it with --overwrite"):
        fit(drawn, tmp_path / "run")


def test_a_batch_too_small_for_batch_normalisation_is_refused_before_anything_is_written(drawn, tmp_path):
    """One image of 32 pixels is one cell on the coarsest scale of `lite0-unet`."""
    settings = {"network": {"pretrained": False}, "data": {"size": [32, 32]}, "trainer": {"labeled_batch": 1}}
    with pytest.raises(ConfigError, match=r"trainer\.labeled_batch is 1 .* Use batches of 2"):
        train(drawn, tmp_path / "run", settings=settings, device="cpu")
    assert not (tmp_path / "run").exists()


def test_crops_of_large_images_are_trained_on(drawn, fit, tiny, tmp_path):
    settings = tiny()
    settings["data"] = {"size": [32, 32], "window": "patch"}
    run = fit(drawn, tmp_path / "run", settings=settings, method="mean-teacher")
    assert records(run, "validation")[-1]["step"] == 6


def test_a_trainer_without_a_folder_leaves_no_trace(drawn, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_trainer(drawn, tiny(), "supervised").fit()
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_at_a_terminal_is_answered_and_given_back_for_the_second_time(monkeypatch, capfd):
    monkeypatch.setattr("os.isatty", lambda _: True)
    with stop_on_interrupt() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        assert "stopping after this step, to save it; once more ends at once" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_is_given_back_after_training():
    before = signal.getsignal(signal.SIGINT)
    with stop_on_interrupt() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
    assert signal.getsignal(signal.SIGINT) is before


def test_watchers_get_every_record_that_is_written(drawn, tiny, tmp_path):
    heard: list[Record] = []
    run = train(
        drawn,
        tmp_path / "run",
        method="supervised",
        settings=tiny(),
        device="cpu",
        watch=lambda _, found: heard.extend(found),
    )
    assert heard
    assert heard == run.records()


def test_images_that_memory_cannot_hold_are_drawn_and_trained_on_alike(drawn, fit, tiny, tmp_path, monkeypatch):
    """The same batches from the file, and after a few steps the same weights."""
    opened = open_dataset(drawn)
    cases = opened.select(make_split(opened, None, seed=0).unlabeled)
    stores = [
        load_store(opened, cases, resolve(tiny()).data, with_masks=False, spill=Spill(limit=limit))
        for limit in (0, 1e9)
    ]
    drawn_images = [store.draw([3, 1, 2], np.random.default_rng(0))[0] for store in stores]
    assert torch.equal(*drawn_images)
    runs = []
    for share in (0.0, 0.5):
        monkeypatch.setattr("criinet.data.spill.SHARE", share)
        runs.append(fit(drawn, tmp_path / f"run{share}", method="crii"))
    assert same(*(weights(run) for run in runs))


def test_a_bad_unlabeled_image_ends_the_run_before_its_first_checkpoint_and_leaves_no_folder(drawn, fit, tmp_path):
    """However few steps are taken while images are still decoded; once the file is mended, the same call works."""
    copied = tmp_path / "data"
    shutil.copytree(drawn, copied)
    split = make_split(open_dataset(copied), "2")
    image = open_dataset(copied).select([split.unlabeled[-1]])[0].image
    whole = image.read_bytes()
    image.write_bytes(whole[:200])
    with pytest.raises(DataError, match=rf"{image.name} is damaged"):
        fit(copied, tmp_path / "run", labeled="2", method="supervised")
    assert not (tmp_path / "run").exists()
    image.write_bytes(whole)
    assert fit(copied, tmp_path / "run", labeled="2", method="supervised").checkpoint("last").exists()


def test_what_contradicts_itself_is_refused_before_anything_is_written(dataset, tiny, tmp_path):
    def refused(fragment: str, **asked) -> None:
        with pytest.raises(ConfigError, match=fragment):
            train(dataset, tmp_path / "run", device="cpu", **{"settings": tiny(), **asked})
        assert not (tmp_path / "run").exists()

    refused("^resume and overwrite contradict", resume=True, overwrite=True)
    refused("^labeled and split contradict", labeled="4", split="split.json")
    for seed in (-1, 1.5, "1", 2**63):
        refused("is no seed; give a whole number from 0 to", seed=seed)
    refused(
        r"^'trainer\.iterations' is no table; nest the settings, as {'trainer': {'iterations'",
        settings={"trainer.iterations": 3},
    )
    refused("^data.one_object is for volumes, but .* holds images; drop it", settings={"data": {"one_object": [1]}})


def test_an_author_is_told_of_losses_that_do_not_fit(dataset, tiny, tmp_path, monkeypatch):
    """The names of the losses are known after a step alone; the run that it began leaves no folder behind."""

    class Misnamed(Supervised):
        def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, torch.Tensor]:
            return {"sup": super().losses(labeled, unlabeled, progress)["supervised"]}

    monkeypatch.setitem(methods._entries, "misnamed", Misnamed)
    with pytest.raises(MethodError, match=r"^method 'misnamed' returns the losses sup, but Config\.weights has superv"):
        train(dataset, tmp_path / "run", method="misnamed", settings=tiny(), device="cpu")
    assert not (tmp_path / "run").exists()


def draw_from_every_generator() -> list[float]:
    """Numbers from the global generators of Python, NumPy and PyTorch."""
    return [random.random(), np.random.rand(), torch.rand(()).item()]  # noqa: NPY002


def seed_every_generator(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


def test_what_a_method_draws_follows_from_the_seed_whatever_it_draws_from(own):
    """Its own first numbers too; what the program drew before does not matter."""

    def build(self, network, config) -> None:
        Method.__init__(self, network, config)
        self.register_buffer("first", torch.tensor(draw_from_every_generator(), dtype=torch.float64))

    def extra(_: Method, logits: torch.Tensor) -> torch.Tensor:
        return sum(draw_from_every_generator()) * logits.square().mean()

    found = []
    for seed in (1, 2):
        seed_every_generator(seed)
        found.append(load_checkpoint(own(__init__=build, extra=extra, overwrite=True).checkpoint("last"))["method"])
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


def test_what_a_method_draws_in_a_step_follows_from_the_step(drawn, tiny):
    trainer = make_trainer(drawn, tiny())
    found = []
    for step in (1, 2, 1):
        trainer.batches.seed(step)
        found.append(draw_from_every_generator())
    assert found[0] == found[2]
    assert all(one != other for one, other in zip(found[0], found[1], strict=True))


def test_training_leaves_the_programs_random_numbers_alone_and_has_them_for_itself(dataset, tiny, fit, tmp_path):
    seed_every_generator(5)
    expected = draw_from_every_generator()
    others: list[str] = []
    finished = fit(dataset, tmp_path / "finished")
    size = finished.checkpoint("last").stat().st_size

    def beside(*_: object) -> None:
        if not others:
            for out, options in (("other", {}), ("finished", {"overwrite": True})):
                with pytest.raises(RunError) as error:
                    train(dataset, tmp_path / out, method="supervised", settings=tiny(), device="cpu", **options)
            others.append(str(error.value))

    seed_every_generator(5)
    with threads(3):
        train(dataset, tmp_path / "run", method="supervised", settings=tiny(threads=1), device="cpu", watch=beside)
        assert torch.get_num_threads() == 3
    assert finished.checkpoint("last").stat().st_size == size, "a run that could not be replaced is whole"
    assert others == ["another training is under way in this process; start each in a process of its own."]
    assert not (tmp_path / "other").exists()
    assert draw_from_every_generator() == expected


def test_training_says_what_it_does_not_read(dataset, tiny, tmp_path):
    (dataset / "images" / "frame.gif").write_bytes(b"GIF89a")
    said: list[str] = []
    train(dataset, tmp_path / "run", method="supervised", settings=tiny(), device="cpu", warn=said.append)
    assert "files that are not read, for their kind: 1 .gif" in said


def test_training_says_that_masks_look_inverted_and_images_are_on_both_sides(dataset, tiny, tmp_path):
    split = make_split(open_dataset(dataset))
    for name in split.labeled:
        mask = read_image(dataset / "masks" / f"{name}.png")
        Image.fromarray(np.where(mask > 0, 0, 255).astype(np.uint8)).save(dataset / "masks" / f"{name}.png")
    copied, copy = split.labeled[0], split.test[0]
    shutil.copy(dataset / "images" / f"{copied}.png", dataset / "images" / f"{copy}.png")
    said: list[str] = []
    train(dataset, tmp_path / "run", method="supervised", settings=tiny(), device="cpu", warn=said.append)
    assert re.fullmatch(r"\w+ covers \d\d% of a mask in the mean: are the masks inverted\? Background is 0", said[0])
    both = sorted([copied, copy])
    assert said[1].startswith(f"1 image is stored under several names (as {both[0]} = {both[1]}), in two of training")
    assert len(said) == 2


def test_labeled_and_unlabeled_cases_have_orders_of_their_own(drawn, tiny):
    trainer = make_trainer(drawn, tiny())
    cases, pool = trainer.batches.cases, trainer.pools.unlabeled
    one, other = ([cases(pool, "labeled_batch", kind, step) for step in range(4)] for kind in (LABELED, UNLABELED))
    assert one != other
