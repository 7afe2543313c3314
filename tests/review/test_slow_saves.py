"""A save takes its time, and another case is opened meanwhile: nothing of the one is done to the other."""

import re

import numpy as np
import pytest
from live_page import mask_of, ready, serving, stroke
from playwright.sync_api import Page, Route, expect
from review_page import square

from criinet.review.pictures import as_png

pytestmark = pytest.mark.slow


class Held(list[Route]):
    """The requests that are on their way and wait to be let go on."""

    def hold(self, route: Route) -> None:
        """Let a request wait."""
        self.append(route)


@pytest.fixture
def held(page) -> Held:
    """The saves that wait."""
    waiting = Held()
    page.route(lambda url: "/mask?action=" in url or url.endswith("/decision"), waiting.hold)
    return waiting


def first_case(page: Page, address: str) -> str:
    """Open the page once the queue is ranked, so that its order stays."""
    page.goto(address)
    expect(page.locator("#ranking")).to_contain_text("Most useful first")
    page.reload()
    return ready(page)


def leave_while_saving(page: Page, held: Held, key: str) -> tuple[Route, str]:
    """Decide by a key and open the next case before that is answered; return what waits, and the case's name."""
    name = ready(page)
    page.keyboard.press(key)
    while not held:
        page.wait_for_timeout(20)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#case-name")).not_to_have_text(name)
    return held.pop(), ready(page)


def drafted(page: Page) -> set[str]:
    """Return the names of the cases with unsaved strokes."""
    keys = page.evaluate("import('/drafts.js').then((drafts) => drafts.keys())")
    return {key.rpartition("/")[2] for key in keys}


def save_as_ann(page: Page, address: str, name: str) -> None:
    """Save a case as another person does."""
    case = f"{address.partition('/?')[0]}/api/cases/{name}"
    params = {"action": "corrected", "by": "Ann", "version": page.request.get(case).json()["version"]}
    headers = {"content-type": "image/png"}
    assert page.request.put(f"{case}/mask", params=params, data=as_png(square()), headers=headers).ok


def test_what_went_wrong_is_said_and_nothing_is_done_to_the_case_shown_now(place, page, held):
    with serving(place) as (address, _):
        name = first_case(page, address)
        stroke(page, at=0.3)
        waiting, other = leave_while_saving(page, held, "Enter")
        waiting.abort()
        message, actions = page.locator("#message-text"), page.locator("#message-actions button")
        expect(message).to_have_text(re.compile(f"The server does not answer.* {name} is not saved: open it to go on."))
        expect(actions).to_have_text(["Close"])

        page.keyboard.press("ArrowLeft")
        expect(page.locator("#case-name")).to_have_text(name)
        expect(page.locator("#case-state")).to_have_text("not saved yet")
        save_as_ann(page, address, name)
        waiting, _ = leave_while_saving(page, held, "Enter")
        waiting.continue_()
        expect(message).to_contain_text(f"Ann saved {name} as corrected")
        expect(message).to_contain_text(f"{name} is not saved: open it to go on.")
        expect(actions).to_have_text(["Close"])
        assert page.locator("#case-name").inner_text() == other
        assert drafted(page) == {name}

        page.keyboard.press("ArrowLeft")
        expect(page.locator("#case-name")).to_have_text(name)
        expect(message).to_contain_text("Your unsaved strokes are back")
        page.unroute_all()
        save_as_ann(page, address, name)
        page.keyboard.press("Enter")
        page.route(f"**/api/cases/{name}", held.hold)
        page.get_by_role("button", name="Save mine over it").click()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#case-name")).to_have_text(other)
        held.pop().continue_()
        expect(message).to_have_text(f"Another case was opened in the meantime. {name} is not saved: open it to go on.")
        assert np.array_equal(mask_of(place, name), square() * 255)
        page.unroute_all()

        page.keyboard.press("ArrowLeft")
        expect(page.locator("#case-name")).to_have_text(name)
        page.keyboard.press("Enter")
        expect(page.locator("#case-name")).not_to_have_text(name)
        assert (mask_of(place, name) != square() * 255).any()
        assert not (place / "data" / "masks" / f"{other}.png").exists()


def test_a_save_that_ends_late_leaves_the_case_shown_now_as_it_is(place, page, held):
    """With corners of a polygon on it, with a stroke under way, and looked at alone."""
    with serving(place) as (address, _):
        first = first_case(page, address)
        box = page.locator("#canvas").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        stroke(page, at=0.3)
        waiting, second = leave_while_saving(page, held, "Enter")
        page.keyboard.press("p")
        for dx, dy in ((-60, -60), (60, -60), (60, 60)):
            page.mouse.click(x + dx, y + dy)
        waiting.continue_()
        expect(page.locator("#progress-text")).to_contain_text("1 of 12 reviewed")
        assert (ready(page), drafted(page)) == (second, set())
        expect(page.locator("#save-label")).to_have_text("Accept")
        page.keyboard.press("Enter")
        expect(page.locator("#case-state")).to_have_text("not saved yet")
        assert mask_of(place, first).any()

        page.keyboard.press("b")
        waiting, third = leave_while_saving(page, held, "Enter")
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 60, y, steps=4)
        waiting.continue_()
        expect(page.locator("#progress-text")).to_contain_text("2 of 12 reviewed")
        expect(page.locator("#message")).to_be_hidden()
        page.mouse.up()
        expect(page.locator("#case-state")).to_have_text("not saved yet")
        assert (ready(page), drafted(page)) == (third, {third})

        waiting, fourth = leave_while_saving(page, held, "r")
        waiting.continue_()
        expect(page.locator("#progress-text")).to_contain_text("3 of 12 reviewed")
        assert (ready(page), drafted(page)) == (fourth, {third})
