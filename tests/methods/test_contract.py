"""What every registered method owes: one suite, run over all of them, in 2D and 3D, with two and four classes."""

import io
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from criinet.engine.plain_state import PlainState
from criinet.losses import soft_dice_loss
from criinet.methods import InRounds, methods
from criinet.methods.ema import EMA
from criinet.networks import Network, build_network, parse_network
from criinet.types import CutMix, LabeledBatch, UnlabeledBatch

NAMES = list(methods)
VIEWS = {"weak", "strong_1", "strong_2"}
every_method = pytest.mark.parametrize("name", NAMES)
every_method_with_an_opponent = pytest.mark.parametrize("name", [n for n in NAMES if methods.get(n).opponent_terms])
every_method_of_unlabeled_images = pytest.mark.parametrize("name", [n for n in NAMES if methods.get(n).unlabeled_terms])


def with_teacher(name: str) -> bool:
    config = parse_network("unet", {"channels": [2, 2]})
    network = build_network("unet", config, in_channels=1, classes=2, dims=2, seed=0)
    entry = methods.get(name)
    return any(path.split(".")[-1] == "teacher" for path, _ in entry(network, entry.Config()).named_modules())


every_method_with_a_teacher = pytest.mark.parametrize("name", [n for n in NAMES if with_teacher(n)])


def eager(name: str) -> dict[str, float]:
    """Settings with which a method that learns from sure pixels alone learns from an untrained network's too."""
    return {"confidence": 0.0} if "confidence" in methods.get(name).Config.model_fields else {}


def to_bytes(state: object) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return buffer


def finite(terms: dict[str, Tensor]) -> bool:
    return all(term.ndim == 0 and bool(torch.isfinite(term)) for term in terms.values())


@every_method
def test_the_declaration_is_complete(name):
    """Weights and a phrase for all terms, known views, one line of summary and reference; unlabeled terms iff views."""
    method = methods.get(name)
    assert method.Config.terms.keys() == method.Config().weights.keys()
    assert set(method.unlabeled_terms) <= set(method.Config().weights)
    assert set(method.opponent_terms) <= set(method.Config().weights)
    assert set(method.views) <= VIEWS
    assert bool(method.views) == bool(method.unlabeled_terms)
    for line in (method.summary, method.reference):
        assert line
        assert "\n" not in line


@every_method
def test_its_networks_are_found_the_students_first(name, task):
    """What is exported and embeds images is the student's; encoders of all of them learn at their own rate."""
    method = task.method(name)
    assert method.networks[0] in list(method.student.modules())
    assert {id(network) for network in method.networks} == {id(m) for m in method.modules() if isinstance(m, Network)}


@every_method
def test_losses_are_finite_scalars_named_like_the_weights(name, task):
    method = task.method(name)
    terms = method.losses(task.labeled_batch(), task.unlabeled_batch(method.views), 0.5)
    assert set(terms) == set(method.config.weights) == set(method.config.weights_at(0.5))
    assert finite(terms)
    assert all(term >= 0 for term in terms.values())


@every_method
def test_the_total_reaches_every_parameter_of_the_student(name, task, train, adam):
    """After a first step, since a refinement may start at zero."""
    method = task.method(name)
    train(method, adam(method), task, 1, start=50)
    method.zero_grad()
    terms = method.losses(task.labeled_batch(), task.unlabeled_batch(method.views), 0.5)
    torch.stack(list(terms.values())).sum().backward()
    for path, parameter in method.student.named_parameters():
        assert parameter.grad is not None, path
        assert torch.isfinite(parameter.grad).all(), path
        assert parameter.grad.abs().sum() > 0, path


@every_method_of_unlabeled_images
def test_each_unlabeled_term_alone_moves_the_student(name, task, train, adam):
    method = task.method(name, **eager(name))
    train(method, adam(method), task, 5, start=50)
    learning = [p for p in method.student.parameters() if p.requires_grad]
    for term in method.unlabeled_terms:
        torch.manual_seed(0)
        value = method.losses(task.labeled_batch(), task.unlabeled_batch(method.views), 0.6)[term]
        gradients = torch.autograd.grad(value, learning, allow_unused=True)
        given = [gradient for gradient in gradients if gradient is not None]
        assert all(torch.isfinite(gradient).all() for gradient in given), term
        assert sum(gradient.abs().sum() for gradient in given) > 0, term


@every_method_of_unlabeled_images
def test_unlabeled_terms_answer_to_the_unlabeled_images(name, task, train, adam):
    """Other unlabeled images beside the same labeled ones change the value of every unlabeled term."""
    method = task.method(name, **eager(name))
    train(method, adam(method), task, 2, start=50)
    values = []
    for seed in (100, 200):
        torch.manual_seed(0)
        values.append(method.losses(task.labeled_batch(), task.unlabeled_batch(method.views, seed), 0.6))
    for term in method.unlabeled_terms:
        assert values[0][term].item() != values[1][term].item(), term


@every_method_of_unlabeled_images
def test_no_other_term_depends_on_the_unlabeled_images(name, task):
    """Labeled losses are the same bit for bit beside other unlabeled images: no batch statistics are shared."""
    values = []
    for seed in (100, 200):
        method = task.method(name)
        torch.manual_seed(0)
        values.append(method.losses(task.labeled_batch(), task.unlabeled_batch(method.views, seed), 0.6))
    others = set(values[0]) - set(method.unlabeled_terms) - set(method.opponent_terms)
    assert others
    assert all(values[0][term].item() == values[1][term].item() for term in others)


@every_method_with_an_opponent
def test_an_opponent_never_moves_the_student_and_no_other_term_moves_an_opponent(name, task, train, adam):
    """The parameters that opponent terms move are moved by no other term, and none of them is the student's."""
    method = task.method(name)
    train(method, adam(method), task, 2, start=50)
    assert not set(method.opponent_terms) & set(method.unlabeled_terms)
    moved: dict[str, set[str]] = {}
    for term in method.config.weights:
        method.zero_grad()
        torch.manual_seed(0)
        method.losses(task.labeled_batch(), task.unlabeled_batch(method.views), 0.6)[term].backward()
        moved[term] = {path for path, p in method.named_parameters() if p.grad is not None}
    of_opponents = set().union(*(moved.pop(term) for term in method.opponent_terms))
    assert of_opponents
    assert not of_opponents & set().union(*moved.values())
    assert not any(path.startswith("student.") for path in of_opponents)


@pytest.mark.parametrize("name", [n for n in NAMES if methods.get(n).recordable])
def test_a_recordable_method_does_the_same_at_any_time(name, task):
    """Its losses are the same numbers early and late, and it has one round."""
    values = []
    for progress in (0.0, 0.9):
        method = task.method(name)
        torch.manual_seed(0)
        values.append(method.losses(task.labeled_batch(), task.unlabeled_batch(method.views), progress))
    assert not isinstance(method, InRounds)
    assert {k: v.item() for k, v in values[0].items()} == {k: v.item() for k, v in values[1].items()}


@every_method
def test_supervised_methods_ignore_unlabeled_images_and_others_need_them(name, tasks):
    """A method that asks for no view works on an empty unlabeled batch."""
    task = tasks()
    method = task.method(name)
    batch = task.unlabeled_batch(method.views)
    assert set(batch.views) == set(method.views)
    assert len(batch) == (task.unlabeled if method.views else 0)
    assert finite(method.losses(task.labeled_batch(), batch, 0.0))


@every_method_with_a_teacher
def test_the_teacher_gets_no_gradient_and_follows_the_student(name, task):
    """After the first step the teacher is the student; after the second it is half-way between, as 1 - 1/(1 + 1)."""
    method = task.method(name)
    teacher = method.teacher
    assert isinstance(teacher, EMA)
    taught = {id(p) for p in method.parameters() if p.requires_grad}
    assert not {id(p) for p in teacher.parameters()} & taught
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    for step in range(2):
        before = [p.clone() for p in teacher.parameters()]
        torch.manual_seed(step)
        terms = method.losses(task.labeled_batch(), task.unlabeled_batch(method.views), 0.6)
        torch.stack(list(terms.values())).sum().backward()
        assert all(p.grad is None for p in teacher.parameters())
        optimizer.step()
        assert all(torch.equal(p, b) for p, b in zip(teacher.parameters(), before, strict=True))
        method.after_step()
        students = list(method.student.parameters())
        for now, old, student in zip(teacher.parameters(), before, students, strict=True):
            expected = student if step == 0 else (old + student) / 2
            torch.testing.assert_close(now, expected, atol=1e-7, rtol=1e-5)
        assert any(not torch.equal(p, b) for p, b in zip(teacher.parameters(), before, strict=True))


@every_method
def test_the_targets_of_unlabeled_images_are_probabilities_without_labels(name, task):
    method = task.method(name).eval()
    image, _ = task.draw(2, seed=5)
    with torch.no_grad():
        targets = method.targets(image)
    assert targets.shape == (2, task.classes, *task.sides)
    torch.testing.assert_close(targets.sum(1), torch.ones(2, *task.sides))


@every_method
@pytest.mark.parametrize("into", ["a fresh method", "the method that ran ahead"])
def test_resuming_gives_the_same_losses_bit_for_bit(name, task, train, adam, into):
    """Three steps, save, two steps; load, and the same two steps have the very same losses."""
    method = task.method(name)
    optimizer = adam(method)
    train(method, optimizer, task, 3, start=40)
    saved = to_bytes({"method": method.state_dict(), "optimizer": optimizer.state_dict()})
    expected = train(method, optimizer, task, 2, start=43)
    if into == "a fresh method":
        method = task.method(name, seed=9)
        optimizer = adam(method)
    state = torch.load(saved, weights_only=True)
    method.load_state_dict(state["method"])
    optimizer.load_state_dict(state["optimizer"])
    assert train(method, optimizer, task, 2, start=43) == expected


@every_method
def test_the_same_seed_gives_the_same_losses(name, task, train, adam):
    histories = []
    for seed in (3, 3, 4):
        method = task.method(name, seed=seed)
        histories.append(train(method, adam(method), task, 2))
    assert histories[0] == histories[1]
    assert histories[0] != histories[2]


@pytest.mark.slow
@every_method
def test_two_cases_overfit(name, tasks, train, adam):
    """60 steps on two 32x32 images: the prediction covers them (soft Dice loss below .1, from above .4)."""
    task = tasks(sides=(32, 32), settings={"channels": [8, 16, 32]})
    method = task.method(name)
    batch = task.labeled_batch()

    def misfit() -> float:
        method.eval()
        with torch.no_grad():
            value = soft_dice_loss(method.predict(batch.image).probs, batch.target).item()
        method.train()
        return value

    before = misfit()
    train(method, adam(method), task, 60, of=60)
    assert before > 0.4
    assert misfit() < 0.1


@every_method
def test_predictions_are_probabilities_of_the_images_own_size(name, task):
    """On odd sides, in evaluation mode, twice the same, and without a change of state."""
    method = task.method(name).eval()
    sides = tuple(side + 5 + axis for axis, side in enumerate(task.sides))
    image = torch.rand(2, task.in_channels, *sides)
    before = {key: tensor.clone() for key, tensor in method.state_dict().items()}
    with torch.no_grad():
        first, second = method.predict(image), method.predict(image)
    for probs in (first.probs, *([] if first.coarse is None else [first.coarse])):
        assert probs.shape == (2, task.classes, *sides)
        assert probs.dtype == torch.float32
        assert probs.min() >= 0
        torch.testing.assert_close(probs.sum(1), torch.ones(2, *sides))
    assert torch.equal(first.probs, second.probs)
    assert all(torch.equal(tensor, before[key]) for key, tensor in method.state_dict().items())


def all_background(batch: LabeledBatch) -> LabeledBatch:
    return LabeledBatch(batch.image, torch.zeros_like(batch.target), batch.case)


@every_method
@pytest.mark.parametrize("trouble", ["one image", "background alone", "half ignored", "all ignored", "flat images"])
def test_poor_batches_give_finite_losses_and_gradients(name, task, tasks, hide, trouble):
    if trouble == "one image":
        task = tasks(**{**{f.name: getattr(task, f.name) for f in fields(task)}, "labeled": 1})
    batch = task.labeled_batch()
    if trouble == "background alone":
        batch = all_background(batch)
    elif trouble in ("half ignored", "all ignored"):
        batch = hide(batch, 0.5 if trouble == "half ignored" else 1.1)
    elif trouble == "flat images":
        batch = LabeledBatch(torch.full_like(batch.image, 0.5), batch.target, batch.case)
    method = task.method(name)
    terms = method.losses(batch, task.unlabeled_batch(method.views), 0.5)
    assert finite(terms)
    torch.stack(list(terms.values())).sum().backward()
    for path, parameter in method.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), path


@every_method
def test_a_method_keeps_all_of_its_state_in_its_state_dict(name, tasks, train, adam):
    """Loaded into a fresh method, the state gives the same prediction and the same targets."""
    task = tasks()
    method = task.method(name)
    train(method, adam(method), task, 3)
    other = task.method(name, seed=9)
    other.load_state_dict(torch.load(to_bytes(method.state_dict()), weights_only=True))
    image, _ = task.draw(2, seed=7)
    with torch.no_grad():
        assert torch.equal(other.eval().predict(image).probs, method.eval().predict(image).probs)
        assert torch.equal(other.targets(image), method.targets(image))


@every_method
def test_nothing_that_changes_is_kept_in_python_alone(name, tasks, train, adam):
    """Numbers, lists and tensors that training changes are buffers, which are saved."""
    method = tasks().method(name)
    kept = PlainState(method)
    train(method, adam(method), tasks(), 3, start=40)
    kept.require_unchanged()


def test_an_unlabeled_batch_has_no_place_for_a_target():
    """Images by view, the geometry of their mixing, the method's own guess: leakage cannot be written."""
    assert [f.name for f in fields(UnlabeledBatch)] == ["views", "mixes", "pseudo_label"]
    assert [f.name for f in fields(CutMix)] == ["source", "box"]
    with pytest.raises(TypeError):
        UnlabeledBatch({}, {}, target=torch.zeros(1))  # pyright: ignore[reportCallIssue]
    batch = UnlabeledBatch({"weak": torch.zeros(3, 1, 2, 2)}, {})
    with pytest.raises(AttributeError):
        batch.target = torch.zeros(1)  # pyright: ignore[reportAttributeAccessIssue]
    assert not hasattr(batch, "target")
    assert len(batch) == 3
    assert batch.weak is batch.views["weak"]
