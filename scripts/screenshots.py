"""Makes the screenshots that the README and the guide show.

Run: python scripts/screenshots.py PRESET, of a model that chats; the likeliest
answers are taken. Or python scripts/screenshots.py --report CORPUS, of a
corpus with something to show. Needs Chromium, and `pip install playwright
pillow` beside `keras-llm[serve]`.
"""

import argparse
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

OUT = Path(__file__).parents[1] / "docs" / "images"
SIZE = {"width": 1000, "height": 940}
REPORT_SIZE = {"width": 1200, "height": 1180}
ADDRESS = "http://127.0.0.1:{port}"
COLOURS = 128
SHORTER = "field => { field.rows = 2 }"
QUESTIONS = (
    "What is the boiling point of water in Celsius?",
    "What is the capital of the Netherlands?",
)
BETTER = "The capital of the Netherlands is Amsterdam."
TEXT = (
    "The opposite of 'light' is 'dark'. The boiling point of water is 100 "
    "degrees Celsius. The capital of France is Paris."
)


def main() -> None:
    """Starts the server, and takes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", nargs="?")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--questions", nargs="+", default=QUESTIONS)
    parser.add_argument("--text", default=TEXT)
    parser.add_argument("--port", type=int, default=8765)
    values = parser.parse_args()
    if values.report:
        with browser() as started:
            page = started.new_page(viewport=REPORT_SIZE)
            page.goto((values.report / "report.html").absolute().as_uri())
            write(page, OUT / "corpus_report.png")
        return
    address = ADDRESS.format(port=values.port)
    with TemporaryDirectory() as folder:
        line = ["serve", values.preset, "--port", str(values.port)]
        line += ["--feedback", str(Path(folder) / "feedback.jsonl")]
        server = subprocess.Popen(["keras-llm", *line])
        try:
            wait_until_ready(server, address)
            take(address, values.questions, values.text)
        finally:
            server.terminate()
            server.wait()


def wait_until_ready(server: subprocess.Popen, address: str) -> None:
    """Until it answers; ends the program if it does not start."""
    while server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/readyz"):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    sys.exit("The server did not start.")


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    with sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--headless", "--no-sandbox", "--disable-gpu"],
        )
        yield started
        started.close()


def take(address: str, questions: list[str], text: str) -> None:
    """Both pictures of the page."""
    with browser() as started:
        page = started.new_page(viewport=SIZE)
        page.goto(address)
        chat(page, questions)
        write(page, OUT / "chat.png")
        page.get_by_role("tab", name="Look").click()
        page.get_by_label("A text", exact=True).fill(text)
        page.get_by_role("button", name="Look", exact=True).click()
        page.locator("#looked-1").wait_for()
        page.get_by_label("A text", exact=True).evaluate(SHORTER)
        page.locator("#looked-28").hover()
        write(page, OUT / "look.png")


def chat(page: Page, questions: list[str]) -> None:
    """Asks, and begins to correct the last answer."""
    settings = page.get_by_text("System prompt and settings")
    settings.click()
    page.locator("[name=chat-temperature]").fill("0")
    settings.click()
    for number, question in enumerate(questions):
        page.get_by_label("Your message").fill(question)
        page.get_by_label("Your message").press("Enter")
        page.get_by_role("button", name="Retry").nth(number).wait_for()
    page.get_by_role("button", name="Good answer").first.click()
    page.get_by_text("Written down", exact=True).wait_for()
    page.get_by_role("button", name="Write the better answer").last.click()
    page.get_by_label("The better answer").fill(BETTER)
    page.evaluate("scrollTo(0, 0)")
    page.mouse.move(0, 0)


def write(page: Page, path: Path) -> None:
    """As few bytes as a page of few colours needs."""
    page.screenshot(path=path)
    image = Image.open(path).convert("RGB").quantize(COLOURS)
    image.save(path, optimize=True)
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
