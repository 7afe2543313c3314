"""What several benchmarks found becomes one published table, and can be unpacked, reported and joined again."""

import json
import tarfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from benchmark_grids import GridMaker

from criinet.report.benchmark.page import write_benchmark_report

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "publish.py"


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = spec_from_file_location("publish", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return module


def benchmark(root: Path, row: str, level: float, *, pending: object = (), **more: object) -> Path:
    """Write a benchmark of one run, with its run folder."""
    grid = GridMaker(root)
    name = grid.run(row, np.linspace(level - 0.2, level + 0.2, 16), **more)  # pyright: ignore[reportArgumentType]
    run = grid.runs.settings(name, row)
    grid.runs.curves(run, ["supervised"], level)
    grid.runs.results(run, np.full((16, 1), level))
    config = json.loads((run / "config.json").read_text())
    config["dataset"]["path"] = "/home/somebody/moles"
    (run / "config.json").write_text(json.dumps(config))
    return grid.write(pending=pending)


def publish_as(module: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, *asked: Path | str) -> Path:
    monkeypatch.setattr("sys.argv", ["publish.py", name, *map(str, asked)])
    module.main()
    return module.RESULTS / name


def test_runs_of_several_machines_are_compared_with_each_other(
    publish: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A row trained elsewhere joins a published table: the second joining starts from what the first published."""
    mine = benchmark(
        tmp_path / "a", "supervised", 0.5, pending=["moles-crii-8-lite0_unet-d0s0-12345678", "moles-dtc-d0"]
    )
    first = publish_as(publish, monkeypatch, "table", mine)
    other = benchmark(tmp_path / "b", "crii", 0.7)
    joined = publish_as(publish, monkeypatch, "table", first, other)
    summary = json.loads((joined / "summary.json").read_text())
    assert [entry["label"] for entry in summary["settings"][0]["entries"]] == ["crii", "supervised"]
    (effect,) = summary["settings"][0]["supervised"]
    assert effect["paired"]["mean"] == pytest.approx(0.2)
    assert summary["pending"] == ["moles-dtc-d0"]
    assert {row["row"] for row in summary["stability"]} == {"crii", "supervised"}


def test_the_archive_is_a_benchmark_without_the_path_of_its_data(
    publish: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = publish_as(publish, monkeypatch, "table", benchmark(tmp_path / "a", "supervised", 0.5))
    with tarfile.open(out / "records.tar.xz") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert write_benchmark_report(tmp_path / "unpacked").exists()
    texts = [path.read_text() for path in (tmp_path / "unpacked").rglob("*") if path.suffix in (".json", ".csv")]
    assert not [text for text in texts if "/home/somebody" in text]


def test_publishing_again_gives_the_same_bytes(publish: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = benchmark(tmp_path / "a", "supervised", 0.5)
    out = publish_as(publish, monkeypatch, "table", folder)
    before = (out / "records.tar.xz").read_bytes()
    publish_as(publish, monkeypatch, "table", folder)
    assert (out / "records.tar.xz").read_bytes() == before


def test_runs_with_other_labels_are_not_compared(publish: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where a draw means other images, a difference says nothing of the methods."""
    mine = benchmark(tmp_path / "a", "supervised", 0.5)
    other = benchmark(tmp_path / "b", "crii", 0.7, split_hash="another")
    with pytest.raises(SystemExit, match="another split"):
        publish_as(publish, monkeypatch, "table", mine, other)
    assert not publish.RESULTS.exists()


def test_a_table_that_grew_is_of_the_plan_that_does_all_of_it(
    publish: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What of the plan nobody ran stands as pending, one method here; a row that it does not have is left out."""
    plan = tmp_path / "all.toml"
    plan.write_text(
        'name = "all"\ndescription = "Three."\nmethods = ["crii", "supervised", "dtc"]\nlabeled = ["4"]\n'
        '[[datasets]]\npath = "synthetic"\nimages = 30\ntest = 8\n'
    )
    drawn = {"dataset": "synthetic-30-8", "fraction": 4 / 200}
    levels = {"supervised": 0.5, "crii": 0.7, "bcp": 0.6}
    folders = [benchmark(tmp_path / row, row, level, **drawn) for row, level in levels.items()]
    out = publish_as(publish, monkeypatch, "table", "--plan", plan, "--data", tmp_path, *folders)
    results = json.loads((out / "results.json").read_text())
    assert (results["plan"]["name"], results["plan"]["methods"]) == ("all", ["crii", "supervised", "dtc"])
    assert results["plan"]["command"] == f"criinet benchmark {plan} --out runs/table"
    assert {row["row"] for row in results["rows"]} == {"crii", "supervised"}
    (left,) = results["pending"]
    assert left.startswith("synthetic_30_8-dtc-4-lite0_unet-d0s0-")


def test_a_plan_without_its_datasets_publishes_nothing(
    publish: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(SystemExit):
        publish_as(
            publish, monkeypatch, "table", "--plan", tmp_path / "all.toml", benchmark(tmp_path / "a", "crii", 0.5)
        )
    assert not publish.RESULTS.exists()
