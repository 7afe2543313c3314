"""The page says what was measured, loads nothing, and takes no run's word as HTML."""

import json
import re

import numpy as np
import pytest
from report_html import Page
from report_runs import RunMaker, supervised_dice

from criinet.data.masks import PALETTE
from criinet.errors import RunError
from criinet.report import compare, read_run, save_figures, write_report
from criinet.report.figures import panels
from criinet.report.overlays import gallery


def page(paths, tmp_path, **options):
    text = write_report(paths, tmp_path / "out" / "report.html", **options).read_text(encoding="utf-8")
    return Page(text), text


@pytest.fixture(scope="module")
def pair_page(tmp_path_factory):
    root = tmp_path_factory.mktemp("pair")
    return page(RunMaker(root).pair(), root)


def test_the_verdict_stands_first_and_the_evidence_follows(pair_page):
    found, _ = pair_page
    sections = [
        "crii helped in this one training: Dice +.0",
        "What was measured",
        "Dice on hard and easy cases",
        "Examples from the test",
    ]
    sections += [
        "Unlabeled images",
        "Training curves",
        "Stability of the targets",
        "Data and split",
        "criinet 0.1.0, seed 0",
    ]
    places = [found.text.index(section) for section in sections]
    assert places == sorted(places)
    for fact in ("contrast percentile 10", "No alarm was raised", "5f0c2d1b9a7e4433", "few labels: start from"):
        assert fact in found.text


def test_one_run_needs_no_list(make, tmp_path):
    run = make.pair()[0]
    expected = write_report([run], tmp_path / "listed.html").read_text(encoding="utf-8")
    for one in (run, str(run)):
        assert write_report(one, tmp_path / "one.html").read_text(encoding="utf-8") == expected


def test_nothing_is_loaded_from_elsewhere(pair_page):
    found, text = pair_page
    assert all(link.startswith(("#", "data:image/webp;base64,")) for link in found.links)
    assert not re.search(r"https?://|url\((?!#)|@import|<script|<link|<iframe", text)


def test_the_page_is_small_and_its_anchors_exist(pair_page):
    found, text = pair_page
    assert len(text) < 1_500_000
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(found.ids)


def test_it_can_be_read_without_seeing_it(pair_page):
    found, _ = pair_page
    assert all(attrs["alt"] for tag, attrs in found.tags if tag == "img")
    tags = [tag for tag, _ in found.tags]
    assert tags.count("caption") == tags.count("table")
    assert tags.count("h1") == 1
    assert ("html", {"lang": "en"}) in found.tags
    charts = [attrs for tag, attrs in found.tags if attrs.get("role") == "img"]
    assert charts
    assert all("ends at" in a["aria-label"] or "hardest" in a["aria-label"] for a in charts)


def test_charts_take_the_colours_of_the_page(pair_page):
    """No ink of Matplotlib's is left, so that the charts read in light and in dark mode."""
    _, text = pair_page
    svg = "".join(re.findall(r"<svg aria-hidden.*?</svg>", text, flags=re.DOTALL))
    assert "currentColor" in svg
    assert "var(--run-1)" in svg
    assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) == set()


def test_names_are_never_taken_as_html(make, tmp_path):
    evil = '<script>alert("x")</script>'
    run = make.settings("run", "crii", classes=("background", evil))
    make.results(run, np.full((30, 1), 0.8), (evil,))
    make.curves(run, [evil], 0.8, (evil,))
    make.examples(run, names=[evil, "$x^$"], shift=3, coarse=True)
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "alarm", "step": 500, "message": evil}) + "\n")
    found, text = page([run], tmp_path, title=evil)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 5
    assert evil in found.text


def test_a_page_does_not_tell_where_files_lay(make, tmp_path):
    run = make.settings("run", "crii")
    config = json.loads((run / "config.json").read_text())
    config["dataset"] |= {"path": "/home/somebody/moles", "groups": "/home/somebody/patients.csv"}
    config["initial"] = "/home/somebody/first"
    config["network"] |= {"weights": "/home/somebody/start.pt"}
    (run / "config.json").write_text(json.dumps(config))
    found, text = page([run], tmp_path)
    assert "somebody" not in text
    assert str(tmp_path) not in text
    assert '"path": "moles"' in found.text
    assert "criinet train moles --out AGAIN --method crii --split run/split.json --seed 0" in found.text


def test_without_results_no_dice_is_claimed(make, tmp_path):
    run = make.settings("new", "crii")
    make.curves(run, ["supervised"], 0.7)
    found, _ = page([run], tmp_path)
    assert "No Dice is claimed yet: 30 test images can be measured with criinet evaluate new" in found.text
    assert "The test images can be, with criinet evaluate" in found.text
    assert "only the pictures below" not in found.text
    assert "Dice on hard" not in found.text
    split = json.loads((run / "split.json").read_text())
    (run / "split.json").write_text(json.dumps({**split, "test": []}))
    found, _ = page([run], tmp_path)
    assert "No Dice is claimed: no masks were held out, or criinet evaluate RUN was not run." in found.text
    assert "Hold masks out with criinet split" in found.text


def test_a_run_that_holds_only_settings_still_has_a_page(make, tmp_path):
    run = make.settings("new", "crii")
    (run / "split.json").unlink()
    found, _ = page([run], tmp_path)
    for said in ("No curves were recorded", "The targets were not recorded", "not recorded"):
        assert said in found.text


def test_four_classes_are_told_apart(make, tmp_path):
    classes = ("core", "rim", "vessel")
    rng = np.random.default_rng(0)
    dice = rng.uniform(0.5, 0.8, (30, 3))
    dice[3, 1] = np.nan
    paths = []
    for name, gain in (("supervised", 0.0), ("crii", 0.05)):
        run = make.settings(name, name, classes=("background", *classes))
        make.results(run, dice + gain + rng.normal(0, 0.01, dice.shape), classes)
        make.examples(run, names=["a"], shift=3, coarse=name == "crii", classes=4)
        paths.append(run)
    found, text = page(paths, tmp_path)
    assert "Class by class" in found.text
    assert "1 of 29" in found.text
    assert "misses, over classes 1 of 89" in found.text
    assert "Misses and false alarms have none: they are left out here" in found.text
    assert text.count('class="word helped"') == 3
    for name in classes:
        assert f"predicted {name}" in found.text


def test_verdicts_by_class_say_where_patients_are_too_few(make, tmp_path):
    """Five patients: 2^-4 is the least p, whatever the gain, so the class did not do nothing."""
    dice = np.stack([supervised_dice()] * 2, axis=1)
    for name, gain in (("supervised", 0.0), ("crii", 0.05)):
        run = make.settings(name, name, classes=("background", "core", "rim"))
        make.results(run, dice + gain, ("core", "rim"), groups=5)
    found, text = page([make.root / "supervised", make.root / "crii"], tmp_path)
    assert "class by class, each patient counted alike; p after Holm" in found.text
    assert text.count('<td>30</td><td>5</td><td class="word nothing">too few patients</td>') == 2


def test_runs_in_millimetres_and_in_pixels_each_keep_their_unit(make, tmp_path):
    pixels, millimetres = (make.evaluated(name, name, supervised_dice()) for name in ("supervised", "crii"))
    results = json.loads((millimetres / "results.json").read_text())
    (millimetres / "results.json").write_text(json.dumps({**results, "unit": "mm"}))
    found, text = page([pixels, millimetres], tmp_path)
    assert "distances in mm or px: supervised in px, crii in mm" in found.text
    assert re.findall(r"<td>9\.\d (px|mm)</td>", text) == ["px", "px", "mm", "mm"], "HD95 of last and best"
    headers, rows = compare([read_run(pixels), read_run(millimetres)]).table()
    at = headers.index("HD95 (mm or px)")
    assert [row[at].split()[1] for row in rows] == ["px", "mm"]
    assert "Band Dice 5 px" in page([pixels], tmp_path)[0].text


def test_images_without_an_object_are_counted_beside_the_means(make, tmp_path):
    """Two of 32 images hold nothing: the last weights find something in both, the best ones rightly nothing."""
    run = make.evaluated("crii", "crii", supervised_dice())
    assert "Images" not in page([run], tmp_path)[0].text.split("Measures on the test images")[1].split("HD95")[0]
    results = json.loads((run / "results.json").read_text())
    for row in results["rows"]:
        last = row["checkpoint"] == "last"
        row |= {
            "both_empty": 2 * (not last),
            "cases": 30 + 2 * last,
            "distance_cases": 29,
            "distance_of": 30 + 2 * last,
        }
    (run / "results.json").write_text(json.dumps(results))
    found, text = page([run], tmp_path)
    assert "images with a Dice 32" in found.text
    assert "Weights Images Dice" in found.text
    for images in ("32", "30 of 32"):
        assert f"<td>{images}</td><td><strong>" in text
    assert '<span class="quiet under">29 of 32</span>' in text
    assert "in four equal groups; 2 without one are in none." in found.text
    assert "lowest-contrast quarter (8 images)" in found.text


def test_a_mean_without_an_interval_says_why(make, tmp_path):
    run = make.evaluated("crii", "crii", supervised_dice())
    results = json.loads((run / "results.json").read_text())
    for row in results["rows"]:
        row |= {"dice_low": None, "dice_high": None}
    (run / "results.json").write_text(json.dumps({**results, "strata": []}))
    found, _ = page([run], tmp_path)
    assert "no interval: fewer than 6 images" in found.text
    assert "lowest-contrast quarter (" not in found.text


def test_the_area_in_the_labeled_masks_is_in_the_text_of_its_chart(make):
    runs = [make.settings(name, name) for name in ("supervised", "crii")]
    for run in runs:
        make.curves(run, ["supervised"], 0.7)
    text = next(panel.text for panel in panels([*map(read_run, runs)]) if panel.name == "area_lesion")
    assert text.endswith(". Labeled masks: .130.")
    lines = (runs[1] / "metrics.jsonl").read_text()
    (runs[1] / "metrics.jsonl").write_text(lines.replace('"lesion": 0.13}', '"lesion": 0.2}'))
    text = next(panel.text for panel in panels([*map(read_run, runs)]) if panel.name == "area_lesion")
    assert text.endswith(". Labeled masks: .130 of supervised, .200 of crii.")


def test_a_run_on_labeled_images_alone_and_on_volumes_says_so(make, tmp_path):
    run = make.settings("crii", "crii")
    make.curves(run, ["supervised"], 0.7)
    make.examples(run, names=["a"], shift=3, coarse=False)
    assert "fixed set of unlabeled images through" in page([run], tmp_path)[0].text
    for name, part, value in (("split.json", "unlabeled", []), ("config.json", "dataset", {"name": "ct", "dims": 3})):
        found = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps({**found, part: value}))
    found, text = page([run], tmp_path)
    assert "fixed set of labeled images, whose masks are not used for it, through" in found.text
    assert "unlabeled pixels" not in found.text
    assert 'alt="image a, axial, coronal and sagittal"' in text


def test_a_shift_is_told_and_explained_where_there_is_one(make, tmp_path):
    run = make.evaluated("crii", "crii", supervised_dice())
    assert "objects" not in page([run], tmp_path)[0].text.split("What was measured")[1].split("HD95")[0]
    results = json.loads((run / "results.json").read_text())
    for row in results["rows"]:
        row["shift"] = 1.5 if row["checkpoint"] == "best" else 0.0
    (run / "results.json").write_text(json.dumps(results))
    found, _ = page([run], tmp_path)
    assert "“objects +1” means" in found.text
    assert "step 500, objects +1.5" in found.text
    assert found.text.count("objects +1.5") == 1


def test_a_case_of_the_same_name_in_another_dataset_is_another_image(make, tmp_path):
    """Nor is a prediction drawn on an image that its run did not see, whatever the names are."""
    paths = [make.settings(name, name, classes=("background", name)) for name in ("crii", "cps", "ict")]
    for path, dataset, names in zip(paths, ("moles", "polyps", "moles"), (["a"], ["a"], ["b", "a", "u"]), strict=True):
        config = json.loads((path / "config.json").read_text())
        config["dataset"] |= {"name": dataset, "classes": ["background", dataset]}
        (path / "config.json").write_text(json.dumps(config))
        make.examples(path, names=names, shift=3, coarse=False)
    shown = gallery([read_run(path) for path in paths], "test")
    assert [(strip.case, strip.cnr, [tile.owner for tile in strip.tiles if tile.owner]) for strip in shown.strips] == [
        ("a of moles", 0.4, ["crii"]),
        ("a of moles", 1.4, ["ict"]),
        ("a of polyps", 0.4, ["cps"]),
        ("b of moles", 0.4, ["ict"]),
    ]
    assert shown.total == 4
    found, _ = page(paths, tmp_path)
    assert "predicted moles (moles)" in found.text
    assert "predicted polyps (polyps)" in found.text


def test_true_classes_have_their_colours_in_their_own_picture(make):
    run = make.settings("crii", "crii", classes=("background", "core", "rim"))
    make.examples(run, names=["a"], shift=3, coarse=False, classes=3)
    truth, predicted = gallery([read_run(run)], "test").strips[0].tiles[1:3]
    for color in PALETTE[1:3]:
        assert (truth.pixels == color).all(-1).sum() > 50
    assert not (truth.pixels == 255).all(-1).any()
    assert (predicted.pixels == 255).all(-1).any()


def test_where_ground_truth_is_unknown_pictures_are_hatched(make, tmp_path):
    run = make.settings("crii", "crii")
    make.examples(run, names=["a"], shift=3, coarse=False)
    assert "ground truth unknown" not in page([run], tmp_path)[0].text
    with np.load(run / "examples" / "0.npz") as saved:
        arrays = dict(saved)
    unknown = np.zeros_like(arrays["target"])
    unknown[:20, :20] = 1
    np.savez_compressed(run / "examples" / "0.npz", **arrays, unknown=unknown)
    image, *others = (tile.pixels for tile in gallery([read_run(run)], "test").strips[0].tiles[:3])
    for pixels in others:
        changed = (abs(pixels.astype(int) - image) > 25).any(-1)
        assert 0.4 < changed[5:60, 5:60].mean() < 0.7
        assert not changed[:40, 80:].any()
    assert "ground truth unknown, left out of every measure" in page([run], tmp_path)[0].text


def test_what_is_folded_is_printed_on_the_width_of_the_paper(make, tmp_path, browser):
    classes = ("core", "rim", "vessel")
    run = make.settings("crii", "crii", classes=("background", *classes))
    make.results(run, np.full((30, 3), 0.7) + supervised_dice()[:, None] / 9, classes)
    write_report([run], tmp_path / "report.html")
    shown = browser.new_page(viewport={"width": 718, "height": 1000})
    shown.emulate_media(media="print")
    shown.goto((tmp_path / "report.html").as_uri())
    for words in ("Overlap of prediction and ground truth", "1 is the hardest", '"learning_rate"'):
        box = shown.get_by_text(words).bounding_box()
        assert box is not None, words
        assert box["height"] > 0
    assert shown.evaluate("document.documentElement.scrollWidth") <= 718
    shown.close()


def test_a_lost_picture_is_named(make, tmp_path):
    _, crii = make.pair()
    (crii / "examples" / "1.npz").unlink()
    found, _ = page([crii], tmp_path)
    assert "The pictures of case_011 could not be read." in found.text


def test_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="name at least one"):
        write_report([], tmp_path / "report.html")


def test_figures_are_saved_for_a_paper(make, tmp_path):
    run = make.settings("run", "cr$ii$", classes=("background", "$"))
    make.results(run, np.full((30, 1), 0.8), ("$",))
    make.curves(run, ["supervised"], 0.7, ("$",))
    make.examples(run, names=["a$b$"], shift=2, coarse=True)
    written = save_figures([read_run(run)], tmp_path / "figures")
    stems = {"dice_by_quartile", "curves", "losses", "stability", "examples_test"}
    assert {path.name for path in written} == {f"{stem}{kind}" for stem in stems for kind in (".png", ".pdf")}
    for path in written:
        assert path.read_bytes()[:4] in (b"\x89PNG", b"%PDF")


def test_rounds_of_review_are_drawn_against_masks_and_minutes(make, tmp_path):
    run = make.settings("reviewed", "crii")
    first = {
        "number": 0,
        "status": "done",
        "masks": 8,
        "minutes": 0.0,
        "dice": 0.61,
        "difference": None,
        "verdict": None,
    }
    second = {
        **first,
        "number": 1,
        "masks": 18,
        "minutes": 12.5,
        "dice": 0.702,
        "difference": 0.092,
        "verdict": "better",
    }
    third = {**second, "number": 2, "status": "stopped", "dice": None}
    (run / "review").mkdir()
    (run / "review" / "rounds.json").write_text(json.dumps({"format": 1, "rounds": [first, second, third]}))
    assert [one.masks for one in read_run(run).rounds] == [8, 18]
    found, _ = page([run], tmp_path)
    for said in ("Rounds of review", "Dice on validation images against masks", "against minutes", ".702", "better"):
        assert said in found.text
    (run / "review" / "rounds.json").write_text("{")
    with pytest.raises(RunError, match=r"rounds.json is damaged; restore it"):
        read_run(run)


def test_a_run_that_was_not_reviewed_shows_no_rounds(pair_page):
    found, _ = pair_page
    assert "Rounds of review" not in found.text


def test_objects_with_dice_0_stand_beside_the_misses(make, tmp_path):
    """Of 30 cases 4 are false alarms; 3 have Dice 0, one of them for want of the object."""
    run = make.settings("crii", "crii", classes=("background", "core", "rim"))
    dice = np.stack([supervised_dice()] * 2, axis=1)
    dice[:3, 0] = 0.0
    make.results(run, dice, ("core", "rim"))
    results = json.loads((run / "results.json").read_text())
    for row in results["rows"]:
        row["false_alarms"] = 4
    (run / "results.json").write_text(json.dumps(results))
    cases = (run / "cases.csv").read_text()
    start = "last,test_000,patient_00,core,0.0,0.5,inf,False,"
    (run / "cases.csv").write_text(cases.replace(f"{start}False", f"{start}True"))
    _, text = page([run], tmp_path)
    for counts in (("1 of 52", 2, 4), ("1 of 26", 2, 4), ("1 of 26", 0, 4)):
        assert "".join(f"<td>{count}</td>" for count in counts) in text
    (run / "cases.csv").write_text(cases.replace("false_alarm", "unknown"))
    assert "<td>1 of 52</td><td>–</td><td>4</td>" in page([run], tmp_path)[1]


def test_the_page_says_what_its_intervals_are_about(pair_page):
    found, _ = pair_page
    assert "another draw of labeled images or another seed moves Dice, often by more than the interval" in found.text
    assert "for which nothing at all of it was predicted" in found.text
