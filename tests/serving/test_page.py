"""The page that the server serves, in a browser: its conversations."""

import json
import re
import time
from pathlib import Path

import pytest
from browsing import (
    answers,
    can_chat,
    limit,
    needs_chromium,
    playwright,
    send,
    wait_until_answered,
)
from served_here import models_of, on_a_port

from keras_llm.serving.engine import Engine

pytestmark = needs_chromium


@pytest.fixture
def slow(monkeypatch):
    """The engine takes so long that a browser is never late."""
    work = Engine._work

    def work_slowly(engine):
        time.sleep(0.1)
        work(engine)

    monkeypatch.setattr(Engine, "_work", work_slowly)


def test_a_chat_streams_and_stops(page, slow):
    limit(page, 4000)
    send(page, "Tell me more")
    playwright.expect(answers(page)).to_have_text(re.compile(".{20}"))
    page.get_by_role("button", name="Stop").click()
    wait_until_answered(page)
    facts = page.locator(".message.assistant .facts").inner_text()
    assert "stopped" in facts
    assert "tokens a second" in facts
    assert "version v1" in facts
    text = answers(page).inner_text()
    page.reload()
    assert answers(page).inner_text() == text


def test_stop_sends_nothing(page, slow):
    limit(page, 4000)
    send(page, "Tell me more")
    playwright.expect(answers(page)).to_have_text(re.compile(".{20}"))
    page.get_by_label("Your message").fill("not yet")
    page.get_by_role("button", name="Stop").click()
    wait_until_answered(page)
    assert page.locator(".message").count() == 2
    assert page.get_by_label("Your message").input_value() == "not yet"


def test_two_windows_show_one_conversation(page):
    can_chat(page, "An answer.")
    send(page, "One")
    wait_until_answered(page)
    other = page.context.new_page()
    other.goto(page.url)
    playwright.expect(other.locator(".message")).to_have_count(2)
    send(page, "Two")
    wait_until_answered(page)
    playwright.expect(other.locator(".message")).to_have_count(4)
    other.get_by_label("Your message").press_sequentially("a")
    page.reload()
    playwright.expect(page.locator(".message")).to_have_count(4)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_text("System prompt and settings").click()
    page.get_by_role("button", name="Delete").click()
    other.get_by_text("Ask the model something.").wait_for()


def test_the_keyboard_stays_where_it_was(page):
    can_chat(page, "An answer.")
    send(page, "One")
    wait_until_answered(page)
    page.get_by_role("button", name="Retry").press("Enter")
    page.get_by_text("2/2").wait_for()
    playwright.expect(page.get_by_label("Your message")).to_be_focused()
    page.get_by_role("button", name="Branch before").press("Enter")
    page.get_by_text("1/2").wait_for()
    after = page.get_by_role("button", name="Branch after")
    playwright.expect(after).to_be_focused()
    edit = page.get_by_role("button", name="Edit")
    edit.press("Enter")
    page.get_by_role("button", name="Cancel").press("Enter")
    playwright.expect(edit).to_be_focused()


def test_an_edited_message_is_a_branch(page):
    limit(page, 3)
    for text in ("First", "Second"):
        send(page, text)
        wait_until_answered(page)
    page.get_by_role("button", name="Edit").first.click()
    page.get_by_role("listitem").get_by_label("Your message").fill("Third")
    page.get_by_role("listitem").get_by_role("button", name="Send").click()
    page.get_by_text("2/2").wait_for()
    wait_until_answered(page)
    users = page.locator(".message.user .text")
    assert users.all_inner_texts() == ["Third"]
    page.get_by_role("button", name="Branch before").click()
    assert users.all_inner_texts() == ["First", "Second"]
    page.get_by_role("button", name="Retry").nth(1).click()
    page.get_by_text("2/2").wait_for()
    wait_until_answered(page)
    assert users.all_inner_texts() == ["First", "Second"]


def test_a_conversation_is_exported(page):
    page.get_by_text("System prompt and settings").click()
    page.get_by_label("System prompt", exact=True).fill("Be brief.")
    page.locator("[name=chat-temperature]").fill("0.5")
    page.locator("[name=chat-max_tokens]").fill("2")
    send(page, "Hello")
    wait_until_answered(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    found = json.loads(Path(download.value.path()).read_text())
    roles = [message["role"] for message in found["messages"]]
    assert roles == ["system", "user", "assistant"]
    _, answer = found["tree"]
    assert answer["parameters"].keys() == {"temperature", "max_tokens", "seed"}
    assert answer["parameters"]["temperature"] == 0.5
    assert answer["tokens"] == 2
    assert answer["time"] and answer["version"] == "v1"


def test_conversations_are_kept_apart(page):
    can_chat(page, "An answer.")
    send(page, "One")
    wait_until_answered(page)
    page.get_by_role("button", name="New conversation").click()
    page.get_by_label("Your message").fill("not sent yet")
    page.reload()
    listed = page.get_by_role("navigation").get_by_role("listitem")
    listed.filter(has_text="One").click()
    assert page.locator(".message").count() == 2
    listed.filter(has_text="New conversation").click()
    assert page.locator(".message").count() == 0
    field = page.get_by_label("Your message")
    assert field.input_value() == "not sent yet"
    listed.filter(has_text="One").click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_text("System prompt and settings").click()
    page.get_by_role("button", name="Delete").click()
    playwright.expect(listed).to_have_count(1)


def test_a_correction_and_a_thumb_are_written(page, feedback):
    can_chat(page, "Four.")
    send(page, "What is two and two?")
    wait_until_answered(page)
    page.get_by_text("System prompt and settings").click()
    # Too late for this answer.
    page.get_by_label("System prompt", exact=True).fill("Be brief.")
    page.get_by_role("button", name="Bad answer").click()
    page.get_by_text("Written down").first.wait_for()
    page.get_by_role("button", name="Write the better answer").click()
    better = page.get_by_label("The better answer")
    assert better.input_value() == "Four."
    better.fill("It is four.")
    page.get_by_role("button", name="Write it down").click()
    better.wait_for(state="detached")
    thumb, correction = map(json.loads, feedback.read_text().splitlines())
    prompt = [{"role": "user", "content": "What is two and two?"}]
    assert thumb["prompt"] == correction["prompt"] == prompt
    assert (thumb["completion"], thumb["label"]) == ("Four.", False)
    pair = correction["rejected"], correction["chosen"]
    assert pair == ("Four.", "It is four.")
    assert correction["model_version"] == "v2"


def test_a_cut_network_loses_nothing(page):
    can_chat(page, "An answer.")
    send(page, "One")
    wait_until_answered(page)
    page.unroute("**/v1/chat/completions")
    page.context.set_offline(True)
    send(page, "Two")
    page.get_by_role("alert").filter(has_text="cannot be reached").wait_for()
    for tab in ("Write", "Look"):
        page.get_by_role("tab", name=tab).click()
        panel = page.get_by_role("tabpanel", name=tab)
        panel.get_by_role("textbox").first.fill("Three")
        panel.get_by_role("button", name=tab, exact=True).click()
        panel.get_by_text("cannot be reached").wait_for()
    page.context.set_offline(False)
    page.get_by_role("tab", name="Chat").click()
    can_chat(page, "Another answer.")
    page.get_by_role("button", name="Retry").last.click()
    page.get_by_text("Another answer.").first.wait_for()
    assert answers(page).all_inner_texts() == ["An answer.", "Another answer."]


BLOCKED = """
for (const name of ["localStorage", "sessionStorage"]) {
  Object.defineProperty(window, name, {
    get() { throw new DOMException("Access is denied.", "SecurityError"); },
  });
}
"""


def test_a_browser_that_keeps_nothing(browser, address):
    with browser.new_context() as context:
        context.add_init_script(BLOCKED)
        page = context.new_page()
        page.goto(address)
        can_chat(page, "An answer.")
        send(page, "One")
        page.get_by_text("An answer.").first.wait_for()
        page.get_by_role("alert").filter(has_text="no room").wait_for()


@pytest.mark.slow
def test_a_key_is_asked_for_and_kept(browser):
    with (
        models_of("tiny") as models,
        on_a_port(models, key="sesame") as url,
        browser.new_context() as context,
    ):
        page = context.new_page()
        page.goto(url)
        page.get_by_label("This server asks for a key").fill("open")
        page.get_by_role("button", name="Go on").click()
        page.get_by_role("alert").filter(has_text="refuses").wait_for()
        page.get_by_label("This server asks for a key").fill("sesame")
        page.get_by_role("button", name="Go on").click()
        page.get_by_role("tab", name="Chat").wait_for()
        page.reload()
        page.get_by_role("tab", name="Chat").wait_for()
        assert page.get_by_label("This server asks for a key").count() == 0
