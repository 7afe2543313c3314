"""TensorBoard gets the numbers that metrics.jsonl holds."""

import math
import sys
from pathlib import Path

import pytest

from criinet.engine.tracking import scalars, tensorboard
from criinet.errors import ConfigError
from criinet.records import MonitorRecord

LINE = {"kind": "train", "step": 7, "loss": 0.5, "terms": {"intra": 0.25}, "rate": None, "note": "text"}


def test_every_number_of_a_record_has_its_own_curve():
    """Nested tables become paths; text, the step itself and what is not known are no curves."""
    assert scalars(LINE, "train") == [("train/loss", 0.5), ("train/terms/intra", 0.25)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_event_file_reads_back(tmp_path: Path):
    """What was logged at step 7 stands in the event file at step 7, and the next watcher was called."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen: list[int] = []
    watch = tensorboard(tmp_path / "tensorboard", lambda step, _: seen.append(step))
    assert not (tmp_path / "tensorboard").exists()
    watch(7, [MonitorRecord(7, 0.25, {"lesion": 0.1}, {"lesion": 0.2}, math.nan)])
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"monitor/confident", "monitor/area/lesion", "monitor/labeled_area/lesion"}
    (found,) = events.Scalars("monitor/confident")
    assert (found.step, found.value) == (7, 0.25)
    assert seen == [7]


def test_missing_tensorboard_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without the extra, one sentence names it."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    with pytest.raises(ConfigError, match=r"criinet\[track\]"):
        tensorboard(tmp_path, None)
