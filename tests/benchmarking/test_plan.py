"""Plans: what a file says, what it means, and what is wrong with it."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from criinet.benchmarking import benchmark, read_plan, shipped_plans, worker
from criinet.benchmarking.cells import cells_of, draws_of, identity
from criinet.benchmarking.plan import Variant
from criinet.data.synthetic import write_dataset
from criinet.engine.training import look
from criinet.errors import ConfigError, DataError
from criinet.methods import methods
from criinet.networks import networks
from volume_sets import write_volumes

ROOT = Path(__file__).parents[2]
KEPT = sorted((ROOT / "benchmarks" / "plans").glob("*.toml"))
"""Plans of the benchmarks that are run by hand."""


@pytest.mark.parametrize("name", [*shipped_plans(), *[str(path) for path in KEPT]], ids=lambda name: Path(name).stem)
def test_every_plan_reads_and_says_what_it_is(name):
    plan = read_plan(name)
    assert plan.name == Path(name).stem.replace("_", "-")
    assert all([plan.description, plan.hardware, plan.hours, plan.expected])
    assert plan.rows()
    assert {network.name for network in plan.networks} <= set(networks)


def test_the_plan_of_the_documentation_reads(tmp_path):
    """Both blocks of docs/benchmark.md together are a plan with a search."""
    text = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "mine.toml").write_text("\n".join(blocks))
    plan = read_plan(str(tmp_path / "mine.toml"))
    assert list(plan.rows()) == ["supervised", "crii", "crii-gentle", "supervised-full"]
    assert set(plan.search.space) == {"trainer.learning_rate"}
    assert set(plan.search.rows["crii"]) == {"method.weights.intra"}


def test_the_smoke_plan_has_every_method():
    """A method that is registered appears in the table without another change."""
    assert set(methods) <= set(read_plan("smoke").rows())


def test_all_is_every_method_and_every_variant(tiny):
    plan = tiny(methods="all", variants={"crii-x": {"method": "crii"}})
    assert list(plan.rows()) == [*methods, "crii-x"]
    assert plan.rows()["crii-x"] == Variant(method="crii")


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"methods": ["criii"]}, "'criii' is neither a method nor a variant. Did you mean 'crii'?"),
        ({"variants": {"crii": {"method": "crii"}}}, "variant 'crii' has the name of a method"),
        ({"variants": {"x": {"method": "mean-techer"}}}, "Did you mean 'mean-teacher'?"),
        ({"variants": {"x": {"method": "crii"}}}, "variant 'x' is not named in methods; name it there, or remove it."),
    ],
)
def test_a_wrong_row_is_named(tiny, over, said):
    with pytest.raises(ConfigError) as error:
        tiny(**over).rows()
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"sedes": [1]}, "unknown setting 'plan.sedes'. Did you mean 'seeds'?"),
        ({"datasets": []}, "plan.datasets"),
        ({"draws": [-1]}, "plan.draws"),
        ({"seeds": [2**63]}, f"input should be less than or equal to {2**63 - 1}"),
        ({"methods": []}, "setting 'plan.methods' is []"),
    ],
)
def test_a_wrong_key_or_value_is_named(tiny, over, said):
    with pytest.raises(ConfigError) as error:
        tiny(**over)
    assert said in str(error.value)


UNET = {"network": {"name": "unet"}}
CRII = {"method": {"name": "crii"}}
RANGE = {"low": 1, "high": 2}


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"settings": UNET}, "settings sets network.name; name networks in [[networks]]."),
        ({"settings": CRII}, "settings sets method.name; say it in methods, or as method of a variant."),
        ({"datasets": [{"path": "a", "settings": UNET}]}, "datasets 'a'.settings sets network.name"),
        ({"networks": [{"name": "unet", "settings": {"name": "mit-unet"}}]}, "networks 'unet'.settings sets network"),
        ({"variants": {"x": {"method": "supervised", "settings": CRII}}}, "variants.x.settings sets method.name"),
        ({"search": {"space": {"network.name": RANGE}}}, "search.space sets network.name"),
        ({"search": {"rows": {"crii": {"method.name": RANGE}}}}, "search.rows.crii sets method.name"),
    ],
)
def test_a_method_or_a_network_is_named_where_the_tables_know_it(tiny, over, said):
    with pytest.raises(ConfigError) as error:
        tiny(**over)
    assert said in str(error.value)


def test_the_narrower_table_of_settings_wins(tiny, tmp_path):
    """A network's own settings, the plan's, a dataset's, a variant's: each is laid over those before it."""

    def channels(**over):
        (cell,) = cells_of(tiny(methods=["x"], **over), tmp_path, tmp_path / "out", "cpu")
        return cell.settings["network"]["channels"]

    def set_to(*channels):
        return {"network": {"channels": list(channels)}}

    over = {"variants": {"x": {"method": "supervised"}}}
    assert channels(**over) == [4, 8, 8]
    over["settings"] = set_to(4, 4)
    assert channels(**over) == [4, 4]
    over["datasets"] = [{"path": "synthetic", "images": 30, "test": 8, "settings": set_to(4, 6)}]
    assert channels(**over) == [4, 6]
    over["variants"] = {"x": {"method": "supervised", "settings": set_to(4, 8)}}
    assert channels(**over) == [4, 8]


def test_an_unknown_plan_lists_those_that_ship():
    with pytest.raises(ConfigError, match=r"there is no plan 'smok'. Did you mean 'smoke'"):
        read_plan("smok")


def test_a_grid_is_the_product_of_its_parts(tiny, tmp_path):
    """Two rows x two amounts x two draws x two seeds; all labels are one draw, so that row has a run for each seed."""
    plan = tiny(
        labeled=["2", "4"],
        draws=[0, 1],
        seeds=[0, 1],
        methods=["supervised", "crii", "full"],
        variants={"full": {"method": "supervised", "labeled": ["100%"]}},
    )
    cells = cells_of(plan, tmp_path, tmp_path / "out", "cpu")
    assert len(cells) == 2 * 2 * 2 * 2 + 2
    assert len({cell.name for cell in cells}) == len({cell.identity for cell in cells}) == len(cells)
    assert [cell.seed for cell in cells if cell.row == "full"] == [0, 1]


def test_every_row_has_the_same_split_and_settings_but_for_its_method(tiny, tmp_path):
    one, two = cells_of(tiny(), tmp_path, tmp_path / "out", "cpu")
    assert (one.split, one.seed, one.dataset) == (two.split, two.seed, two.dataset)
    rest = [{key: value for key, value in cell.settings.items() if key != "method"} for cell in (one, two)]
    assert rest[0] == rest[1]


@pytest.mark.parametrize(
    "over",
    [
        {"seeds": [1]},
        {"draws": [1]},
        {"labeled": ["5"]},
        {"settings": {"trainer": {"iterations": 5}}},
        {"networks": [{"name": "unet", "settings": {"channels": [4, 8]}}]},
    ],
)
def test_whatever_changes_a_result_changes_the_identity(tiny, tmp_path, over):
    before = cells_of(tiny(), tmp_path, tmp_path / "out", "cpu")
    after = cells_of(tiny(**over), tmp_path, tmp_path / "out", "cpu")
    assert not {cell.identity for cell in before} & {cell.identity for cell in after}


def test_other_weights_in_the_same_file_change_the_identity(tiny, tmp_path):
    weights = tmp_path / "weights.pt"
    grid = tiny(networks=[{"name": "lite0-unet", "settings": {"weights": str(weights)}}])

    def identities():
        return {cell.identity for cell in cells_of(grid, tmp_path, tmp_path / "out", "cpu")}

    with pytest.raises(ConfigError, match=r"weights\.pt is no file"):
        identities()
    weights.write_bytes(b"one")
    before = identities()
    assert identities() == before
    weights.write_bytes(b"two")
    assert not identities() & before


def test_the_identity_stays_while_nothing_changes(tiny, tmp_path):
    """Names, descriptions, other rows and the folder of the benchmark are not part of a run."""
    before = cells_of(tiny(), tmp_path, tmp_path / "out", "cpu")
    after = cells_of(tiny(name="other", methods=["crii"]), tmp_path, tmp_path / "elsewhere", "cpu")
    assert after[0].identity in {cell.identity for cell in before}


@pytest.mark.parametrize("order", [["planned", "own"], ["own", "planned"]])
def test_a_row_with_its_own_size_is_the_run_that_its_worker_does(tiny, tmp_path, monkeypatch, order):
    """Images of 64x64 are seen so, 400 steps long; at 256x256 a CPU affords 1000 * 128^2 / 256^2 = 250."""
    write_dataset(tmp_path / "data", count=30, size=(64, 64), test=8)
    own = {"method": "supervised", "settings": {"data": {"size": [256, 256]}}}
    variants = {"planned": {"method": "supervised"}, "own": own}
    grid = tiny(methods=order, variants=variants, datasets=[{"path": "data"}], settings={})
    done = []
    monkeypatch.setattr("criinet.engine.training.carry_out", lambda job, *_: done.append(job.config))
    found = cells_of(grid, tmp_path, tmp_path / "out", "cpu")
    for cell in found:
        worker.do(replace(cell, test=False), tmp_path / "out")
    ((_, drawn),) = draws_of(grid, tmp_path, tmp_path / "out")
    assert [cell.identity for cell in found] == [identity(config, drawn) for config in done]
    seen = {cell.row: (config.data.size, config.trainer.iterations) for cell, config in zip(found, done, strict=True)}
    assert seen == {"planned": ((64, 64), 400), "own": ((256, 256), 250)}


def test_the_data_of_a_draw_is_looked_at_once(tiny, tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr("criinet.benchmarking.cells.look", lambda *asked: looked.append(asked) or look(*asked))
    assert len(cells_of(tiny(draws=[0, 1], seeds=[0, 1]), tmp_path, tmp_path / "out", "cpu")) == 8
    assert len(looked) == 2


@pytest.mark.parametrize(
    ("over", "error"),
    [
        ({"datasets": [{"path": "nowhere"}]}, DataError),
        ({"settings": {"trainer": {"iteratons": 3}}}, ConfigError),
        ({"variants": {"x": {"method": "crii", "settings": {"embeding": 3}}}, "methods": ["x"]}, ConfigError),
        ({"labeled": ["many"]}, DataError),
    ],
)
def test_mistakes_are_found_before_the_first_run(tiny, tmp_path, over, error):
    with pytest.raises(error):
        cells_of(tiny(**over), tmp_path, tmp_path / "out", "cpu")
    assert not (tmp_path / "out" / "runs").exists()


def test_while_developing_no_run_knows_a_test_case(tiny, tmp_path):
    """The same labeled cases, measured on cases held out for validation."""
    splits = []
    for measure in ("test", "val"):
        out = tmp_path / measure
        (cell, *_) = cells_of(tiny(measure=measure), tmp_path, out, "cpu")
        splits.append(json.loads(Path(cell.split).read_text()))
    usual, developing = splits
    assert developing["labeled"] == usual["labeled"]
    assert developing["val"] == []
    assert set(developing["test"]) >= set(usual["val"])
    known = {name for part in ("labeled", "unlabeled", "test") for name in developing[part]}
    assert known.isdisjoint(usual["test"])


def test_a_plan_on_volumes_picks_the_settings_of_volumes(tiny, tmp_path):
    write_volumes(tmp_path / "balls")
    plan = {"datasets": [{"path": "balls"}], "labeled": ["2"], "settings": {"trainer": {"iterations": 2}}}
    (cell, *_) = cells_of(tiny(**plan), tmp_path, tmp_path / "out", "cpu")
    assert cell.dataset == str(tmp_path / "balls")
    with pytest.raises(
        ConfigError, match=r"\[active\] chooses among images, but .*balls holds volumes; name a dataset of images"
    ):
        cells_of(tiny(**plan, active={}), tmp_path, tmp_path / "out", "cpu")


def two_datasets(root, names):
    """Two datasets of the same case names, of which one has larger images."""
    for path, name, side in zip(("a", "b"), names, (32, 40), strict=True):
        write_dataset(root / path, count=30, size=(side, side), test=8)
        card = root / path / "dataset.json"
        card.write_text(json.dumps({**json.loads(card.read_text()), "name": name}))
    return {"datasets": [{"path": "a"}, {"path": "b"}]}


def test_datasets_of_the_same_case_names_are_different_runs(tiny, tmp_path):
    cells = cells_of(tiny(**two_datasets(tmp_path, ("one", "two"))), tmp_path, tmp_path / "out", "cpu")
    assert len(cells) == len({cell.name for cell in cells}) == len({cell.identity for cell in cells}) == 4
    assert len({cell.split for cell in cells}) == 2


@pytest.mark.parametrize("names", [("a set", "a set"), ("a set", "a_set")])
def test_two_datasets_of_one_name_are_refused(tiny, tmp_path, names):
    """Names that differ in what file names cannot hold would share their splits."""
    grid = tiny(**two_datasets(tmp_path, names))
    with pytest.raises(ConfigError, match="are both called a_set in file names"):
        cells_of(grid, tmp_path, tmp_path / "out", "cpu")


SYNTHETIC = {"path": "synthetic", "images": 30, "test": 8}
SMALL = {"name": "unet", "settings": {"channels": [4, 8], "dropout": []}}


@pytest.mark.parametrize(
    "over",
    [
        {"networks": [SMALL, {**SMALL, "settings": {"channels": [8, 8], "dropout": []}}]},
        {"datasets": [SYNTHETIC, {**SYNTHETIC, "settings": {"data": {"size": [16, 16]}}}]},
    ],
)
def test_what_the_tables_cannot_tell_apart_is_refused(tiny, tmp_path, over):
    said = r"'supervised' asks twice, with other settings, for unet on synthetic-30-8 at 4, .* make a variant of each"
    with pytest.raises(ConfigError, match=said):
        cells_of(tiny(**over), tmp_path, tmp_path / "out", "cpu")


def test_synthetic_images_of_two_sizes_are_told_apart(tiny, tmp_path):
    plan = tiny(methods=["supervised"], datasets=[SYNTHETIC, {**SYNTHETIC, "images": 31}])
    called = [cell.called for cell in cells_of(plan, tmp_path, tmp_path / "out", "cpu")]
    assert called == ["synthetic-30-8", "synthetic-31-8"]


def test_what_is_asked_for_twice_alike_is_one_run(tiny, tmp_path):
    plan = tiny(networks=[SMALL, SMALL], datasets=[SYNTHETIC, SYNTHETIC])
    assert len(cells_of(plan, tmp_path, tmp_path / "out", "cpu")) == 2


def test_rows_that_would_share_a_folder_are_refused(tiny, tmp_path):
    variant = {"method": "supervised"}
    plan = tiny(methods=["my row", "my_row"], variants={"my row": variant, "my_row": variant})
    with pytest.raises(ConfigError, match="rows 'my row' and 'my_row' are both called my_row in file names"):
        cells_of(plan, tmp_path, tmp_path / "out", "cpu")


def test_a_mistake_in_a_variant_and_an_amount_are_named_with_their_plan(tiny, tmp_path):
    variants = {"x": {"method": "crii", "settings": {"trainer": {"iteratons": 3}}}}
    with pytest.raises(ConfigError, match=r"plan 'tiny', row 'x': unknown setting 'trainer.iteratons'"):
        cells_of(tiny(methods=["supervised", "x"], variants=variants), tmp_path, tmp_path / "out", "cpu")
    with pytest.raises(DataError, match=r"plan 'tiny', labeled '500' on synthetic-30-8: 500 labeled cases are asked"):
        cells_of(tiny(labeled=["500"]), tmp_path, tmp_path / "out", "cpu")


def test_synthetic_images_with_other_test_cases_are_another_dataset(tiny, tmp_path):
    tests = [
        json.loads(Path(cells_of(tiny(datasets=[asked]), tmp_path, tmp_path, "cpu")[0].split).read_text())["test"]
        for asked in ({"path": "synthetic", "images": 30, "test": count} for count in (8, 10))
    ]
    assert [len(test) for test in tests] == [8, 10]


def test_other_data_of_the_same_names_is_another_run(tiny, tmp_path):
    """A corrected mask, too: what was found on the old one is not kept."""
    write_dataset(tmp_path / "data", count=30, test=8, val=2)
    plan = tiny(datasets=[{"path": "data"}])

    def identities() -> set[str]:
        return {cell.identity for cell in cells_of(plan, tmp_path, tmp_path / "out", "cpu")}

    before = identities()
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    mask = next((tmp_path / "data" / "masks").iterdir())
    values = np.asarray(Image.open(mask))
    Image.fromarray(np.roll(values, 1, axis=0)).save(mask)
    assert not identities() & before
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "copy").rename(tmp_path / "data")
    assert identities() == before


def test_a_method_of_a_script_is_refused_before_the_first_run(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(methods.get("supervised"), "__module__", "__main__")
    with pytest.raises(ConfigError, match="'supervised' is defined in a script"):
        benchmark(tiny(), tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_of_a_benchmark_that_broke_before_its_first_run(tiny, tmp_path, monkeypatch):
    """So that the same command begins anew once the fault is mended."""

    def broken(*_):
        raise AssertionError

    monkeypatch.setattr("criinet.benchmarking.bench.cells_of", broken)
    with pytest.raises(AssertionError):
        benchmark(tiny(), tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()
