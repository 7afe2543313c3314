"""The commands do what the contract says, print what scripts read, and start without loading anything heavy."""

import csv
import importlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import criinet as package
from criinet.cli.demo import page_title
from criinet.cli.main import end_as_ctrl_c, share_cores
from criinet.cli.results import note_on_distances, show_results
from criinet.cli.show import err, table
from criinet.cli.training import next_steps
from criinet.data.geometry import Geometry
from criinet.data.volumes import write_labels
from criinet.defaults import DEFAULT_METHOD
from criinet.engine.checkpoint import load_checkpoint

HEAVY = ("torch", "matplotlib", "pydantic", "numpy", "scipy", "PIL", "lightning_fabric")


def imported_by(statement: str) -> list[str]:
    """Return which heavy packages a fresh Python holds after ``statement``."""
    code = f"import sys\n{statement}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(found.stdout.replace("'", '"'))


@pytest.mark.parametrize("statement", ["import criinet.cli.main", "import criinet"])
def test_starting_loads_nothing_heavy(statement):
    assert imported_by(statement) == []


def test_every_public_name_is_there():
    assert package.__all__ == sorted(package.__all__)
    for name in [*package.__all__, *package.__all__]:
        assert callable(getattr(package, name)), name
    with pytest.raises(AttributeError, match="no attribute 'tran'"):
        _ = package.tran


@pytest.mark.parametrize("room", ["losses", "networks", "metrics", "methods", "report"])
def test_every_public_name_of_a_room_is_there(room):
    module = importlib.import_module(f"criinet.{room}")
    assert all(hasattr(module, name) for name in module.__all__)


COMMANDS = [
    "data check",
    "demo",
    "split",
    "train",
    "predict",
    "evaluate",
    "report",
    "export",
    "methods",
    "networks",
    "settings",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, criinet):
    outcome = criinet(*command.split(), "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"Usage: criinet {command}" in outcome.out
    assert not re.search(r"^  --\S+ <|\{[a-z]", outcome.out, re.MULTILINE), "an option or argument without a metavar"


def test_help_lists_every_command(criinet):
    outcome = criinet("--help")
    assert outcome.code == 0
    assert all(f"\n  {command.split()[0]} " in outcome.out for command in COMMANDS)


@pytest.mark.parametrize("words", [[], ["data"]])
def test_without_a_command_the_help_is_shown(words, criinet):
    outcome = criinet(*words)
    assert outcome.code == 2
    assert "Usage: criinet" in outcome.err + outcome.out
    assert "criinet: " not in outcome.err


@pytest.mark.parametrize(("command", "names"), [("methods", {"crii", "supervised"}), ("networks", {"unet"})])
def test_listings_are_tables_or_json(command, names, criinet):
    rows = json.loads(criinet(command, "--json").out)
    assert names <= {row["name"] for row in rows}
    assert all(row["summary"] and row["reference"] for row in rows)
    shown = criinet(command).out
    assert all(row["name"] in shown for row in rows)


def test_every_setting_is_listed_with_its_default_and_meaning(criinet):
    listed = criinet("settings", "--method", "mean-teacher").out
    assert "trainer.iterations=1000\n    optimizer steps of the whole run\n" in listed
    meaning = "weight of the squared difference from the teacher's predictions on unlabeled pixels"
    assert f'method.weights.consistency={{"to": 0.1, "over": 0.4}}\n    {meaning}\n' in listed
    assert "network.weights=null\n" in listed
    records = json.loads(criinet("settings", "--network", "unet", "--json").out)
    assert all(record["meaning"] for record in records)
    assert {"data.augmentation.rotate", "network.channels", "method.ranked.margin"} <= {r["name"] for r in records}
    outcome = criinet("settings", "--method", "mean-techer")
    assert (outcome.code, "Did you mean 'mean-teacher'?" in outcome.err) == (2, True)


def test_a_split_is_drawn_into_a_file_that_training_takes(criinet, place, tiny):
    outcome = criinet("split", "data", "--labeled", "3", "--seed", "2", "--out", "s.json", "--json")
    counts = json.loads(outcome.out)
    assert (counts["labeled"], counts["unlabeled"], counts["val"], counts["test"]) == (3, 15, 2, 4)
    assert criinet("train", "data", "--out", "new", "--split", "s.json", "--no-predict", *tiny).code == 0
    assert json.loads((place / "new" / "split.json").read_text())["hash"] == counts["hash"]


def test_settings_come_from_a_file_and_the_command_line_lies_on_top(criinet, place, tiny):
    (place / "my.toml").write_text("[trainer]\niterations = 90\nclip = 2.5\n[method]\nname = 'mean-teacher'\n")
    outcome = criinet("train", "data", "--out", "new", "--config", "my.toml", "--no-predict", *tiny)
    assert outcome.code == 0, outcome.err
    recorded = json.loads((place / "new" / "config.json").read_text())
    assert (recorded["trainer"]["iterations"], recorded["trainer"]["clip"]) == (6, 2.5)
    assert recorded["method"]["name"] == "mean-teacher"
    outcome = criinet("train", "data", "--out", "like", "--config", "new/config.json", "--no-predict")
    assert outcome.code == 0, outcome.err
    like = json.loads((place / "like" / "config.json").read_text())
    assert all(like[section] == recorded[section] for section in ("method", "network", "data", "trainer"))


@pytest.mark.usefixtures("place")
def test_training_says_what_was_picked_and_what_comes_next(criinet, tiny):
    outcome = criinet("train", "data", "--out", "new", "--labeled", "4", "--no-predict", *tiny)
    assert outcome.code == 0, outcome.err
    assert "4 labeled, 14 unlabeled, 2 validation, 4 test" in outcome.err
    assert "data.channels = 3: images have colour" in outcome.err
    assert "criinet evaluate new" in outcome.err


def test_evaluating_writes_results_and_prints_json(criinet, place):
    outcome = criinet("evaluate", "run", "--json")
    assert outcome.code == 0, outcome.err
    printed, written = json.loads(outcome.out), json.loads((place / "run" / "results.json").read_text())
    assert printed == written
    with (place / "run" / "cases.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * 4


def test_folders_of_any_tool_are_evaluated(criinet, place):
    masks = place / "data" / "masks"
    outcome = criinet("evaluate", "--predictions", masks, "--targets", masks, "--out", "scores", "--json")
    assert json.loads(outcome.out)["rows"][0]["dice"] == 1
    assert sorted(path.name for path in (place / "scores").iterdir()) == ["cases.csv", "results.json"]
    shown = criinet("evaluate", "--predictions", masks, "--targets", masks).out
    assert all(header in shown for header in ("masks; distances in px", "Dice", "HD95", "misses", "1.000"))


@pytest.mark.usefixtures("place")
def test_the_table_of_a_run_is_of_test_cases(criinet):
    assert "test cases; distances in px" in criinet("evaluate", "run").out


@pytest.mark.usefixtures("place")
def test_distances_in_two_units_have_no_mean(criinet):
    """One mask has a voxel size, its fellow none: millimetres and pixels are not added up."""
    for folder in ("p", "t"):
        Path(folder).mkdir()
        for name, known in (("a", True), ("b", False)):
            labels = np.zeros((8, 8, 8), np.uint8)
            labels[2:6, 2:6, 2 : 6 + (folder == "p")] = 1
            where = Geometry(np.eye(4)) if known else Geometry.unknown()
            write_labels(Path(folder) / f"{name}.nii.gz", labels, where)
    outcome = criinet("evaluate", "--predictions", "p", "--targets", "t")
    assert "distances in mm or px" in outcome.out
    assert " – " in outcome.out
    assert "so distances have no mean" in outcome.err


def write_masks(folder: str, values: Sequence[int]) -> None:
    """Write masks of one class, each all background or with one object."""
    Path(folder).mkdir()
    for i, value in enumerate(values):
        mask = np.zeros((8, 8), np.uint8)
        mask[2:5, 2:5] = value
        Image.fromarray(mask).save(Path(folder) / f"{i}.png")


@pytest.mark.usefixtures("place")
def test_false_alarms_stand_beside_misses(criinet):
    """Of four masks one is right, two are false alarms and one is empty on both sides: Dice 1 / 3 has its reason."""
    write_masks("truth", [1, 0, 0, 0])
    write_masks("found", [1, 1, 1, 0])
    outcome = criinet("evaluate", "--predictions", "found", "--targets", "truth")
    (row,) = [line.split() for line in outcome.out.splitlines() if "files" in line]
    assert "alarms" in outcome.out
    assert (row[3:5], row[-2:]) == (["3", ".333"], ["0", "2"])
    assert "0 cases" not in outcome.err


@pytest.mark.usefixtures("place")
def test_predictions_without_a_target_are_counted(criinet):
    write_masks("found", [1, 1, 1])
    write_masks("truth", [1])
    outcome = criinet("evaluate", "--predictions", "found", "--targets", "truth")
    assert "note: 2 predictions have no target" in outcome.err.splitlines()


@pytest.mark.usefixtures("place")
def test_of_how_many_cases_hd95_is_the_mean_is_said_where_some_are_left_out(criinet):
    """Three of four objects are missed: the HD95 of 0 is that of the one which was found."""
    write_masks("truth", [1, 1, 1, 1])
    write_masks("found", [1, 0, 0, 0])
    outcome = criinet("evaluate", "--predictions", "found", "--targets", "truth", "--out", "scores")
    (note,) = [line for line in outcome.err.splitlines() if "HD95" in line]
    assert (
        note == "note: misses and false alarms have no HD95, so it is the mean of fewer cases: 1 of 4 (files, class 1)"
    )
    assert {row["distance_cases"] for row in json.loads(Path("scores/results.json").read_text())["rows"]} == {1}
    assert "HD95" not in criinet("evaluate", "--predictions", "truth", "--targets", "truth").err


def test_a_shift_finds_more_or_less(criinet, place):
    def objects(shift: str) -> float:
        outcome = criinet("predict", "run", "data", "--out", f"masks{shift}", "--shift", shift)
        assert outcome.code == 0, outcome.err
        return sum(float((np.asarray(Image.open(path)) > 0).mean()) for path in (place / f"masks{shift}").glob("*.png"))

    assert objects("-20") < objects("0") < objects("20")


@pytest.mark.parametrize(("given", "spins"), [({}, "10000"), ({"OMP_WAIT_POLICY": "active"}, None)])
def test_idle_threads_sleep_soon_unless_the_environment_says_otherwise(given, spins, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    share_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == spins
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)


@pytest.fixture
def hangup():
    """The signal of a closed terminal; handlers are put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield signal.SIGHUP
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_closed_terminal_ends_as_ctrl_c_does(hangup):
    signal.signal(hangup, signal.SIG_DFL)
    end_as_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(hangup)


def test_under_nohup_a_closed_terminal_is_nothing(hangup):
    signal.signal(hangup, signal.SIG_IGN)
    end_as_ctrl_c()
    signal.raise_signal(hangup)
    assert signal.getsignal(hangup) == signal.SIG_IGN


@pytest.mark.usefixtures("place")
def test_the_shift_that_validation_cases_chose_is_said(criinet):
    said = "object logits are shifted by +1.5, as tuned on validation cases; --shift sets another shift"
    assert said not in criinet("predict", "run", "data", "--out", "before").err, "the run chose 0"
    weights = Path("run/checkpoints/last.pt")
    torch.save({**load_checkpoint(weights), "shift": 1.5}, weights)
    assert said in criinet("predict", "run", "data", "--out", "after").err
    assert "shift of" not in criinet("predict", "run", "data", "--out", "given", "--shift", "2").err


@pytest.mark.usefixtures("place")
def test_a_class_that_nobody_has_is_said_to_be_so(criinet):
    write_masks("truth", [0, 0])
    outcome = criinet("evaluate", "--predictions", "truth", "--targets", "truth")
    assert "0 cases means that neither prediction nor ground truth has any object of: class 1" in outcome.err


def test_predictions_can_be_evaluated_as_they_are_written(criinet, place):
    """The palette masks of `predict` meet the 0 and 255 of the dataset."""
    criinet("predict", "run", "data", "--out", "masks", "--tta")
    assert len(list((place / "masks").glob("*.png"))) == 24
    criinet("predict", "run", "data", "--out", "masks", "--tta", "--resume", "--shard", "1/2")
    assert len(list((place / "masks").glob("*.png"))) == 24
    assert criinet("predict", "run", "data", "--out", "masks", "--no-tta", "--resume").code == 2
    outcome = criinet("evaluate", "--predictions", "masks", "--targets", place / "data" / "masks", "--json")
    assert outcome.code == 0, outcome.err
    assert 0 <= json.loads(outcome.out)["rows"][0]["dice"] <= 1


def test_an_exported_file_says_how_it_was_checked_and_what_opens_it(criinet, place):
    """TorchScript is for torch.jit.load: `criinet predict` says that it is no ONNX file."""
    outcome = criinet("export", "run", "--format", "torchscript", "--out", "my.ts")
    assert outcome.code == 0, outcome.err
    checked, written, use = outcome.err.splitlines()
    assert checked.startswith("checked on 4 images of the run's dataset: largest difference ")
    assert (written, use) == ("written: my.ts", "next: `torch.jit.load` opens it, in Python or C++")
    refused = criinet("predict", "my.ts", "data", "--out", "masks")
    assert (refused.code, (place / "masks").exists()) == (2, False)
    assert "my.ts is no ONNX file, but one of torch" in refused.sentence


def test_a_name_in_square_brackets_is_printed_as_it_is(criinet, place):
    """Folders may be called what they like: nothing in a path is taken for markup."""
    (place / "data").rename(place / "scans [bold] [")
    image = place / "scans [bold] [" / "images"
    outcome = criinet("predict", "run", image, "--out", "masks [/red] :smile:")
    assert outcome.code == 0, outcome.err
    assert "masks [/red] :smile:" in outcome.err


def test_checking_a_good_dataset_draws_a_sheet(criinet, place):
    outcome = criinet("data", "check", "data", "--sheet", "sheet.png")
    assert outcome.code == 0, outcome.err
    with Image.open(place / "sheet.png") as sheet:
        assert min(sheet.size) > 100


def test_checking_a_bad_dataset_names_every_problem(criinet, place):
    Image.fromarray(np.eye(9, dtype=np.uint8)).save(place / "data" / "masks" / "nobody.png")
    (place / "data" / "images" / "case_0005.png").write_bytes(b"no image")
    outcome = criinet("data", "check", "data")
    assert outcome.code == 2
    named = [line for line in outcome.err.splitlines() if line.startswith("criinet: ")]
    assert any("nobody.png" in line for line in named)
    assert any("case_0005.png" in line for line in named)
    assert "Traceback" not in outcome.err


def test_tables_fit_any_terminal(capsys):
    with err.capture() as captured:
        err.print(table("title", ("name", "Dice"), [["a", "0.5"], ["b", "0.25"]]))
    assert "0.25" in captured.get()
    assert capsys.readouterr().err == ""


def test_the_version_is_told(criinet):
    outcome = criinet("--version")
    assert (outcome.code, outcome.out.split()[0]) == (0, "criinet")


def test_the_help_of_training_names_the_default_method(criinet):
    assert f"[default:{DEFAULT_METHOD}]" in "".join(criinet("train", "--help").out.split())


@pytest.mark.usefixtures("place")
def test_what_comes_next_is_possible_and_can_be_pasted():
    assert "`criinet evaluate run` measures it" in next_steps(Path("run"))
    split = json.loads(Path("run/split.json").read_text())
    Path("run/split.json").write_text(json.dumps({**split, "test": []}))
    Path("run").rename("my run")
    assert next_steps(Path("my run")) == "next: `criinet predict 'my run' IMAGES --out MASKS`"


def test_a_search_prints_a_command_that_a_shell_takes(criinet, monkeypatch):
    """Paths with spaces in quotes, and where the data is."""
    monkeypatch.setattr("criinet.benchmarking.search", lambda *_, **__: None)
    said = criinet("search", "smoke", "--out", "my search", "--data", "my data", "--jobs", "1").err
    assert "`criinet benchmark 'my search/tuned.json' --data 'my data' --out DIR`" in said
    said = criinet("search", "smoke", "--out", "out", "--jobs", "1").err
    assert "`criinet benchmark out/tuned.json --out DIR`" in said


def test_the_hd95_of_the_mean_is_counted_class_by_class_and_patients_are_named(capsys):
    """A case with one of its two classes missed has an HD95 all the same: that of the other class."""
    about = {"checkpoint": "last", "cases": 30, "misses": 9, "false_alarms": 0, "groups": 5}
    about |= dict.fromkeys(("dice", "dice_low", "dice_high", "iou", "hd95", "surface_dice"), 0.5)
    rows = [
        {**about, "class": "a", "distance_cases": 30, "distance_of": 30},
        {**about, "class": "b", "distance_cases": 21, "distance_of": 30},
        {**about, "class": "mean", "distance_cases": 51, "distance_of": 60},
    ]
    said = "fewer cases, for the mean counted class by class: 21 of 30 (last, b), 51 of 60 (last, mean)"
    assert note_on_distances(rows).endswith(said)
    earlier = [{**row, "checkpoint": "best", "distance_cases": row["distance_cases"] - 2} for row in rows]
    assert note_on_distances(rows + earlier).endswith(" in 5 rows, the fewest being 19 of 30 (best, b)")
    show_results({"rows": rows, "unit": "mm"}, "test cases")
    assert "test cases of 5 patients; distances in mm" in " ".join(capsys.readouterr().out.split())


def test_the_page_of_the_demo_names_the_masks_that_chose_the_weights():
    assert page_title(16) == "criinet demo: 16 masks to train, 16 to choose weights and shift, 600 images"
