"""The page in a browser: how it is opened, asked and answered."""

import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs Playwright: pip install playwright"
)

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
needs_chromium = pytest.mark.skipif(
    not Path(CHROMIUM).exists(),
    reason="needs Chromium: apt-get install chromium",
)
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def opened(browser, address, tab="Chat"):
    """The page, loaded, with that tab; no script of it may fail."""
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(15_000)
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.get_by_role("tab", name=tab).wait_for()
        yield page
        assert errors == []


def send(page, text):
    page.get_by_label("Your message").fill(text)
    page.get_by_label("Your message").press("Enter")


def answers(page):
    return page.locator(".message.assistant .text")


def wait_until_answered(page):
    page.get_by_role("button", name="Send", exact=True).wait_for()


def limit(page, tokens):
    """Of the answers of a conversation."""
    page.get_by_text("System prompt and settings").click()
    page.locator("[name=chat-max_tokens]").fill(str(tokens))
    page.get_by_text("System prompt and settings").click()


def events(*choices, **head):
    """A canned stream."""
    lines = [json.dumps(head | {"choices": [choice]}) for choice in choices]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])


def can_answer(page, path, body, kind="application/json"):
    def answer(route):
        route.fulfill(body=body, content_type=kind)

    page.route(f"**{path}", answer)


def can_chat(page, text):
    choice = {"delta": {"content": text}, "finish_reason": "stop"}
    body = events(choice, system_fingerprint="v2")
    can_answer(page, "/v1/chat/completions", body, "text/event-stream")
