"""What the page does when things change around it: other people, other tabs, the images, the server."""

from pathlib import Path

import pytest
from live_page import mask_of, ready, serving, stroke
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

pytestmark = pytest.mark.slow


def follow(page: Page, key: str) -> str:
    """Press a key that opens another case, and return its name."""
    before = ready(page)
    page.keyboard.press(key)
    expect(page.locator("#case-name")).not_to_have_text(before)
    return ready(page)


def row(page: Page, name: str) -> Locator:
    """Return a case's place in the list."""
    return page.locator("#queue button").filter(has_text=name)


def test_people_and_tabs_do_not_undo_each_others_work(page, browser, address, shown):
    name, tab, other = shown, page.context.new_page(), browser.new_context().new_page()
    for another in (tab, other):
        another.goto(address)
        assert ready(another) == name
    other.route("**/api/status", lambda route: route.abort())
    stroke(tab, at=0.6)
    page.bring_to_front()  # A tab behind another one is slow.
    stroke(page, at=0.3)
    expect(page.locator("#case-state")).to_have_text("not saved yet")
    tab.bring_to_front()
    second = follow(tab, "Enter")
    third = follow(tab, "Enter")
    page.bring_to_front()
    page.reload()
    assert ready(page) == name
    expect(page.locator("#message-text")).to_contain_text("Your unsaved strokes are back")
    expect(page.locator("#case-state")).to_have_text("not saved yet")

    expect(row(other, second)).to_contain_text("benefit")
    other.keyboard.press("Enter")
    other.get_by_role("button", name="Save mine over it").click()
    expect(other.locator("#case-name")).to_have_text(third)  # The second one is passed over.
    other.unroute_all()
    tab.bring_to_front()
    follow(tab, "k")
    expect(row(other, third)).to_contain_text("skipped")
    expect(row(other, second)).to_have_count(0)
    other.context.close()

    page.bring_to_front()
    page.keyboard.press("r")
    page.get_by_role("button", name="Save mine over it").click()
    expect(page.locator("#case-name")).not_to_have_text(name)
    ready(page)
    assert follow(page, "ArrowLeft") == name
    expect(page.locator("#case-state")).to_have_text("rejected, with unsaved strokes")
    page.reload()
    assert ready(page) not in {name, second, third}


def test_images_that_are_gone_or_replaced_and_the_last_one(place, page):
    def image(name: str) -> Path:
        return place / "data" / "images" / f"{name}.png"

    with serving(place) as (address, _):
        page.goto(address)
        expect(page.locator("#ranking")).to_have_text("Most useful first")
        page.reload()  # Before the queue was ranked its first case may have been another one.
        first = ready(page)
        names = [row.split("\n")[0] for row in page.locator("#queue button").all_inner_texts()]
        image(names[1]).unlink()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#empty-title")).to_have_text("This image cannot be shown")
        for button in ("Previous", "Next", "Skip"):
            expect(page.get_by_role("button", name=f"{button} ")).to_be_enabled()
        page.keyboard.press("r")
        expect(page.locator("#message-text")).to_contain_text(f"the image of {names[1]} is gone from the disk")
        page.get_by_role("button", name="Decide all the same").click()
        expect(page.locator("#case-name")).to_have_text(names[2])
        expect(page.locator("#progress-text")).to_contain_text("1 of 12 reviewed")

        ready(page)
        stroke(page)
        Image.new("RGB", (56, 40)).save(image(names[2]))
        page.keyboard.press("Enter")
        expect(page.locator("#message-text")).to_contain_text("was changed or replaced on the disk")
        page.get_by_role("button", name="Save mine over it").click()
        expect(page.locator("#message-text")).to_contain_text("another size now")
        page.reload()
        assert ready(page) == names[2]
        expect(page.locator("#message-text")).to_contain_text("they do not fit it")
        follow(page, "Enter")
        assert mask_of(place, names[2]).shape == (40, 56)

        for name in {first, *names[3:]} - {ready(page)}:
            case = f"{address.partition('/?')[0]}/api/cases/{name}"
            version = page.request.get(case).json()["version"]
            assert page.request.post(f"{case}/decision", data={"action": "rejected", "version": version}).ok
        expect(page.locator("#queue button")).to_have_count(1)
        last = ready(page)
        page.keyboard.press("k")
        expect(page.locator("#empty-title")).to_have_text("1 image is still skipped")
        page.get_by_role("button", name="Open it").click()
        assert ready(page) == last


def test_a_server_that_is_away_for_a_while(page, shown):
    held: list[Route] = []
    message, again = page.locator("#message-text"), page.get_by_role("button", name="Try again")
    page.route("**/api/**", lambda route: route.abort())
    page.keyboard.press("ArrowRight")
    expect(page.locator("#empty-text")).to_contain_text("start it again and open the address that it prints")
    expect(message).to_contain_text("The server does not answer")
    page.route("**/api/status", lambda route: route.fulfill(status=401, json={"error": "the token is old."}))
    expect(message).to_have_text("the token is old.")
    page.unroute_all()
    second = ready(page)
    assert second != shown
    expect(page.locator("#message")).to_be_hidden()

    page.keyboard.press("e")
    stroke(page)
    page.keyboard.press("b")
    stroke(page, length=0.05)
    page.route("**/api/**", lambda route: route.abort())
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/api/status")):
        page.keyboard.press("Enter")
    expect(again).to_be_visible()
    page.unroute_all()
    with page.expect_response("**/api/status"):
        pass
    page.evaluate("new Promise((done) => setTimeout(done, 100))")
    expect(page.locator("#case-state")).to_have_text("not saved yet")

    page.route("**/mask?action=*", lambda route: held.append(route))
    with page.expect_request("**/mask?action=*"):
        again.click()
    expect(page.locator("#case-state")).to_have_text("saving…")
    page.route("**/api/cases/*", lambda _: None)
    held.pop().continue_()
    expect(page.locator("#case-state")).to_have_text("saved")
    expect(row(page, second)).to_have_count(0)
