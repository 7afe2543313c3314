"""A run folder is read as it was left: whole, half written, or damaged."""

import json
import math

import numpy as np
import pytest

from criinet.errors import RunError
from criinet.report import read_run
from criinet.report.reading import read_example
from criinet.report.records import Example


def write_lines(run, *records, tail=""):
    (run / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records) + tail)


def train(step, loss):
    return {"kind": "train", "step": step, "progress": step / 500, "seconds": step, "loss": loss, "terms": {"a": loss}}


def test_only_the_settings_have_to_be_there(make):
    run = read_run(make.settings("new", "crii"))
    assert (run.method, run.network, run.dataset, run.iterations) == ("crii", "lite0-unet", "moles", 500)
    assert run.results is None
    assert (run.train, run.cases, run.examples, run.notes) == ((), (), (), ())
    assert run.split is not None
    assert (run.split.labeled, run.split.test) == (8, 30)


@pytest.mark.parametrize("spacing, guessed", [(None, "px"), ([0.5, 0.5], "mm")])
def test_the_unit_is_that_of_the_results_and_guessed_only_without_them(make, spacing, guessed):
    """The dataset may know the spacing of its first case alone; the results say what the test cases had."""
    folder = make.settings("run", "crii")
    config = json.loads((folder / "config.json").read_text())
    config["dataset"]["spacing"] = spacing
    (folder / "config.json").write_text(json.dumps(config))
    assert read_run(folder).unit == guessed
    for results, unit in (({}, guessed), ({"unit": "mm or px"}, "mm or px")):
        (folder / "results.json").write_text(json.dumps({"run": {}, "rows": [], **results}))
        assert read_run(folder).unit == unit


def test_a_split_is_optional_too(make):
    folder = make.settings("new", "crii")
    (folder / "split.json").unlink()
    assert read_run(folder).split is None


@pytest.mark.parametrize("existing", [False, True])
def test_what_is_no_run_is_refused_in_a_sentence(tmp_path, existing):
    path = tmp_path / "nothing"
    if existing:
        path.mkdir()
    with pytest.raises(RunError, match="give the folder that `criinet train` wrote"):
        read_run(path)


@pytest.mark.parametrize("name", ["config.json", "split.json", "results.json", "examples.json"])
@pytest.mark.parametrize("content", ["{", "[]", '{"format": 2}', '{"format": 1, "run": 3, "labeled": 3}'])
def test_a_damaged_or_newer_file_is_named(make, name, content):
    folder = make.settings("run", "crii")
    (folder / name).write_text(content)
    if name == "config.json" and "run" in content:
        return
    with pytest.raises(RunError, match=name.replace(".", r"\.")):
        read_run(folder)


def test_a_line_cut_off_by_a_kill_is_ignored(make):
    folder = make.settings("run", "crii")
    write_lines(folder, train(5, 2.0), train(10, 1.0), tail='{"kind": "train", "step": 1')
    run = read_run(folder)
    assert [record.step for record in run.train] == [5, 10]
    assert run.notes == ()


def test_a_bad_line_in_the_middle_is_skipped_and_counted(make):
    folder = make.settings("run", "crii")
    write_lines(folder, train(5, 2.0), tail='{"kind": "tr\x00\n' + json.dumps(train(10, 1.0)) + "\n")
    run = read_run(folder)
    assert [record.step for record in run.train] == [5, 10]
    assert run.notes == ("run/metrics.jsonl is damaged: 1 line was skipped.",)


def test_after_a_resume_the_later_line_wins(make):
    """Steps 10 and 15 were lost to a kill; the resumed run has repeated 10 only, so 15 is not its own."""
    folder = make.settings("run", "crii")
    write_lines(folder, train(5, 3.0), train(10, 9.0), train(15, 9.0), train(10, 2.0))
    assert [(r.step, r.loss) for r in read_run(folder).train] == [(5, 3.0), (10, 2.0)]


def test_null_is_not_a_number_and_terms_are_weighted(make):
    folder = make.settings("run", "crii")
    write_lines(
        folder,
        {**train(5, 2.0), "weights": {"a": 0.25}},
        {"kind": "monitor", "step": 5, "confident": 0.5, "area": {"lesion": 0.1}, "target_change": None},
        {"kind": "alarm", "step": 5, "message": "one"},
        {"kind": "alarm", "step": 5, "message": "two"},
        {"kind": "something newer", "step": 5},
    )
    run = read_run(folder)
    assert run.train[0].weighted == {"a": 0.5}
    assert math.isnan(run.monitor[0].target_change)
    assert [alarm.message for alarm in run.alarms] == ["one", "two"]


def test_an_example_outside_the_run_or_damaged_is_not_read(make, tmp_path):
    folder = make.settings("run", "crii")
    make.examples(folder, names=["a"], shift=2, coarse=True)
    np.savez(tmp_path / "outside.npz", image=np.zeros((4, 4, 3), np.uint8), refined=np.zeros((4, 4), np.uint8))
    (folder / "examples" / "bad.npz").write_bytes(b"PK\x03\x04 half a file")
    run = read_run(folder)
    assert set(read_example(run, run.examples[0]) or {}) >= {"image", "refined", "target", "coarse", "disagreement"}
    for file in ("../outside.npz", "examples/bad.npz", "examples/none.npz"):
        assert read_example(run, Example("a", "test", "", 1.0, 0.5, file)) is None
