"""What hands do on the page in a real Chromium: mouse, fingers and keys, as they come."""

import shutil
from collections.abc import Iterator

import pytest
from live_page import ready, serving, stroke
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(template, tmp_path_factory) -> Iterator[str]:
    """The address of a server on a copy of the template, which these tests share."""
    place = tmp_path_factory.mktemp("hands") / "place"
    shutil.copytree(template, place)
    with serving(place) as (printed, _):
        yield printed


@pytest.fixture
def shown(page, address) -> str:
    """The name of the case that the page opens with, once its order stays."""
    page.goto(address)
    expect(page.locator("#ranking")).to_have_text("Most useful first")
    page.reload()
    return ready(page)


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
            box.splice(0, 4, Math.min(box[0], x), Math.min(box[1], y), Math.max(box[2], x + 1), Math.max(box[3], y + 1));
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
