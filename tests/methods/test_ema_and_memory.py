"""What methods remember: a moving average of weights, and the last descriptors of every class."""

import copy
import io

import pytest
import torch
from torch import Tensor, nn

from criinet.labels import IGNORE
from criinet.losses import Descriptors
from criinet.methods.ema import EMA
from criinet.methods.memory_bank import MemoryBank


def network(value: float = 0.0) -> nn.Module:
    """Return a layer with a norm, all parameters equal to ``value``."""
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)
    return module


def level(average: EMA) -> float:
    """Return the one value that all averaged parameters have."""
    values = torch.cat([parameter.flatten() for parameter in average.network.parameters()])
    assert torch.equal(values, values[:1].expand_as(values))
    return values[0].item()


def reload(state: dict[str, Tensor]) -> dict[str, Tensor]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_the_average_by_hand():
    """Students 1, 2, 4, 0 with decay .6: keeps 0, 1/2, .6, .6, so 1, 1.5, .9 + 1.6 = 2.5, 1.5."""
    average, levels = EMA(network(7.0), 0.6), []
    for student in (1.0, 2.0, 4.0, 0.0):
        average.update(network(student))
        levels.append(level(average))
    assert levels == pytest.approx([1.0, 1.5, 2.5, 1.5], abs=1e-6)


def test_the_decay_is_that_of_the_config_once_warm():
    """Keep is min(1 - 1 / (t + 1), .99): after 99 updates the next ones keep exactly .99."""
    average = EMA(network(), 0.99)
    expected = 0.0
    for t in range(150):
        average.update(network(float(t % 7)))
        keep = min(1 - 1 / (t + 1), 0.99)
        expected = keep * expected + (1 - keep) * (t % 7)
    assert level(average) == pytest.approx(expected, abs=1e-4)
    before = level(average)
    average.update(network(100.0))
    assert level(average) == pytest.approx(0.99 * before + 1.0, abs=1e-4)


def test_a_still_student_is_never_lost():
    """A teacher that forgot to add its share would decay to zero: here it stays at 3 for 500 updates."""
    average, student = EMA(network(), 0.9), network(3.0)
    for _ in range(500):
        average.update(student)
    assert level(average) == pytest.approx(3.0, abs=1e-5)


def test_running_statistics_are_averaged_as_the_weights_are():
    """Means 0, 4 and 2 with decay .6: the first is copied, then 2, then .6 x 2 + .4 x 2; whole numbers are copied."""
    average, student = EMA(network(), 0.6), network()
    seen = []
    for mean in (0.0, 4.0, 2.0):
        student[1].running_mean.fill_(mean)
        student[1].num_batches_tracked += 1
        average.update(student)
        seen.append(average.network[1].running_mean[0].item())
        assert average.network[1].num_batches_tracked == student[1].num_batches_tracked
    assert seen == pytest.approx([0.0, 2.0, 2.0])


def test_the_average_is_a_copy_without_gradient():
    student = network(2.0)
    average = EMA(student, 0.9)
    with torch.no_grad():
        student[0].weight.fill_(5.0)
    assert level(average) == 2.0
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert not average(torch.ones(1, 1, 2, 2, requires_grad=True)).requires_grad


def test_the_student_is_left_alone():
    student = network(2.0)
    before = copy.deepcopy(student.state_dict())
    average = EMA(student, 0.9)
    average.update(student)
    assert all(torch.equal(tensor, before[key]) for key, tensor in student.state_dict().items())
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert student.training


def test_in_training_the_average_normalises_by_the_batch_and_leaves_no_trace():
    """Its output has mean 0 and variance 1, whatever its running statistics are, and they stay as they are."""
    average = EMA(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)), 0.9)
    average.network[1].running_mean.fill_(7.0)
    before = copy.deepcopy(average.state_dict())
    image = torch.randn(4, 1, 5, 5) * 3 + 1
    inside = average.train()(image)
    torch.testing.assert_close(inside.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(inside.var((0, 2, 3), correction=0), torch.ones(2), atol=1e-3, rtol=0)
    assert all(torch.equal(tensor, before[key]) for key, tensor in average.state_dict().items())
    outside = average.eval()(image)
    torch.testing.assert_close(outside, average.network[0](image) - 7.0, atol=1e-4, rtol=1e-4)


def test_dropout_is_on_in_training_alone():
    parent = nn.ModuleDict({"student": network(1.0), "teacher": EMA(network(1.0), 0.9)})
    image = torch.randn(4, 1, 5, 5)
    assert not torch.equal(parent["teacher"](image), parent["teacher"](image))
    parent.eval()
    assert torch.equal(parent["teacher"](image), parent["teacher"](image))


def test_the_count_of_updates_travels_with_the_state():
    """Loaded after 2 updates, the third keeps 2/3: (1 - 1/3) x 6 + 1/3 x 0 = 4, not a copy of the student."""
    first = EMA(network(), 0.99)
    first.update(network(6.0))
    first.update(network(6.0))
    second = EMA(network(), 0.99)
    second.load_state_dict(reload(first.state_dict()))
    second.update(network(0.0))
    assert level(second) == pytest.approx(4.0, abs=1e-5)
    assert int(second.steps) == 3


def test_loading_counts_from_the_loaded_step_also_where_updates_had_been_made():
    """Back from update 50 to update 2, as when training goes on from an older checkpoint: again 2/3, not 50/51."""
    average = EMA(network(), 0.99)
    average.update(network(6.0))
    average.update(network(6.0))
    state = reload(average.state_dict())
    for _ in range(48):
        average.update(network(1.0))
    nn.ModuleDict({"teacher": average}).load_state_dict({f"teacher.{key}": tensor for key, tensor in state.items()})
    average.update(network(0.0))
    assert level(average) == pytest.approx(4.0, abs=1e-5)
    average.update(network(0.0))
    assert level(average) == pytest.approx(3.0, abs=1e-5)
    assert int(average.steps) == 4


def described(values: list[float], label: list[int], case: list[int] | None = None) -> Descriptors:
    """Return descriptors (M, 2) whose first channel tells them apart."""
    first = torch.tensor(values, dtype=torch.float32)
    numbers = list(range(len(values))) if case is None else case
    return Descriptors(torch.stack([first, -first], dim=1), torch.tensor(label).long(), torch.tensor(numbers).long())


def held(bank: MemoryBank, label: int) -> list[float]:
    """Return, sorted, the first channel of what is stored of a class."""
    stored = bank.stored()
    return sorted(stored.vector[stored.label == label, 0].tolist())


def test_a_new_bank_holds_nobody():
    stored = MemoryBank(3, 4, 2).stored()
    assert stored.vector.shape == (12, 2)
    assert (stored.label == IGNORE).all()
    assert (stored.case == IGNORE).all()


def test_a_bank_of_no_capacity_stays_empty():
    bank = MemoryBank(2, 0, 2)
    bank.add(described([1, 2], [0, 1]))
    assert bank.stored().vector.shape == (0, 2)
    assert bank.stored().label.shape == bank.stored().case.shape == (0,)


def test_the_oldest_leaves_first():
    """Capacity 3: after 1 2, then 3 4, then 5, the bank holds 2 3 4 and then 3 4 5."""
    bank = MemoryBank(2, 3, 2)
    bank.add(described([1, 2], [1, 1]))
    assert held(bank, 1) == [1, 2]
    bank.add(described([3, 4], [1, 1]))
    assert held(bank, 1) == [2, 3, 4]
    bank.add(described([5], [1]))
    assert held(bank, 1) == [3, 4, 5]
    assert held(bank, 0) == []


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_more_than_the_capacity_at_once_keeps_the_last(before):
    """Seven at once into a bank for three, wherever it stands: 5 6 7 stay, and the next one replaces 5."""
    bank = MemoryBank(2, 3, 2)
    bank.add(described([90.0] * before, [0] * before))
    bank.add(described([1, 2, 3, 4, 5, 6, 7], [0] * 7))
    assert held(bank, 0) == [5, 6, 7]
    bank.add(described([8], [0]))
    assert held(bank, 0) == [6, 7, 8]


def test_every_class_has_a_queue_of_its_own():
    bank = MemoryBank(3, 2, 2)
    bank.add(described([1, 10, 2, 20, 3], [0, 1, 0, 1, 0]))
    assert (held(bank, 0), held(bank, 1), held(bank, 2)) == ([2, 3], [10, 20], [])


def test_whole_vectors_and_their_cases_are_kept():
    bank = MemoryBank(2, 3, 2)
    bank.add(described([1, 2, 3], [1, 0, 1], [40, 50, 60]))
    vector, label, case = bank.stored()
    rows = zip(label.tolist(), case.tolist(), vector.tolist(), strict=True)
    kept = {(of, number): value for of, number, value in rows if of != IGNORE}
    assert kept == {(1, 40): [1.0, -1.0], (0, 50): [2.0, -2.0], (1, 60): [3.0, -3.0]}


def test_absent_classes_are_not_stored():
    bank = MemoryBank(2, 3, 2)
    bank.add(described([1, 2, 3], [IGNORE, 1, IGNORE]))
    bank.add(described([4, 5], [IGNORE, IGNORE]))
    assert (held(bank, 0), held(bank, 1)) == ([], [2])
    assert bank.written.tolist() == [0, 1]


def test_what_is_stored_has_no_gradient():
    bank = MemoryBank(2, 3, 2)
    found = described([1, 2], [0, 1])
    found = found._replace(vector=found.vector.requires_grad_())
    bank.add(found)
    assert not bank.stored().vector.requires_grad
    assert not list(bank.parameters())


def test_what_was_read_does_not_change_when_more_is_written():
    """A loss keeps what it read until its backward pass."""
    bank = MemoryBank(2, 2, 2)
    bank.add(described([1], [1]))
    read = bank.stored()
    bank.add(described([2, 3], [1, 1]))
    assert 1.0 in read.vector[:, 0].tolist()
    assert held(bank, 1) == [2, 3]


def test_the_bank_survives_saving():
    """The loaded bank holds the same and goes on at the same place: 4 replaces the oldest, 1."""
    bank, other = MemoryBank(2, 3, 2), MemoryBank(2, 3, 2)
    bank.add(described([1, 2, 3], [1, 1, 1]))
    other.load_state_dict(reload(bank.state_dict()))
    assert held(other, 1) == [1, 2, 3]
    other.add(described([4], [1]))
    assert held(other, 1) == [2, 3, 4]
