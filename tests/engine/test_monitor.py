"""The monitor raises an alarm when targets collapse, once, and never in the first fifth of training."""

import math

import pytest
import torch

from criinet.engine.monitor import GRACE, Monitor
from criinet.records import Alarm, Record

CLASSES = ("background", "cup", "disc")
LABELED = [0.7, 0.1, 0.2]


class Says:
    """Stands for a method: the targets of every image are the same class map, as sure as ``confidence``."""

    def __init__(self, shares: list[float], confidence: float = 1.0) -> None:
        counts = [round(share * 100) for share in shares]
        classes = torch.repeat_interleave(torch.arange(len(shares)), torch.tensor(counts)).view(10, 10)
        rest = (1 - confidence) / (len(shares) - 1)
        self.classes = len(shares)
        self.probs = torch.nn.functional.one_hot(classes, len(shares)).permute(2, 0, 1) * (confidence - rest) + rest

    def targets(self, image):
        return self.probs.expand(len(image), -1, -1, -1)


@pytest.fixture
def monitor() -> Monitor:
    return Monitor(torch.zeros(10, 3, 10, 10), LABELED, CLASSES)


def messages(records: list[Record]) -> list[str]:
    return [record.message for record in records if isinstance(record, Alarm)]


def test_a_look_records_areas_and_confidence(monitor):
    record, *alarms = monitor.look(Says([0.7, 0.1, 0.2], confidence=0.97), 5, 0.5)
    assert record.area == pytest.approx({"background": 0.7, "cup": 0.1, "disc": 0.2})
    assert record.labeled_area == {"background": 0.7, "cup": 0.1, "disc": 0.2}
    assert (record.kind, record.step, record.confident) == ("monitor", 5, 1.0)
    assert math.isnan(record.target_change)
    assert alarms == []


def test_a_method_that_stands_still_changes_nothing(monitor):
    monitor.look(Says([0.7, 0.1, 0.2]), 1, 0.5)
    assert monitor.look(Says([0.7, 0.1, 0.2]), 2, 0.6)[0].target_change == 0.0


def test_change_is_the_share_of_probability_that_moved(monitor):
    """Ten of a hundred pixels go from cup to disc: a tenth of all probability has moved."""
    monitor.look(Says([0.7, 0.2, 0.1]), 1, 0.5)
    assert monitor.look(Says([0.7, 0.1, 0.2]), 2, 0.6)[0].target_change == pytest.approx(0.1)


def test_a_class_that_vanishes_raises_its_alarm_once(monitor):
    gone = Says([0.8, 0.0, 0.2])
    (message,) = messages(monitor.look(gone, 5, 0.5))
    assert "'cup' covers 0.0%" in message
    assert "10.0%" in message
    assert messages(monitor.look(gone, 6, 0.6)) == []


def test_a_class_that_is_everywhere_raises_an_alarm(monitor):
    (message,) = messages(monitor.look(Says([0.1, 0.7, 0.2]), 5, 0.5))
    assert "'cup' covers 70.0%" in message


@pytest.mark.parametrize(("cup", "alarms"), [(0.01, 1), (0.03, 0), (0.31, 0), (0.4, 1)])
def test_a_class_may_cover_from_a_fifth_to_three_times_and_two_hundredths_of_its_labeled_share(monitor, cup, alarms):
    """A tenth is cup in the labeled masks: from .02 to .32."""
    assert len(messages(monitor.look(Says([0.8 - cup, cup, 0.2]), 5, 0.5))) == alarms


def test_unsure_targets_raise_an_alarm(monitor):
    (message,) = messages(monitor.look(Says([0.7, 0.1, 0.2], confidence=0.9), 5, 0.5))
    assert message.startswith("only 0.0%")
    assert message.endswith("the pseudo-labels may teach the model nothing.")


def test_nothing_raises_an_alarm_in_the_grace_period(monitor):
    bad = Says([1.0, 0.0, 0.0], confidence=0.5)
    assert messages(monitor.look(bad, 1, GRACE - 0.01)) == []
    assert len(messages(monitor.look(bad, 2, GRACE))) == 3


def test_a_resumed_monitor_goes_on_where_it_was(monitor):
    bad = Says([0.8, 0.0, 0.2])
    monitor.look(bad, 5, 0.5)
    resumed = Monitor(monitor.images, LABELED, CLASSES)
    resumed.restore(monitor.state())
    record, *alarms = resumed.look(bad, 6, 0.6)
    assert (record.target_change, alarms) == (0.0, [])
