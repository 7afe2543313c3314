"""What hands do on the page in a real Chromium: mouse, fingers and keys, as they come."""

import pytest
from live_page import ready, stroke
from playwright.sync_api import Page, Route, expect

pytestmark = pytest.mark.slow


def drawn(page: Page) -> list[int]:
    """Return the box x0, y0, x1, y1, in pixels of the image, of what unsaved strokes changed."""
    return page.evaluate("""async () => {
        const [drafts, api] = await Promise.all([import("/drafts.js"), import("/api.js")]);
        const name = document.getElementById("case-name").textContent;
        const { drafts: place } = await api.about();
        const [{ width, round }, { slices }] = await Promise.all([api.detail(name), drafts.get(`${place}/${name}`)]);
        const before = await api.plane(name, "refined", 0, round);
        const box = [Infinity, Infinity, -Infinity, -Infinity];
        slices.get(0)?.forEach((value, i) => {
            if (value === before[i]) return;
            const [x, y] = [i % width, Math.floor(i / width)];
            const [x0, y0, x1, y1] = box;
            box.splice(0, 4, Math.min(x0, x), Math.min(y0, y), Math.max(x1, x + 1), Math.max(y1, y + 1));
        });
        return box;
    }""")


def test_on_another_screen_strokes_land_where_they_are_drawn(page, shown):
    """Its pixels are finer, and the page is as large as before."""
    size = {"width": 1400, "height": 850, "deviceScaleFactor": 2, "mobile": False}
    page.context.new_cdp_session(page).send("Emulation.setDeviceMetricsOverride", size)
    canvas = page.locator("#canvas")
    wide = canvas.evaluate("(canvas) => canvas.clientWidth")
    for times in (1, 2):
        expect(canvas).to_have_js_property("width", times * wide)
        page.keyboard.press("e")
        stroke(page, length=0.5)
        page.keyboard.press("b")
        stroke(page, length=0.1)
        x0, y0, x1, y1 = drawn(page)
        assert x0 < 24 < x1, shown
        assert abs((y0 + y1) / 2 - 24) <= 1
        page.emulate_media(color_scheme="dark")  # Only with this does the browser tell of the other screen.


def test_after_a_click_keys_speak_to_the_image_again(page, shown):
    """And who came to a button by Tab presses it with Enter."""
    page.get_by_role("button", name="Got it").click()
    page.get_by_role("button", name="Skip").click()
    expect(page.locator("#case-name")).not_to_have_text(shown)
    name = ready(page)
    page.keyboard.press("Enter")
    expect(page.locator("#case-name")).not_to_have_text(name)
    expect(page.locator("#progress-text")).to_contain_text("1 of 12 reviewed")
    assert page.evaluate("(name) => fetch(`/api/cases/${name}`).then((a) => a.json())", name)["status"] == "accepted"

    ready(page)
    page.get_by_label("Layers").get_by_label("Uncertainty").first.click()
    page.keyboard.down(" ")
    stroke(page)
    page.keyboard.up(" ")
    expect(page.locator("#layer-uncertainty")).to_be_checked()
    expect(page.locator("#undo")).to_be_disabled()
    page.locator("#zoom-fit").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#zoom-fit")).to_be_focused()
    expect(page.locator("#size-value")).to_have_text("12 px")
    page.locator("#canvas").dispatch_event("keydown", {"key": "]", "altKey": True, "ctrlKey": True, "bubbles": True})
    expect(page.locator("#size-value")).to_have_text("16 px")

    page.keyboard.press("?")
    expect(page.locator("#help-title")).to_be_focused()
    assert page.locator("#help").evaluate("(help) => help.scrollTop") == 0
    page.keyboard.press("Escape")
    name = ready(page)
    page.get_by_label("Class").get_by_role("radio").first.focus()
    page.keyboard.press("ArrowRight")
    assert ready(page) == name


def test_a_polygon_is_closed_by_a_double_click_or_its_first_corner_and_never_lost(page, shown):
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.keyboard.press("m")
    page.keyboard.press("p")
    for corner in ((x - 90, y - 90), (x + 90, y - 90)):
        page.mouse.click(*corner)
    page.keyboard.press("Enter")
    expect(page.locator("#message-text")).to_contain_text("A polygon needs three corners")
    page.get_by_role("button", name="Accept").click()
    assert ready(page) == shown
    page.mouse.dblclick(x + 90, y + 90)
    expect(page.locator("#undo")).to_be_enabled()
    expect(page.locator("#message")).to_be_hidden()
    expect(page.locator("#layer-mask")).to_be_checked()
    page.keyboard.press("z")
    expect(page.locator("#undo")).to_be_disabled()
    for corner in ((x - 90, y - 90), (x + 90, y - 90), (x, y), (x - 87, y - 88)):
        page.mouse.click(*corner)
    expect(page.locator("#undo")).to_be_enabled()


def test_two_fingers_change_no_mask_with_any_tool(page, shown):
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    box = page.locator("#canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for tool in ("b", "f", "p"):
        page.keyboard.press(tool)
        fingers("touchStart", (x, y))
        fingers("touchStart", (x, y), (x + 60, y))
        fingers("touchMove", (x, y), (x + 90, y))
        fingers("touchEnd")
        expect(page.locator("#undo")).to_be_disabled()
    page.keyboard.press("Enter")
    expect(page.locator("#case-name")).not_to_have_text(shown)  # No corner is there.


def test_the_list_stays_where_it_is_and_keys_walk_it(page, shown, address):
    page.set_viewport_size({"width": 1400, "height": 500})
    rows, queue = page.locator("#queue button"), page.locator("#queue")
    expect(page.locator('#queue button[tabindex="0"]')).to_have_count(1)
    rows.nth(0).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(rows.nth(2)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#case-name")).not_to_have_text(shown)
    ready(page)
    expect(rows.nth(2)).to_be_focused()
    queue.evaluate("(queue) => (queue.scrollTop = 150)")
    last = rows.last.locator("strong").inner_text()
    case = f"{address.partition('/?')[0]}/api/cases/{last}"
    version = page.request.get(case).json()["version"]
    assert page.request.post(f"{case}/decision", data={"action": "skipped", "version": version}).ok
    expect(rows.last).to_contain_text("skipped")
    expect(rows.nth(2)).to_be_focused()
    expect(queue).to_have_js_property("scrollTop", 150)
    ready(page)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#case-name")).to_have_text(shown)
    ready(page)
    stroke(page)
    page.keyboard.press("ArrowLeft")  # There is none before it: what can be undone stays.
    expect(page.locator("#undo")).to_be_enabled()
    page.keyboard.press("z")
    expect(page.locator("#case-state")).not_to_have_text("not saved yet")


@pytest.mark.usefixtures("shown")
def test_a_round_says_when_it_measures_and_when_it_stops(page):
    told = {"stopping": False}

    def train(route: Route) -> None:
        status = route.fetch().json()
        rounds = [*status["rounds"], {**status["rounds"][0], "number": 1, "status": "training", "current": False}]
        progress = {"step": rounds[0]["iterations"], "loss": 0.1, "dice": None}
        route.fulfill(json={**status, "rounds": rounds, "training": True, "progress": progress, **told})

    page.route("**/api/status", train)
    expect(page.locator("#model .live")).to_have_text("Round 1 trains: measuring…")
    expect(page.get_by_role("button", name="Cancel")).to_be_enabled()
    told["stopping"] = True
    expect(page.locator("#model .live")).to_have_text("Round 1 trains: stopping, saves first…")
    expect(page.get_by_role("button", name="Cancel")).to_be_disabled()
    page.unroute_all()
