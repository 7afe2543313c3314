"""Benchmarks: finished runs are kept, failed ones named, and a broken grid resumes to the same table."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from criinet.benchmarking import benchmark, local, read_plan
from criinet.benchmarking.bench import engine_called
from criinet.engine.checkpoint import load_checkpoint, save_checkpoint
from criinet.engine.evaluator import evaluate
from criinet.engine.folder import RunFolder
from criinet.errors import ConfigError, RunError, StorageError
from criinet.methods import methods
from criinet.report import write_benchmark_report


def test_every_run_leaves_its_rows_and_cases(benched):
    """Two runs of one class: last and best, the class and the mean; 8 test cases each."""
    results = json.loads((benched / "results.json").read_text())
    assert (results["failed"], results["pending"]) == ([], [])
    assert {row["row"] for row in results["rows"]} == {"supervised", "crii"}
    assert {(row["checkpoint"], row["class"]) for row in results["rows"]} >= {("last", "mean"), ("last", "lesion")}
    for row in results["rows"]:
        shown = 4 * (2 if row["row"] == "supervised" else 4)
        assert row["images_per_second"] * row["train_seconds"] == pytest.approx(shown, rel=0.1), "a few ms are kept"
        assert row["peak_memory_mb"] > 50
        assert (row["labeled"], row["iterations"], row["threads"], row["regime"]) == (4, 4, 1, "scratch")
    with (benched / "cases.csv").open() as file:
        cases = [row for row in csv.DictReader(file) if row["checkpoint"] == "last"]
    assert len(cases) == 2 * 8
    assert len({row["case"] for row in cases}) == 8
    assert {row["by"] for row in results["strata"]} == {"contrast", "boundary", "size"}
    for rows in (results["rows"], results["strata"], cases):
        assert {row["dataset"] for row in rows} == {"synthetic-30-8"}, "two sizes of synthetic images are two datasets"


def test_finished_runs_are_never_repeated(benched, tiny, table, tmp_path):
    out = tmp_path / "bench"
    shutil.copytree(benched, out)
    told = []
    results = benchmark(tiny(), out, device="cpu", resume=True, told=lambda cell, *_: told.append(cell.row))
    assert told == []
    assert results["pending"] == []
    assert table(out) == table(benched)


@pytest.mark.parametrize("form", [Path, str, json.loads])
def test_a_plan_is_a_file_or_its_tables_too(form, benched, plan_file, tmp_path):
    out = tmp_path / "bench"
    shutil.copytree(benched, out)
    plan = form(plan_file.read_text() if form is json.loads else plan_file)
    assert benchmark(plan, out, device="cpu", resume=True)["pending"] == []


def test_tables_that_are_no_plan_leave_nothing_behind(tmp_path):
    with pytest.raises(ConfigError, match=r"^unknown setting 'plan\.nam'. Did you mean 'name'"):
        benchmark({"nam": "tiny"}, tmp_path / "bench", device="cpu")
    assert not (tmp_path / "bench").exists()


@pytest.mark.slow
def test_another_row_is_run_beside_what_is_there(benched, tiny, tmp_path):
    out = tmp_path / "bench"
    shutil.copytree(benched, out)
    told = []
    plan = tiny(methods=["supervised", "crii", "mean-teacher"])
    benchmark(plan, out, device="cpu", resume=True, told=lambda cell, code, *_: told.append((cell.row, code)))
    assert told == [("mean-teacher", 0)]


@pytest.mark.slow
def test_two_jobs_find_what_one_finds(benched, tiny, table, tmp_path):
    benchmark(tiny(), tmp_path / "bench", device="cpu", jobs=2)
    assert table(tmp_path / "bench") == table(benched)


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_the_others_go_on(tiny, tmp_path):
    """On one of two datasets the rate makes every loss explode."""
    seen = []

    def told(cell, code, *_):
        seen.append((cell.row, code))

    plan = tiny(
        methods=["supervised"],
        datasets=[
            {"path": "synthetic", "images": 30, "test": 8, "settings": {"trainer": {"learning_rate": 1e30}}},
            {"path": "synthetic", "images": 31, "test": 8},
        ],
    )
    results = benchmark(plan, tmp_path / "bench", device="cpu", told=told)
    assert sorted(code for _, code in seen) == [0, 1]
    assert len(results["failed"]) == 1
    assert "training diverged" in results["failed"][0]["reason"]
    assert {row["dataset"] for row in results["rows"]} == {"synthetic-31-8"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_smoke_runs_every_method(tmp_path):
    """The plan that ships: nothing fails, every method and variant stands in the table and on the page."""
    out = tmp_path / "smoke"
    results = benchmark("smoke", out, device="cpu", jobs=1)
    assert (results["failed"], results["pending"]) == ([], [])
    assert {row["row"] for row in results["rows"]} == set(read_plan("smoke").rows())
    page = write_benchmark_report(out).read_text(encoding="utf-8")
    assert all(f"{method}</th>" in page for method in methods)


def start(out: Path, plan: Path, *more: str) -> subprocess.Popen:
    """Start `criinet benchmark` as a process of its own."""
    command = [sys.executable, "-m", "criinet.cli.main", "benchmark", str(plan), "--out", str(out)]
    command += ["--device", "cpu", "--jobs", "1", *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for(found: Path, pattern: str, process: subprocess.Popen) -> None:
    """Wait until a file is there."""
    for _ in range(6000):
        if process.poll() is not None or list(found.glob(pattern)):
            return
        time.sleep(0.01)
    raise AssertionError(f"no {pattern} in a minute")


@pytest.fixture
def plan_file(tiny, tmp_path) -> Path:
    file = tmp_path / "tiny.json"
    file.write_text(tiny().model_dump_json())
    return file


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_broken_benchmark_resumes_to_the_same_table(how, benched, plan_file, table, tmp_path):
    """Stopped while the second run is on its way; then the finished one is kept and the other goes on."""
    out = tmp_path / "bench"
    process = start(out, plan_file)
    wait_for(out, "runs/*crii*/metrics.jsonl", process)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130), said
    assert "Traceback" not in said
    process = start(out, plan_file, "--resume")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert table(out) == table(benched)


def test_a_benchmark_is_not_begun_over_another(benched, tiny, tmp_path):
    with pytest.raises(RunError, match=r"holds a benchmark or a search already\. Add --resume"):
        benchmark(tiny(), benched, device="cpu")
    with pytest.raises(RunError, match="holds plan 'tiny', now 'other' is asked"):
        benchmark(tiny(name="other"), benched, device="cpu", resume=True)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty and holds no benchmark"):
        benchmark(tiny(), tmp_path, device="cpu")


def test_jobs_and_engines_that_do_not_exist_are_refused(tiny, tmp_path):
    with pytest.raises(ConfigError, match="--jobs 0 runs nothing"):
        benchmark(tiny(), tmp_path / "bench", jobs=0)
    with pytest.raises(ConfigError, match="--engine slurm is not known"):
        engine_called("slurm")


def of(out: Path, row: str) -> RunFolder:
    """Return the run of a row."""
    (found,) = (out / "runs").glob(f"*-{row}-*")
    return RunFolder(found)


def cut_off(run: RunFolder) -> None:
    """Leave a run as one that was stopped after its second step and then evaluated."""
    last = load_checkpoint(run.checkpoint("last"))
    save_checkpoint(run.checkpoint("last"), {**last, "step": 2})
    run.checkpoint("best").unlink(missing_ok=True)
    evaluate(run.root, device="cpu")


def broken_in_half(run: RunFolder) -> None:
    run.results.write_text(run.results.read_text()[:100])


def without_cases(run: RunFolder) -> None:
    run.cases.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("harm", [cut_off, broken_in_half, without_cases])
def test_what_is_not_whole_counts_as_not_done(harm, benched, tiny, tmp_path):
    """And is mended by the next start: a run goes on, and measures are taken again."""
    out = shutil.copytree(benched, tmp_path / "bench")
    harm(of(out, "crii"))
    told = []
    results = benchmark(
        tiny(), out, device="cpu", resume=True, told=lambda cell, code, *_: told.append((cell.row, code))
    )
    assert told == [("crii", 0)]
    assert results["pending"] == results["failed"] == []
    assert {row["step"] for row in results["rows"] if row["checkpoint"] == "last"} == {4}


def test_a_run_whose_process_was_killed_is_named(tiny, tmp_path, monkeypatch):
    """By the system, for want of memory: it leaves no sentence of its own."""
    monkeypatch.setattr("criinet.benchmarking.local.run_process", lambda *_: -9)
    results = benchmark(tiny(methods=["supervised"]), tmp_path / "bench", device="cpu")
    (failure,) = results["failed"]
    assert "was killed by signal 9, perhaps for want of memory" in failure["reason"]
    assert results["pending"] == []


PLUGIN = '''
from criinet.methods import Supervised, methods


class Mine(Supervised):
    """Plain training, under another name."""

    summary = "plain training, under another name"


methods.add("mine", Mine)
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch) -> Path:
    """The module of a package that is installed in a folder of its own, which processes that are started find too."""
    site = tmp_path / "site"
    about = site / "mine-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[criinet.plugins]\nmine = mine_plugin\n")
    (site / "mine_plugin.py").write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(site))
    return site / "mine_plugin.py"


@pytest.mark.slow
def test_a_method_of_an_installed_plugin_is_benchmarked(plugin, plan_file, tmp_path):
    assert plugin.exists()
    plan = json.loads(plan_file.read_text())
    plan_file.write_text(json.dumps({**plan, "methods": ["mine"]}))
    process = start(tmp_path / "bench", plan_file)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    results = json.loads((tmp_path / "bench" / "results.json").read_text())
    assert {row["row"] for row in results["rows"]} == {"mine"}


@pytest.mark.slow
def test_a_plugin_that_is_broken_is_named(plugin, plan_file, tmp_path):
    plugin.write_text("import nothing_of_this_name\n")
    process = start(tmp_path / "bench", plan_file)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "plugin 'mine' (mine_plugin) cannot be imported (ModuleNotFoundError" in said
    assert "Traceback" not in said


def test_what_cannot_be_noted_ends_the_queue(monkeypatch, tmp_path):
    """A full disk, or a terminal that is gone: nothing more is begun, and one learns of it at once."""
    begun: list[str] = []

    def run(cell, *_):
        begun.append(cell.name)
        time.sleep(0.2)
        return 0

    def full(*_):
        raise StorageError("no space left")

    monkeypatch.setattr(local, "run_process", run)
    cells = [SimpleNamespace(name=str(number)) for number in range(20)]
    with pytest.raises(StorageError):
        local.run_local(cells, tmp_path, 2, full)
    assert len(begun) <= 4
