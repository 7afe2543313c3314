"""The page in a real Chromium: open, paint, undo, save, reload, correct, retrain, go on after the server was killed."""

import json
import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from live_page import mask_of, ready, serving, stroke
from PIL import Image
from playwright.sync_api import Page, expect

from volume_sets import in_ras

pytestmark = pytest.mark.slow


def test_the_whole_loop(place, page):
    with serving(place) as (address, process):
        port = int(re.findall(r":(\d+)/", address)[0])
        page.goto(address)
        first = ready(page)
        assert "token" not in page.url
        expect(page.locator("#hint li")).to_have_count(3)
        page.get_by_role("button", name="Got it").click()
        expect(page.locator("#save-label")).to_have_text("Accept")

        page.keyboard.press("b")
        stroke(page)
        expect(page.locator("#save-label")).to_have_text("Save correction")
        page.keyboard.press("z")
        expect(page.locator("#save-label")).to_have_text("Accept")
        page.keyboard.press("y")
        expect(page.locator("#case-state")).to_have_text("not saved yet")

        page.reload()
        assert ready(page) == first
        expect(page.locator("#save-label")).to_have_text("Save correction")
        page.get_by_label("Your name").fill("Ann")
        page.get_by_role("button", name="Save correction").click()
        expect(page.locator("#case-name")).not_to_have_text(first)
        assert set(np.unique(mask_of(place, first))) == {0, 255}
        record = json.loads((place / "data" / "review" / f"{first}.json").read_text())["decisions"][0]
        assert (record["action"], record["by"]) == ("corrected", "Ann")
        assert record["changed"] > 0

        for done in range(2, 11):
            name = ready(page)
            page.locator("#canvas").focus()
            if done % 3 == 0:
                page.keyboard.press("Enter")
            else:
                page.keyboard.press("b")
                stroke(page, at=0.4 + 0.02 * done)
                page.keyboard.press("Enter")
            expect(page.locator("#progress-text")).to_contain_text(f"{done} of 12 reviewed")
            assert (place / "data" / "masks" / f"{name}.png").exists()
        expect(page.locator("#ranking")).to_have_text("Most useful first")
        expect(page.locator("#queue li")).to_have_count(2)

        page.get_by_role("button", name="Retrain").click()
        expect(page.locator(".rounds li")).to_have_count(2)
        expect(page.locator(".rounds li.current")).to_contain_text("Round 1")
        expect(page.locator(".rounds li.current")).to_contain_text("16 masks")
        expect(page.locator(".rounds li.current")).to_contain_text("Dice")
        expect(page.locator("#model svg")).to_be_visible()
        page.get_by_role("button", name="Use the model of the start").click()
        expect(page.locator(".rounds li.current")).to_contain_text("Start")

        last = ready(page)
        page.keyboard.press("b")
        stroke(page, at=0.6)
        expect(page.locator("#case-state")).to_have_text("not saved yet")
        process.kill()
        process.wait()
        page.keyboard.press("Enter")
        expect(page.locator("#message-text")).to_contain_text("The server does not answer")

    with serving(place, port) as (address, _):
        page.goto(address)
        assert ready(page) == last
        expect(page.locator("#save-label")).to_have_text("Save correction")
        expect(page.locator("#progress-text")).to_contain_text("10 of 12 reviewed")
        expect(page.locator(".rounds li")).to_have_count(2)
        page.get_by_role("button", name="Save correction").click()
        expect(page.locator("#progress-text")).to_contain_text("11 of 12 reviewed")
        ready(page)
        page.get_by_role("button", name="Reject").click()
        expect(page.locator("#empty-title")).to_have_text("Every image is reviewed")
        page.get_by_label("Show").select_option("rejected")
        expect(page.locator("#queue li")).to_have_count(1)


def test_the_next_case_is_asked_for_while_one_is_looked_at(place, page):
    """So the server has predicted it, a volume too, by the time it is opened."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with serving(place) as (address, _):
        page.goto(address)
        first = ready(page)

        def foreseen() -> set[str]:
            return {found[1] for url in asked if (found := re.search(r"/api/cases/([^/]+)$", url))} - {first}

        for _ in range(100):
            if foreseen():
                break
            page.wait_for_timeout(50)
        assert foreseen()
        assert ready(page) == first


def test_tools_layers_keys_and_conflicts(place, page, browser):
    with serving(place) as (address, _):
        page.goto(address)
        expect(page.locator("#ranking")).to_contain_text("Most useful first")
        page.reload()  # Before the queue was ranked its first case may have been another one.
        name = ready(page)
        box = page.locator("#canvas").bounding_box()
        assert box is not None
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

        page.keyboard.press("p")
        for dx, dy in ((-60, -60), (60, -60), (60, 60), (-60, 60)):
            page.mouse.click(middle[0] + dx, middle[1] + dy)
        page.keyboard.press("Enter")
        expect(page.locator("#case-state")).to_have_text("not saved yet")
        page.keyboard.press("f")
        page.mouse.click(middle[0] + 100, middle[1] + 100)
        page.keyboard.press("z")
        page.keyboard.press("s")
        stroke(page, at=0.3)
        page.keyboard.press("e")
        stroke(page, at=0.3)
        page.keyboard.press("b")
        stroke(page, at=0.7)  # So the mask holds both classes: it differs from a model's that holds one.
        for key in ("u", "c", "d", "m", "m", "]", "[", "+", "-", "0"):
            page.keyboard.press(key)
        for layer in ("uncertainty", "coarse", "model", "mask"):
            expect(page.locator(f"#layer-{layer}")).to_be_checked()
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        page.get_by_role("button", name="Close").click()
        page.get_by_role("button", name="Dark").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")

        other = browser.new_context().new_page()
        other.goto(address)
        assert ready(other) == name
        other.get_by_label("Your name").fill("Eve")
        other.get_by_role("button", name="Accept").click()
        expect(other.locator("#case-name")).not_to_have_text(name)
        other.context.close()
        theirs = mask_of(place, name)
        page.get_by_role("button", name="Save correction").click()
        expect(page.locator("#message-text")).to_contain_text(f"Eve saved {name} as accepted")
        assert np.array_equal(mask_of(place, name), theirs)
        page.get_by_role("button", name="Save mine over it").click()
        expect(page.locator("#case-name")).not_to_have_text(name)
        mine = mask_of(place, name)
        assert not np.array_equal(mine, theirs)
        replaced = np.asarray(Image.open(place / "data" / "review" / "replaced" / f"{name}.2.png"))
        assert np.array_equal(replaced, theirs)


def test_what_is_drawn_while_a_save_is_on_its_way_is_kept(place, page):
    """And corners of a polygon are not lost on the way to another case."""
    with serving(place) as (address, _):
        page.goto(address)
        expect(page.locator("#ranking")).to_contain_text("Most useful first")
        page.reload()
        name = ready(page)
        held = []
        page.route(
            "**/mask?**", lambda route: held.append(route) if route.request.method == "PUT" else route.continue_()
        )
        stroke(page, at=0.3)
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")  # Asked for once is enough.
        page.wait_for_function("() => true")
        while not held:
            page.wait_for_timeout(20)
        stroke(page, at=0.7)
        for route in held:
            route.continue_()
        expect(page.locator("#message-text")).to_contain_text("not what you drew in the meantime")
        assert len(held) == 1
        assert page.locator("#case-name").inner_text() == name
        page.keyboard.press("z")
        expect(page.locator("#redo")).to_be_enabled()
        stroke(page, at=0.6)
        expect(page.locator("#redo")).to_be_disabled()  # The stroke took the place of what was undone.
        first = mask_of(place, name)
        page.unroute("**/mask?**")
        page.get_by_role("button", name="Save correction").click()
        expect(page.locator("#case-name")).not_to_have_text(name)
        assert (mask_of(place, name) != first).any()

        other = ready(page)
        box = page.locator("#canvas").bounding_box()
        assert box is not None
        page.keyboard.press("p")
        for dx, dy in ((-60, -60), (60, -60), (60, 60), (-60, 60)):
            page.mouse.click(box["x"] + box["width"] / 2 + dx, box["y"] + box["height"] / 2 + dy)
        page.keyboard.press("ArrowRight")
        expect(page.locator("#case-name")).not_to_have_text(other)
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#case-name")).to_have_text(other)
        expect(page.locator("#case-state")).to_have_text("not saved yet")


def test_a_volume_is_corrected_slice_by_slice(volume_place, page):
    """Two slices on, a stroke, undone from another slice and done again, a reload, a save: one voxel, where it was."""
    with serving(volume_place) as (address, _):
        page.goto(address)
        ready(page)
        page.get_by_role("button", name="Got it").click()
        page.get_by_role("button", name="v3").click()
        expect(page.locator("#case-name")).to_have_text("v3")
        about = json.loads(page.evaluate("fetch('/api/cases/v3').then((answer) => answer.text())"))
        place = page.locator("#slice-place")
        expect(place).to_have_text(f"slice {about['slice'] + 1} of 12")
        page.locator("#slice").fill("4")
        expect(place).to_have_text("slice 4 of 12")
        page.keyboard.press("PageDown")
        page.keyboard.press(".")
        expect(place).to_have_text("slice 6 of 12")
        k, y, x = 5, 2, 7
        ask = f"fetch('/api/cases/v3/planes/refined?slice={k}').then((answer) => answer.arrayBuffer())"
        by_model = page.evaluate(f"{ask}.then((bytes) => [...new Uint8Array(bytes)])")
        drawn = by_model[y * about["width"] + x] % 2 + 1
        page.keyboard.press(str(drawn))
        page.keyboard.press("b")
        for _ in range(20):
            page.keyboard.press("[")
        ready(page)
        click_pixel(page, about, x, y)
        expect(page.locator("#case-state")).to_have_text("not saved yet")
        page.keyboard.press("z")
        expect(page.locator("#save-label")).to_have_text("Accept")
        page.keyboard.press("y")
        page.keyboard.press(",")
        expect(place).to_have_text("slice 5 of 12")
        page.keyboard.press("z")
        expect(place).to_have_text("slice 6 of 12")
        page.keyboard.press("y")
        page.keyboard.down("Shift")
        page.mouse.wheel(0, 120)
        page.keyboard.up("Shift")
        expect(place).to_have_text("slice 7 of 12")
        with page.expect_response(lambda answer: f"probability-{drawn}?slice=6" in answer.url) as probability:
            page.keyboard.press("s")
        assert probability.value.ok
        stroke(page, at=0.3)
        page.keyboard.press("z")
        page.keyboard.press("?")
        expect(page.locator("#keys")).to_contain_text("previous, next slice")
        page.get_by_role("button", name="Close").click()
        for theme in ("light", "dark"):
            page.locator("html").evaluate("(html, theme) => (html.dataset.theme = theme)", theme)
            assert broken_rules(page) == []

        page.reload()
        assert ready(page) == "v3"
        expect(place).to_have_text("slice 7 of 12")
        page.get_by_role("button", name="Save correction").click()
        expect(page.locator("#case-name")).not_to_have_text("v3")
        image, mask = (volume_place / "data" / kind / "v3.nii.gz" for kind in ("images", "masks"))
        written = in_ras(mask)
        assert written.shape == in_ras(image).shape
        assert written[written.shape[0] - 1 - x, written.shape[1] - 1 - y, k] == drawn
        record = json.loads((volume_place / "data" / "review" / "v3.json").read_text())["decisions"][0]
        assert (record["action"], record["changed"]) == ("corrected", 1)

        page.get_by_label("Show").select_option("corrected")
        page.get_by_role("button", name="v3").click()
        expect(page.locator("#case-state")).to_have_text("corrected")
        expect(place).to_have_text(f"slice {about['slice'] + 1} of 12")


def test_strokes_on_a_volume_outlive_a_change_of_the_model(volume_place, page):
    with serving(volume_place) as (address, _):
        page.goto(address)
        first = ready(page)
        page.get_by_role("button", name="Accept").click()
        expect(page.locator("#case-name")).not_to_have_text(first)
        second = ready(page)
        page.locator("#slice").fill("2")
        expect(page.locator("#slice-place")).to_have_text("slice 2 of 12")
        ready(page)
        page.keyboard.press("b")
        stroke(page)
        expect(page.locator("#case-state")).to_have_text("not saved yet")
        page.get_by_role("button", name="Retrain").click()
        expect(page.locator(".rounds li.current")).to_contain_text("Round 1")
        page.locator("#slice").fill("12")
        expect(page.locator("#message-text")).to_contain_text("what you drew is kept")
        expect(page.locator("#slice-place")).to_have_text("slice 12 of 12")
        expect(page.locator("#case-state")).to_have_text("not saved yet")
        page.get_by_role("button", name="Save correction").click()
        expect(page.locator("#progress-text")).to_contain_text("2 of 4 reviewed")
        record = json.loads((volume_place / "data" / "review" / f"{second}.json").read_text())["decisions"][0]
        assert (record["action"], record["round"]) == ("corrected", 1)
        assert record["changed"] > 0


def click_pixel(page: Page, about: dict, x: int, y: int) -> None:
    """Click the middle of a pixel of an image that fills the canvas."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    wide, high = about["width"], about["height"] * about["aspect"]
    scale = min((box["width"] - 24) / wide, (box["height"] - 24) / high)
    left, top = box["x"] + (box["width"] - wide * scale) / 2, box["y"] + (box["height"] - high * scale) / 2
    page.mouse.click(left + (x + 0.5) * scale, top + (y + 0.5) * scale * about["aspect"])


@pytest.mark.parametrize("width", [1400, 420])
def test_axe_finds_nothing(place, page, width):
    """In both themes, with the first hint, without it, with the table of keys, on a wide screen and on a narrow one."""
    page.set_viewport_size({"width": width, "height": 850})
    with serving(place) as (address, _):
        page.goto(address)
        ready(page)
        for theme in ("light", "dark"):
            page.locator("html").evaluate("(html, theme) => (html.dataset.theme = theme)", theme)
            assert broken_rules(page) == []
        page.get_by_role("button", name="Got it").click()
        assert broken_rules(page) == []
        page.locator("#canvas").focus()
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        assert broken_rules(page) == []


def broken_rules(page: Page) -> list[tuple[str, str, list[str]]]:
    """Return axe's rules that the page breaks, how badly, and where."""
    found = Axe().run(page).response["violations"]
    return [(rule["id"], rule["impact"], [node["html"][:120] for node in rule["nodes"]]) for rule in found]
