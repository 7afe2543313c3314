"""A run that is cut off anywhere and resumed ends with the very weights of one that was not."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from criinet.engine.build import load
from criinet.engine.checkpoint import load_checkpoint, save_checkpoint
from criinet.engine.folder import RunFolder
from criinet.engine.origin import recorded_split
from criinet.errors import ConfigError, DataError, InterruptedRunError, RunError
from criinet.records import Record

METHODS = ("crii", "mean-teacher", "supervised")
LONG = {"iterations": 8, "checks": 4}


class CutOffError(BaseException):
    """Stands for a power failure."""


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    return load_checkpoint(run.checkpoint("last"))["method"]


def assert_same(run: RunFolder, whole: RunFolder) -> None:
    one, other = load_checkpoint(run.checkpoint("last")), load_checkpoint(whole.checkpoint("last"))
    assert (one["step"], one["best"]) == (other["step"], other["best"])
    assert one["method"].keys() == other["method"].keys()
    assert all(torch.equal(one["method"][key], other["method"][key]) for key in one["method"])
    moments, expected = one["optimizer"]["state"], other["optimizer"]["state"]
    assert all(torch.equal(moments[p][key], expected[p][key]) for p in expected for key in expected[p])


def timeless(run: RunFolder) -> list[dict]:
    """The records without what a clock says."""
    found = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "images_per_second")} for record in found]


def cut_off(at: int, kind: str):
    def watch(step: int, records: Sequence[Record]) -> None:
        if step == at and records[0].kind == kind:
            raise CutOffError

    return watch


@pytest.fixture(scope="module")
def whole(drawn, fit, tmp_path_factory) -> dict[str, RunFolder]:
    """Uninterrupted runs of 8 steps, checked every second one."""
    root = tmp_path_factory.mktemp("whole")
    return {method: fit(drawn, root / method, method=method, trainer=LONG) for method in METHODS}


@pytest.mark.parametrize(
    ("method", "at", "kind"),
    [
        ("crii", 2, "train"),
        ("crii", 4, "validation"),
        ("crii", 6, "train"),
        ("mean-teacher", 2, "train"),
        ("mean-teacher", 6, "validation"),
        ("supervised", 4, "train"),
    ],
)
def test_a_run_that_was_cut_off_resumes_to_the_same_weights(method, at, kind, whole, drawn, fit, tmp_path):
    """Before the first checkpoint, between a validation and its checkpoint, and long after one."""
    with pytest.raises(CutOffError):
        fit(drawn, tmp_path / "run", method=method, trainer=LONG, watch=cut_off(at, kind))
    run = fit(drawn, tmp_path / "run", method=method, trainer=LONG, resume=True)
    assert_same(run, whole[method])
    assert timeless(run) == timeless(whole[method])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_after_the_step_and_saves(number, whole, drawn, fit, tmp_path):
    """And so does what the system sends when it ends a job or a container."""

    def watch(step: int, _: list[dict]) -> None:
        if step == 4:
            signal.raise_signal(number)

    with pytest.raises(InterruptedRunError, match=r"stopped after step 5; --resume .* goes on"):
        fit(drawn, tmp_path / "run", method="mean-teacher", trainer=LONG, watch=watch)
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["step"] == 5
    run = fit(drawn, tmp_path / "run", method="mean-teacher", trainer=LONG, resume=True)
    assert_same(run, whole["mean-teacher"])


def test_resuming_needs_no_option_again(whole, drawn, fit, tmp_path):
    with pytest.raises(CutOffError):
        fit(drawn, tmp_path / "run", method="crii", trainer=LONG, watch=cut_off(6, "train"))
    run = fit(drawn, tmp_path / "run", method=None, settings={}, resume=True)
    assert_same(run, whole["crii"])


def test_a_finished_run_resumes_to_itself(run, drawn, fit):
    before = run.checkpoint("last").read_bytes(), run.metrics.read_text()
    fit(drawn, run.root, method="crii", resume=True)
    assert (run.checkpoint("last").read_bytes(), run.metrics.read_text()) == before


def test_a_last_line_that_was_cut_off_is_dropped(run):
    lines = run.metrics.read_text()
    run.metrics.write_text(lines + '{"kind": "train", "step": 6, "lo')
    run.forget_after(6)
    assert run.metrics.read_text() == lines
    run.forget_after(3)
    assert max(json.loads(line)["step"] for line in run.metrics.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"trainer": {"iterations": 9}}, ["trainer.iterations=6", "now 9 is asked"]),
        ({"trainer": {"learning_rate": "1e-2"}}, ["trainer.learning_rate=0.001", "now 0.01 is asked"]),
        ({"method": "supervised"}, ["method.name=crii", "now supervised is asked"]),
        ({"seed": 5}, ["seed=0", "now 5 is asked"]),
        ({"labeled": "3"}, ["6 labeled cases", "with 3 is asked"]),
    ],
)
def test_another_setting_is_not_resumed(options, fragments, run, drawn, fit):
    with pytest.raises(RunError) as refused:
        fit(drawn, run.root, resume=True, **{"method": "crii", **options})
    assert all(fragment in str(refused.value) for fragment in fragments)


def test_values_are_compared_as_they_are_read(run, drawn, fit):
    """The number 1e-3 of a command line is text to YAML, and still the recorded 0.001."""
    asked = {"learning_rate": "1e-3", "precision": 32}
    again = fit(drawn, run.root, method="crii", trainer=asked, labeled="6", resume=True)
    trainer = again.read_config().config().trainer
    assert (trainer.learning_rate, trainer.precision) == (0.001, "32")


def test_an_unknown_key_is_refused_when_resuming_too(run, drawn, fit):
    with pytest.raises(ConfigError, match=r"unknown setting 'trainer\.iteratons'. Did you mean 'iterations'"):
        fit(drawn, run.root, method="crii", trainer={"iteratons": 6}, resume=True)


def test_there_must_be_a_run_to_resume(drawn, fit, tmp_path):
    with pytest.raises(RunError, match=r"holds no run to go on with \(no config\.json\)"):
        fit(drawn, tmp_path / "nothing", resume=True)
    assert not (tmp_path / "nothing").exists()


HALF = json.dumps({key: {} for key in ("method", "network", "data", "trainer", "seed", "dataset")})


@pytest.mark.parametrize("content", ['{"met', "[]", '{"format": 1}', HALF])
def test_a_broken_record_of_a_run_is_named(content, run, drawn, fit):
    run.config.write_text(content)
    with pytest.raises(RunError, match=r"config\.json .*Restore it, or train anew with --overwrite"):
        fit(drawn, run.root, resume=True)


def test_a_checkpoint_of_another_network_does_not_resume(run, drawn, fit, tmp_path):
    other = fit(drawn, tmp_path / "other", method="supervised")
    run.checkpoint("last").write_bytes(other.checkpoint("last").read_bytes())
    with pytest.raises(RunError, match="does not fit this run's method"):
        fit(drawn, run.root, method="crii", resume=True)


def test_a_checkpoint_of_another_version_of_the_method_does_not_predict(run):
    state = load_checkpoint(run.checkpoint("last"))
    state["method"].popitem()
    save_checkpoint(run.checkpoint("last"), state)
    with pytest.raises(RunError, match=r"does not fit this run's method.*Another version of criinet wrote it"):
        load(run.root)


def test_a_run_on_a_dataset_with_bad_files_resumes_without_saying_so_again(dataset, fit, tmp_path):
    (dataset / "images" / "case_0012.png").write_bytes(b"no image")
    with pytest.raises(CutOffError):
        fit(dataset, tmp_path / "run", skip_bad=True, watch=cut_off(3, "train"))
    assert load_checkpoint(fit(dataset, tmp_path / "run", resume=True).checkpoint("last"))["step"] == 6


def start(dataset: Path, out: Path, settings: list[str], *more: str) -> subprocess.Popen:
    """Start `criinet train` as a process of its own."""
    command = [sys.executable, "-m", "criinet.cli.main", "train", str(dataset), "--out", str(out), "--device", "cpu"]
    command += ["--method", "mean-teacher", "--no-predict", *more]
    for setting in settings:
        command += ["--set", setting]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for_lines(run: RunFolder, count: int, process: subprocess.Popen) -> None:
    """Wait until the run has logged so much."""
    for _ in range(6000):
        if process.poll() is not None or (run.metrics.exists() and run.metrics.read_text().count("\n") >= count):
            return
        time.sleep(0.01)
    raise AssertionError("the run logged nothing in a minute")


@pytest.fixture(scope="module")
def process_settings(tiny) -> list[str]:
    """160 steps of a few milliseconds with 40 checks: time enough to be killed at any moment."""
    tables = tiny(iterations=160, checks=40)
    return [f"{section}.{key}={value}" for section, table in tables.items() for key, value in table.items()]


@pytest.fixture(scope="module")
def long_run(drawn, process_settings, tmp_path_factory) -> RunFolder:
    """The same run as a process, uninterrupted."""
    folder = RunFolder(tmp_path_factory.mktemp("long") / "run")
    process = start(drawn, folder.root, process_settings)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return folder


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_nothing(drawn, process_settings, long_run, tmp_path):
    """Three kills at moments of chance, one run: the last resumption ends where the uninterrupted run ended."""
    run, chance = RunFolder(tmp_path / "run"), random.Random(0)
    for kill in range(3):
        process = start(drawn, run.root, process_settings, *(["--resume"] if kill else []))
        before = run.metrics.read_text().count("\n") if kill else 0
        wait_for_lines(run, before + chance.randint(5, 25), process)
        time.sleep(chance.random() * 0.05)
        process.kill()
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL
    process = start(drawn, run.root, process_settings, "--resume")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert_same(run, long_run)
    assert timeless(run) == timeless(long_run)


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_exits_130_and_resumes(drawn, process_settings, long_run, tmp_path):
    run = RunFolder(tmp_path / "run")
    process = start(drawn, run.root, process_settings)
    wait_for_lines(run, 10, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("criinet: stopped after step ")
    assert "Traceback" not in said
    process = start(drawn, run.root, process_settings, "--resume")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert_same(run, long_run)


def test_a_run_begun_on_a_gpu_goes_on_on_a_cpu(whole, drawn, fit, tmp_path):
    """A GPU's rates are tensors, which its checkpoints hold; the CPU's own are numbers."""
    with pytest.raises(CutOffError):
        fit(drawn, tmp_path / "run", method="crii", trainer=LONG, watch=cut_off(4, "train"))
    run = RunFolder(tmp_path / "run")
    state = load_checkpoint(run.checkpoint("last"))
    for group in state["optimizer"]["param_groups"]:
        group.update(lr=torch.tensor(group["lr"]), capturable=True)
    save_checkpoint(run.checkpoint("last"), state)
    assert_same(fit(drawn, run.root, method="crii", trainer=LONG, resume=True), whole["crii"])


def test_a_run_that_began_with_another_resumes_without_it(drawn, fit, tmp_path):
    """All that it took from the other stands in its own checkpoint."""
    for name in ("whole", "cut"):
        first = fit(drawn, tmp_path / f"first_{name}", method="st++", trainer=LONG, seed=3)
        begin = {"method": "st++", "trainer": LONG, "initial": str(first.root)}
        if name == "whole":
            whole = fit(drawn, tmp_path / name, **begin)
            continue
        with pytest.raises(CutOffError):
            fit(drawn, tmp_path / name, **begin, watch=cut_off(6, "train"))
        first.root.rename(tmp_path / "elsewhere")
    assert_same(fit(drawn, tmp_path / "cut", method="st++", trainer=LONG, resume=True), whole)


def test_a_run_without_a_checkpoint_begins_with_the_other_where_that_is_now(drawn, fit, tmp_path):
    first = fit(drawn, tmp_path / "first", method="supervised", trainer=LONG, seed=3)
    begin = {"method": "supervised", "trainer": LONG}
    whole = fit(drawn, tmp_path / "whole", **begin, initial=str(first.root))
    with pytest.raises(CutOffError):
        fit(drawn, tmp_path / "cut", **begin, initial=str(first.root), watch=cut_off(2, "train"))
    assert not RunFolder(tmp_path / "cut").checkpoint("last").exists()
    moved = first.root.rename(tmp_path / "elsewhere")
    assert_same(fit(drawn, tmp_path / "cut", **begin, initial=str(moved), resume=True), whole)


def test_paths_may_be_text(drawn, fit, tmp_path):
    rows = [f"case_{i:04d},patient_{i}" for i in range(1, 25)]
    (tmp_path / "groups.csv").write_text("\n".join(["case,group", *rows]) + "\n")
    first = fit(str(drawn), str(tmp_path / "first"), groups=str(tmp_path / "groups.csv"))
    second = fit(
        str(drawn), str(tmp_path / "second"), split=str(first.split), groups=str(tmp_path / "groups.csv"),
        initial=str(first.root),
    )  # fmt: skip
    assert json.loads(second.split.read_text())["hash"] == json.loads(first.split.read_text())["hash"]


def test_a_run_killed_before_its_split_was_written_is_begun_anew(run, drawn, fit):
    run.split.unlink()
    with pytest.raises(RunError, match="holds a run already"):
        fit(drawn, run.root, method="crii")
    again = fit(drawn, run.root, method="crii", overwrite=True)
    assert again.split.exists()


def test_what_a_killed_writer_left_goes_when_the_run_resumes(run, drawn, fit):
    left = [run.root / ".config.json.0a1b2c3d.tmp", run.root / "checkpoints" / ".last.pt.0a1b2c3d.tmp"]
    for path in left:
        path.write_text("half")
    fit(drawn, run.root, method="crii", resume=True)
    assert not any(path.exists() for path in left)


def test_a_run_does_not_go_on_with_other_classes(dataset, run, fit):
    """The sentence names the classes, not the weights that would not fit them."""
    card = dataset / "dataset.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "classes": ["background", "polyp"]}))
    with pytest.raises(DataError, match=r"trained on the classes background, lesion, but .*data has background, polyp"):
        fit(dataset, run.root, method="crii", resume=True)


@pytest.mark.parametrize("method", ["supervised", "cross-teaching"])
def test_the_weights_that_a_run_began_with_may_go_once_it_has_its_own(method, drawn, fit, tiny, tmp_path, monkeypatch):
    """They are named from where the training was started, and a run is used from anywhere."""
    monkeypatch.chdir(tmp_path)
    kept = load(fit(drawn, tmp_path / "first", method=method).root).method
    torch.save(kept.student.backbone.state_dict(), "start.pt")
    settings = tiny(**LONG)
    settings["network"] = settings["network"] | {"weights": "start.pt"}
    if method == "cross-teaching":
        torch.save(kept.transformer.backbone.state_dict(), "transformer.pt")
        settings["method"] = {"transformer": {"weights": "transformer.pt"}}
    with pytest.raises(CutOffError):
        fit(drawn, tmp_path / "run", method=method, settings=settings, watch=cut_off(4, "train"))
    for path in tmp_path.glob("*.pt"):
        path.rename(path.with_suffix(".moved"))
    monkeypatch.chdir(tmp_path / "first")
    run = fit(drawn, tmp_path / "run", method=method, settings=None, resume=True)
    assert load(run.root).method.student.backbone.pretrained
    with pytest.raises(ConfigError, match=r"start\.pt cannot be read as weights \(FileNotFoundError\); give"):
        fit(drawn, tmp_path / "run", method=method, settings=settings, overwrite=True)


def test_a_damaged_line_of_the_metrics_costs_itself_alone(drawn, fit, tmp_path):
    run = fit(drawn, tmp_path / "run", trainer=LONG)
    before = run.records()
    lines = run.metrics.read_text().splitlines(keepends=True)
    run.metrics.write_text("".join([lines[0], "\0\0 not json\n", "[1]\n", "{}\n", *lines[1:], '{"step": 8, "ki']))
    assert run.records() == before
    run.forget_after(4)
    assert run.records() == [record for record in before if record.step <= 4]
    assert len(run.metrics.read_text().splitlines()) == len(run.records())


@pytest.mark.parametrize("content", ["[]", "{}", '{"labeled": []}', "not json"])
def test_a_split_that_is_none_is_named(content, drawn, fit, tmp_path):
    run = fit(drawn, tmp_path / "run")
    run.split.write_text(content)
    with pytest.raises(RunError, match=r"split\.json cannot be read. Restore it, or train anew"):
        recorded_split(run)


DAMAGE: dict[str, tuple[dict[str, Any] | None, str]] = {
    "is no object": (None, r"config\.json holds no settings of a run\."),
    "lacks a key": ({"seed": None}, r"config\.json lacks 'seed'\."),
    "lacks a key of the dataset": ({"dataset": {"path": "data", "name": "data"}}, r"lacks 'dataset\.classes'\."),
    "has a wrong value": ({"seed": "three"}, r"config\.json has 'three' for 'seed'\."),
}


@pytest.mark.parametrize(("change", "said"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_settings_are_named(change, said, drawn, fit, tmp_path):
    run = fit(drawn, tmp_path / "run")
    found = {**json.loads(run.config.read_text()), **(change or {})}
    written = {key: value for key, value in found.items() if value is not None}
    run.config.write_text(json.dumps(written if change else [written]))
    with pytest.raises(RunError, match=f"{said} Restore it, or train anew"):
        run.read_config()


def test_what_a_newer_version_recorded_is_kept_where_the_dataset_has_moved(drawn, fit, tmp_path):
    run = fit(drawn, tmp_path / "run", labeled="6")
    found = json.loads(run.config.read_text())
    run.config.write_text(json.dumps({**found, "novelty": 1, "dataset": {**found["dataset"], "colour": "red"}}))
    moved = Path(shutil.copytree(drawn, tmp_path / "moved"))
    fit(moved, run.root, labeled="6", resume=True)
    again = json.loads(run.config.read_text())
    assert (again["novelty"], again["dataset"]["colour"], again["dataset"]["path"]) == (1, "red", str(moved))
