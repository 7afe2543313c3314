"""Whatever a person gives, the answer is one sentence that says what, where and what to do; and nothing is lost."""

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from criinet.errors import InterruptedRunError, RunError
from files_of import contents

TRAIN = ["train", "data", "--out", "new"]
RESUME = ["train", "data", "--out", "run", "--resume"]


def save(path: str, array: np.ndarray) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def cut(path: str, kept: int = 300) -> None:
    Path(path).write_bytes(Path(path).read_bytes()[:kept])


def nothing() -> None:
    """Leave everything as it is: the command line alone is wrong."""


def remove_images() -> None:
    for path in Path("data/images").iterdir():
        path.unlink()


def remove_masks() -> None:
    shutil.rmtree("data/masks")
    shutil.rmtree("data/splits")


def undeclared_class() -> None:
    for path in Path("data/masks").iterdir():
        with Image.open(path) as mask:
            index = np.asarray(mask) // 255
        save(str(path), index * (2 if path.stem == "case_0002" else 1))


def bomb() -> None:
    """A PNG of a few bytes that claims 60000x60000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    Path("data/images/case_0010.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels)


def few_masks() -> None:
    """A run of a dataset with too few masks to hold any out."""
    split = json.loads(Path("run/split.json").read_text())
    Path("run/split.json").write_text(json.dumps({**split, "test": []}))


def newer() -> None:
    torch.save({"format": 99}, "run/checkpoints/last.pt")


def folders() -> None:
    for name in ("a", "b"):
        save(f"truth/{name}.png", np.eye(9))
        save(f"found/{name}.png", np.eye(9))


def other_size() -> None:
    folders()
    save("found/b.png", np.eye(8))


def lacking() -> None:
    folders()
    Path("found/b.png").unlink()


BAD: dict[str, tuple[Callable[[], object], list[str], list[str]]] = {
    "no images": (remove_images, TRAIN, ["data/images has no images", "put files of these kinds"]),
    "no dataset": (nothing, ["train", "nowhere", "--out", "new"], ["nowhere does not exist", "check the path"]),
    "a plain folder": (nothing, ["train", "run", "--out", "new"], ["run is not a dataset", "put the images in"]),
    "a cut labeled image": (
        lambda: cut("data/images/case_0003.png"),
        TRAIN,
        ["case_0003.png is damaged", "--skip-bad"],
    ),
    "a cut unlabeled image": (
        lambda: cut("data/images/case_0012.png"),
        [*TRAIN, "--method", "crii"],
        ["case_0012.png is"],
    ),
    "a cut mask": (
        lambda: cut("data/masks/case_0002.png", 60),
        TRAIN,
        ["masks/case_0002.png is damaged", "--skip-bad"],
    ),
    "a mask of another size": (
        lambda: save("data/masks/case_0001.png", np.full((20, 30), 255)),
        TRAIN,
        ["masks/case_0001.png is 30x20 but its image is 48x48", "Resize or remove it"],
    ),
    "an undeclared class": (undeclared_class, TRAIN, ["case_0002.png has class 2", "2 classes: background, lesion"]),
    "a mask without an image": (
        lambda: save("data/masks/somebody.png", np.eye(48)),
        TRAIN,
        ["masks/somebody.png has no image of the same name", "remove it"],
    ),
    "a stem twice": (
        lambda: save("data/images/case_0001.bmp", np.eye(48)),
        TRAIN,
        ["case_0001.png has the same name as case_0001.bmp", "Rename or remove"],
    ),
    "no mask at all": (remove_masks, TRAIN, ["has no mask to train from", "add some to data/masks"]),
    "a bomb": (bomb, [*TRAIN, "--method", "crii"], ["case_0010.png has over", "scale it down"]),
    "labeled 0": (nothing, [*TRAIN, "--labeled", "0"], ["'0' labels no case", "4%"]),
    "labeled abc": (nothing, [*TRAIN, "--labeled", "abc"], ["'abc' is no amount", "4%"]),
    "more labeled than masks": (nothing, [*TRAIN, "--labeled", "15"], ["6 have masks", "ask for fewer"]),
    "out under a file": (
        nothing,
        ["train", "data", "--out", "data/dataset.json/run"],
        ["data/dataset.json/run cannot be written", "in the way"],
    ),
    "out is a run": (
        nothing,
        ["train", "data", "--out", "run"],
        ["run holds a run already", "--resume", "--overwrite"],
    ),
    "out is something else": (nothing, ["train", "data", "--out", "data"], ["data is not empty and holds no run"]),
    "overwriting something else": (nothing, ["train", "data", "--out", "data", "--overwrite"], ["holds no run"]),
    "resume a longer run": (
        nothing,
        [*RESUME, "--set", "trainer.iterations=9"],
        ["trainer.iterations=6", "now 9 is asked", "drop that option"],
    ),
    "resume another method": (nothing, [*RESUME, "--method", "crii"], ["method.name=supervised", "now crii is asked"]),
    "resume with more labels": (nothing, [*RESUME, "--labeled", "3"], ["6 labeled cases", "with 3 is asked"]),
    "resume another seed": (nothing, [*RESUME, "--seed", "5"], ["seed=0", "now 5 is asked"]),
    "resume nothing": (nothing, [*TRAIN, "--resume"], ["new holds no run to go on with", "without resume"]),
    "resume a cut checkpoint": (lambda: cut("run/checkpoints/last.pt"), RESUME, ["last.pt is truncated", "Restore it"]),
    "resume a newer checkpoint": (newer, RESUME, ["format 99", "Install a newer criinet"]),
    "an unknown method": (
        nothing,
        [*TRAIN, "--method", "mean-techer"],
        ["Did you mean 'mean-teacher'?", "criinet methods"],
    ),
    "an unknown network": (nothing, [*TRAIN, "--set", "network.name=une"], ["unknown network 'une'", "'unet'"]),
    "an unknown key": (nothing, [*TRAIN, "--set", "trainer.iteratons=5"], ["Did you mean 'iterations'?"]),
    "an unknown section": (nothing, [*TRAIN, "--set", "trianer.iterations=5"], ["Did you mean 'trainer'?"]),
    "a key in the wrong section": (
        nothing,
        [*TRAIN, "--set", "method.iterations=5"],
        ["unknown setting 'method.iterations'", "Did you mean 'trainer.iterations'?"],
    ),
    "a value out of range": (
        nothing,
        [*TRAIN, "--set", "trainer.iterations=0"],
        ["'trainer.iterations' is 0", "steps"],
    ),
    "--set without =": (
        nothing,
        [*TRAIN, "--set", "trainer.iterations"],
        ["is not KEY=VALUE", "trainer.iterations=500"],
    ),
    "a settings file that is not there": (nothing, [*TRAIN, "--config", "my.toml"], ["my.toml cannot be read"]),
    "resume and overwrite": (nothing, [*RESUME, "--overwrite"], ["resume and overwrite contradict"]),
    "labeled and split": (
        nothing,
        [*TRAIN, "--labeled", "3", "--split", "data/splits/default.json"],
        ["labeled and split contradict"],
    ),
    "an unknown device": (nothing, [*TRAIN, "--device", "tpu"], ["device 'tpu' is not known", "auto, cpu or cuda"]),
    "an unknown option": (nothing, [*TRAIN, "--lableed", "3"], ["--lableed", "`criinet train --help`"]),
    "no out": (nothing, ["train", "data"], ["--out", "`criinet train --help`"]),
    "an unknown command": (nothing, ["tran", "data"], ["'tran'", "train"]),
    "a negative seed": (nothing, [*TRAIN, "--seed", "-1"], ["--seed", "`criinet train --help`"]),
    "a split that is not there": (
        nothing,
        [*TRAIN, "--split", "my.json"],
        ["my.json cannot be read", "Check the path"],
    ),
    "predict nothing": (
        lambda: Path("empty").mkdir(),
        ["predict", "run", "empty", "--out", "new"],
        ["empty holds no images", "png"],
    ),
    "predict from nowhere": (nothing, ["predict", "run", "gone", "--out", "new"], ["gone does not exist"]),
    "predict with no run": (nothing, ["predict", "data", "data", "--out", "new"], ["data holds no run"]),
    "predict without a checkpoint": (
        lambda: shutil.rmtree("run/checkpoints"),
        ["predict", "run", "data", "--out", "new"],
        ["no checkpoint run/checkpoints/last.pt", "train the run first"],
    ),
    "predict with a cut checkpoint": (
        lambda: cut("run/checkpoints/last.pt"),
        ["predict", "run", "data", "--out", "new"],
        ["last.pt is truncated"],
    ),
    "predict over the images": (nothing, ["predict", "run", "data", "--out", "data/images"], ["holds the originals"]),
    "predict over the masks": (nothing, ["predict", "run", "data", "--out", "data/masks"], ["holds the originals"]),
    "predict under a file": (
        nothing,
        ["predict", "run", "data", "--out", "data/dataset.json"],
        ["data/dataset.json cannot be written"],
    ),
    "predict with a file that is not there": (
        nothing,
        ["predict", "my.onnx", "data", "--out", "new"],
        ["my.onnx does not exist", "`criinet export RUN --out my.onnx`"],
    ),
    "predict with a file of something else": (
        lambda: Path("my.onnx").write_text("not a network"),
        ["predict", "my.onnx", "data", "--out", "new"],
        ["my.onnx is truncated or no ONNX file", "export the run again"],
    ),
    "predict with a file of torch": (
        lambda: torch.save({}, "my.ts"),
        ["predict", "my.ts", "data", "--out", "new"],
        ["my.ts is no ONNX file, but one of torch", "`criinet export RUN --out model.onnx`"],
    ),
    "predict with a MONAI bundle": (
        lambda: (Path("bun/configs").mkdir(parents=True), Path("bun/configs/inference.json").write_text("{}")),
        ["predict", "bun", "data", "--out", "new"],
        ["bun is a MONAI bundle, no run", "`python -m monai.bundle run --config_file configs/inference.json"],
    ),
    "another checkpoint of a file": (
        nothing,
        ["predict", "my.onnx", "data", "--out", "new", "--checkpoint", "best"],
        ["my.onnx holds one checkpoint", "`criinet export`"],
    ),
    "a GPU for a file": (
        nothing,
        ["predict", "my.onnx", "data", "--out", "new", "--device", "cuda"],
        ["my.onnx runs on the CPU", "drop --device"],
    ),
    "export no run": (nothing, ["export", "data", "--out", "new/my.onnx"], ["data holds no run"]),
    "export to another suffix": (
        nothing,
        ["export", "run", "--out", "new/my.pb"],
        ["my.pb does not end in .onnx"],
    ),
    "export to a suffix of torch": (
        nothing,
        ["export", "run", "--out", "new/my.pth"],
        ["my.pth does not end in .onnx", "with --format torchscript in .ts or .pt"],
    ),
    "export to an unknown format": (
        nothing,
        ["export", "run", "--format", "onx", "--out", "new/my.onnx"],
        ["unknown format 'onx'", "Did you mean 'onnx'?", "torchscript"],
    ),
    "export over a folder": (
        lambda: Path("my.onnx").mkdir(),
        ["export", "run", "--out", "my.onnx"],
        ["my.onnx is a folder", "name of a file"],
    ),
    "evaluate without test cases": (few_masks, ["evaluate", "run"], ["run has no test cases", "at least 10 masks"]),
    "evaluate nothing": (nothing, ["evaluate"], ["give RUN, or --predictions DIR and --targets DIR"]),
    "evaluate two things": (
        folders,
        ["evaluate", "run", "--predictions", "found", "--targets", "truth"],
        ["give RUN, or --predictions DIR and --targets DIR"],
    ),
    "evaluate a run to another folder": (
        nothing,
        ["evaluate", "run", "--out", "new"],
        ["--out goes with --predictions", "run/results.json", "drop it"],
    ),
    "evaluate masks with the dataset of a run": (
        folders,
        ["evaluate", "--predictions", "found", "--targets", "truth", "--dataset", "data"],
        ["--dataset goes with RUN", "drop it"],
    ),
    "evaluate with no run": (nothing, ["evaluate", "data"], ["data holds no run"]),
    "a missing prediction": (
        lacking,
        ["evaluate", "--predictions", "found", "--targets", "truth", "--out", "new"],
        ["found has no prediction for 1 of 2 targets", "first is b"],
    ),
    "a prediction of another size": (
        other_size,
        ["evaluate", "--predictions", "found", "--targets", "truth", "--out", "new"],
        ["found/b.png is 8x8 but its target is 9x9", "own size"],
    ),
    "a shift that is no number": (
        nothing,
        ["predict", "run", "data", "--out", "new", "--shift", "nan"],
        ["shift is nan"],
    ),
    "a shift of everything": (
        nothing,
        ["predict", "run", "data", "--out", "new", "--shift", "800"],
        ["shift is 800", "from -20 to 20", "above the run's own it finds more"],
    ),
    "report of no run": (nothing, ["report", "data"], ["data"]),
    "report of a benchmark that has hardly begun": (
        lambda: (Path("new/runs").mkdir(parents=True), Path("new/plan.json").write_text('{"name": "my"}')),
        ["report", "new"],
        ["no run of new has ended yet", "--resume"],
    ),
    "an unknown plan": (nothing, ["benchmark", "smok", "--out", "new"], ["Did you mean 'smoke'?", "Give a file"]),
    "a plan with an unknown key": (
        lambda: Path("my.toml").write_text('name = "my"\nsedes = [1]\ndatasets = [{path = "data"}]\n'),
        ["benchmark", "my.toml", "--out", "new"],
        ["unknown setting 'plan.sedes'", "Did you mean 'seeds'?"],
    ),
    "a plan that forgets a variant": (
        lambda: Path("my.toml").write_text(
            'name = "my"\nmethods = ["crii"]\ndatasets = [{path = "data"}]\n[variants.full]\nmethod = "supervised"\n'
        ),
        ["benchmark", "my.toml", "--out", "new"],
        ["variant 'full' is not named in methods", "name it there"],
    ),
    "a plan that is no TOML": (
        lambda: Path("my.toml").write_text("name = \n"),
        ["benchmark", "my.toml", "--out", "new"],
        ["my.toml is not valid TOML"],
    ),
    "a benchmark over a run": (nothing, ["benchmark", "smoke", "--out", "run"], ["run is not empty", "no benchmark"]),
    "an unknown engine": (
        nothing,
        ["benchmark", "smoke", "--out", "new", "--engine", "slurm"],
        ["--engine slurm is not known", "local or ray"],
    ),
    "a search for nothing": (nothing, ["search", "smoke", "--out", "new"], ["search.space is empty"]),
    "predict over masks drawn by hand": (
        lambda: (shutil.copytree("data/images", "photos"), shutil.copytree("data/masks", "drawn")),
        ["predict", "run", "photos", "--out", "drawn"],
        ["which no prediction wrote and a mask would replace", "another folder"],
    ),
    "overwrite what is no run": (
        lambda: (Path("new").mkdir(), Path("new/config.json").write_text("{}"), Path("new/thesis.txt").touch()),
        [*TRAIN, "--overwrite"],
        ["new is not empty and holds no run"],
    ),
    "a setting without its section": (
        nothing,
        [*TRAIN, "--set", "iterations=10"],
        ["unknown setting 'iterations'. Did you mean 'trainer.iterations'?"],
    ),
    "a section that is a number": (nothing, [*TRAIN, "--set", "trainer=5"], ["'trainer' is 5", "trainer.KEY=VALUE"]),
    "the best checkpoint of a run without one": (
        lambda: Path("run/checkpoints/best.pt").unlink(),
        ["predict", "run", "data", "--out", "new", "--checkpoint", "best"],
        ["no checkpoint run/checkpoints/best.pt", "the run has last"],
    ),
    "a demo in a file": (lambda: Path("new").touch(), ["demo", "--out", "new"], ["new is a file", "a folder"]),
    "a split over the classes": (
        lambda: Path("data/dataset.json").write_text("{}"),
        ["split", "data", "--out", "data/dataset.json", "--overwrite"],
        ["data/dataset.json is there already and is not a split", "another name"],
    ),
    "a contact sheet over an image": (
        nothing,
        ["data", "check", "data", "--sheet", "data/images/case_0001.png"],
        ["case_0001.png is there already and is not a contact sheet", "another name"],
    ),
    "a page over the settings of its run": (
        nothing,
        ["report", "run", "--out", "run/config.json"],
        ["run/config.json is there already and is not a report", "another name"],
    ),
    "results of masks over those of a run": (
        nothing,
        ["evaluate", "--predictions", "data/masks", "--targets", "data/masks", "--out", "run"],
        ["run holds a run", "another folder"],
    ),
    "an exported file over a checkpoint": (
        nothing,
        ["export", "run", "--out", "run/checkpoints/last.pt", "--format", "torchscript"],
        ["run/checkpoints holds the checkpoints of a run", "another folder"],
    ),
    "split without masks": (remove_masks, ["split", "data", "--out", "new.json"], ["has no mask"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_answered_with_one_sentence_and_loses_nothing(case, criinet, place, tiny):
    spoil, words, fragments = BAD[case]
    spoil()
    before = contents(place)
    quick = tiny if words[0] == "train" and "--resume" not in words else []
    outcome = criinet(words[0], *quick, *words[1:])
    assert outcome.code == 2, outcome.err
    for fragment in fragments:
        assert fragment in outcome.sentence
    assert contents(place) == before


@pytest.mark.usefixtures("place")
def test_what_a_command_wrote_itself_it_writes_anew(criinet):
    """A sheet and a page of their own; a split if it is the same, or with --overwrite."""
    for _ in range(2):
        assert criinet("data", "check", "data", "--sheet", "sheet.png").code == 0
        assert criinet("report", "run", "--out", "page.html").code == 0
        assert criinet("split", "data", "--out", "my.json").code == 0
    again = ("split", "data", "--seed", "1", "--out", "my.json")
    before = Path("my.json").read_bytes()
    assert "my.json is there already and is not the split that is drawn now" in criinet(*again).sentence
    assert Path("my.json").read_bytes() == before
    assert criinet(*again, "--overwrite").code == 0
    assert Path("my.json").read_bytes() != before


def test_bad_files_can_be_skipped(criinet, place, tiny):
    """One cut image, one cut mask, one mask of nobody: each is named, and the rest trains."""
    cut("data/images/case_0012.png")
    cut("data/masks/case_0002.png", 60)
    save("data/masks/somebody.png", np.eye(48))
    outcome = criinet(*TRAIN, *tiny, "--skip-bad", "--method", "supervised", "--no-predict")
    assert outcome.code == 0, outcome.err
    skipped = [line for line in outcome.err.splitlines() if line.startswith("skipped: ")]
    assert len(skipped) == 3
    assert "--skip-bad" not in "".join(skipped)
    for name in ("case_0012.png", "case_0002.png", "somebody.png"):
        assert name in "".join(skipped)
    recorded = json.loads((place / "new" / "split.json").read_text())
    assert (len(recorded["labeled"]), len(recorded["unlabeled"])) == (5, 11)


def test_a_folder_that_may_not_be_written_is_named(criinet, place, tiny, monkeypatch):
    monkeypatch.setattr("criinet.data.files.os.access", lambda path, _: Path(path).name != "new")
    outcome = criinet(*TRAIN, *tiny)
    assert outcome.code == 2
    assert "folder new is not writable" in outcome.sentence
    assert list((place / "new").iterdir()) == []


@pytest.mark.usefixtures("place")
def test_an_error_of_our_own_says_how_to_report_it(criinet, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("criinet.engine.prediction.predict_folder", broken)
    outcome = criinet("predict", "run", "data", "--out", "masks")
    assert outcome.code == 1
    assert "internal error (ZeroDivisionError: a bug)" in outcome.err
    assert "CRIINET_DEBUG=1" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.usefixtures("place")
def test_with_debug_a_sentence_has_its_traceback_and_an_interruption_has_none(criinet, monkeypatch):
    monkeypatch.setenv("CRIINET_DEBUG", "1")
    with pytest.raises(RunError, match="nowhere"):
        criinet("predict", "nowhere", "data", "--out", "masks")

    def stopped(*_: object, **__: object) -> None:
        raise InterruptedRunError("stopped after step 3.")

    monkeypatch.setattr("criinet.engine.prediction.predict_folder", stopped)
    assert criinet("predict", "run", "data", "--out", "masks").sentence == "criinet: stopped after step 3."


def test_further_training_forgets_what_was_measured_before(criinet, place):
    """A run that was measured and then goes on: the report must not show the old Dice as the final one."""
    before = json.loads((place / "run" / "config.json").read_text())
    long = {**before, "trainer": {**before["trainer"], "iterations": 12}}
    assert criinet("evaluate", "run").code == 0
    assert (place / "run" / "results.json").exists()
    assert criinet(*RESUME, "--no-predict").code == 0
    assert (place / "run" / "results.json").exists(), "nothing was left to train"
    (place / "run" / "config.json").write_text(json.dumps(long))
    assert criinet(*RESUME, "--no-predict").code == 0
    for name in ("results.json", "cases.csv", "examples.json"):
        assert not (place / "run" / name).exists()


def test_a_run_goes_on_where_its_dataset_is_now(criinet, place):
    Path("data").rename("moved")
    outcome = criinet("train", "moved", "--out", "run", "--resume")
    assert outcome.code == 0, outcome.err
    assert json.loads((place / "run" / "config.json").read_text())["dataset"]["path"] == str(place / "moved")
    assert len(list((place / "run" / "predictions").glob("*.png"))) == 12
    assert "wrote masks for 12 cases to run/predictions\n" in outcome.err


@pytest.mark.usefixtures("place")
def test_hidden_files_are_no_images(criinet):
    """macOS puts a file called ._NAME beside every file on a foreign disk."""
    for folder in ("images", "masks"):
        for path in list(Path("data", folder).iterdir())[:3]:
            path.with_name(f"._{path.name}").write_bytes(b"attributes")
    outcome = criinet("predict", "run", "data", "--out", "new")
    assert outcome.code == 0, outcome.err
    assert criinet("evaluate", "--predictions", "data/masks", "--targets", "data/masks").code == 0
    assert criinet("data", "import", "pairs", "data", "imported").code == 0
    assert len(list(Path("imported/images").iterdir())) == 24


@pytest.mark.usefixtures("place")
def test_settings_of_windows_notepad_are_read(criinet, tiny):
    Path("my.toml").write_bytes(b"\xef\xbb\xbf[trainer]\niterations = 2\n")
    assert criinet(*TRAIN, *tiny, "--config", "my.toml", "--method", "supervised", "--no-predict").code == 0
