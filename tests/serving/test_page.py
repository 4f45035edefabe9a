"""The page that the server serves, in a browser."""

import json
import re
import shutil
import subprocess
import tarfile
import time
from contextlib import contextmanager
from pathlib import Path

import keras
import pytest
from served_here import models_of, on_a_port
from testing import tiny_model

from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving.engine import Engine
from keras_llm.serving.served import TokenModel
from keras_llm.tokenizers.token_bytes import token_bytes

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs Playwright: pip install playwright"
)

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
pytestmark = pytest.mark.skipif(
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
AXE = "axe-core@4.14.1"
AXE_RUN = "axe.run({resultTypes: ['violations'], iframes: false})"
NEXT_FRAME = """() => new Promise(
    (done) => requestAnimationFrame(() => requestAnimationFrame(done))
)"""
HOSTILE = (
    "<script>document.title = 'taken'</script>"
    "<img src=x onerror=\"document.title = 'taken'\"> & <b>"
)
# The model never ends then, and repeats itself.
GREEDY = GenerationSettings(sampler="greedy")
TABS = ("Chat", "Write", "Look", "Classify")
LABELS = ["calm", "angry", HOSTILE]


@pytest.fixture(scope="module")
def feedback(tmp_path_factory):
    return tmp_path_factory.mktemp("feedback") / "feedback.jsonl"


def talkative_model():
    """Writes letters and words without an end."""
    model = tiny_model(["gru", "attention"], max_sequence_length=4096)
    tokenizer = model.preprocessor.tokenizer
    embedding = model.backbone.embedding.weights[0]
    values = keras.ops.convert_to_numpy(embedding).copy()
    for token, written in enumerate(token_bytes(tokenizer)):
        is_control = token in tokenizer.control_tokens.values()
        if is_control or not written.decode("utf-8", "replace").isalpha():
            values[token] = 0
    embedding.assign(values)
    return model


@pytest.fixture(scope="module")
def address(feedback):
    def open_it(name, source, settings):
        return TokenModel(name, "v1", Engine(talkative_model()), GREEDY)

    with (
        models_of("tiny", open=open_it) as models,
        on_a_port(models, feedback=feedback) as url,
    ):
        yield url


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS
        )
        yield browser
        browser.close()


@contextmanager
def opened(browser, address):
    """The page, loaded; no error may be in its console at the end."""
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(15_000)
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.get_by_role("tab", name="Chat").wait_for()
        yield page
        assert errors == []


@pytest.fixture
def page(browser, address):
    with opened(browser, address) as page:
        yield page


@pytest.fixture(scope="module", params=TABS)
def panel(request, browser, address):
    """A tab with hostile texts in all of its places."""
    with opened(browser, address) as page:
        with_all_tabs(page)
        fill(page, request.param)
        yield page.get_by_role("tabpanel", name=request.param)


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


def looked(text):
    """What the server says of a text of words."""
    tokens = [
        {
            "id": index,
            "text": word,
            "log_probability": -float(index) if index else None,
            "alternatives": [
                {"id": 7, "text": HOSTILE, "log_probability": -0.5}
            ],
        }
        for index, word in enumerate(re.findall(r"\s*\S+", text))
    ]
    count = len(tokens)
    return {
        "tokens": tokens,
        "bits_per_byte": 1.234,
        "attention": [{"block": "block_1", "weights": [0.5] * 2}],
        "movement": [
            {"block": "block_0", "kind": "gru", "distances": [1.0] * count}
        ],
    }


def with_all_tabs(page):
    """Loads the page as of a server with a classifier."""
    tiny = {"id": "tiny", "version": "v1", "chats": True, "context_length": 64}
    mood = {"id": "mood", "version": "v1", "chats": False, "labels": LABELS}
    can_answer(page, "/v1/models", json.dumps({"data": [tiny, mood]}))
    scores = {"predictions": [{"label": "angry", "scores": [0.2, 0.7, 0.1]}]}
    can_answer(page, "/v1/models/mood:predict", json.dumps(scores))
    can_answer(page, "/v1/look", json.dumps(looked(f"one {HOSTILE} two")))
    can_chat(page, HOSTILE)
    page.reload()
    page.get_by_role("tab", name="Chat").wait_for()


def fill(page, tab):
    """Asks what there is to ask on a tab."""
    page.get_by_role("tab", name=tab).click()
    if tab == "Chat":
        send(page, HOSTILE)
        page.get_by_role("button", name="Write the better answer").click()
        page.get_by_text("System prompt and settings").click()
    elif tab == "Write":
        page.get_by_label("The beginning of a text").fill(HOSTILE)
        page.get_by_role("button", name="Write", exact=True).click()
        page.get_by_role("button", name="Write on").wait_for()
        page.locator("#written-0").focus()
    else:
        panel = page.get_by_role("tabpanel", name=tab)
        panel.get_by_label("A text").fill(HOSTILE)
        panel.get_by_role("button", name=tab).click()
        panel.locator("#looked-1, .bars").first.wait_for()
        if tab == "Look":
            page.locator("#looked-1").click()


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


def test_another_token_is_taken_and_undone(page):
    page.get_by_role("tab", name="Write").click()
    page.get_by_label("The beginning of a text").fill("The nation")
    page.get_by_text("Settings", exact=True).click()
    page.locator("[name=write-max_tokens]").fill("6")
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_role("button", name="Write on").wait_for()
    tokens = page.locator("[id^=written-]")
    before = tokens.all_text_contents()
    assert len(before) == 6
    assert re.search(r"“.*”, [\d.]+ %", tokens.nth(2).get_attribute("title"))
    tokens.nth(0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    others = page.locator(".alternatives .take:not([aria-current]):enabled")
    taken = others.first.locator("span").first.inner_text()
    page.keyboard.press("ArrowDown")  # into the alternatives
    others.first.focus()
    page.keyboard.press("Enter")
    title = re.compile("^" + re.escape(taken))
    playwright.expect(tokens.nth(2)).to_have_attribute("title", title)
    page.get_by_role("button", name="Write on").wait_for()
    after = tokens.all_text_contents()
    assert after[:2] == before[:2] and after[2] != before[2]
    assert len(after) == 9
    page.get_by_role("button", name="Undo").click()
    assert tokens.all_text_contents() == before


def test_a_banned_token_is_not_written(page):
    page.get_by_role("tab", name="Write").click()
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_role("button", name="Write on").wait_for()
    first = page.locator("#written-0").get_attribute("title")
    page.locator("#written-0").hover()
    page.get_by_role("button", name=re.compile("^Ban")).first.click()
    page.get_by_role("button", name="Back to the beginning").click()
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_role("button", name="Write on").wait_for()
    assert page.locator("#written-0").get_attribute("title") != first


def test_markup_is_shown_as_text(panel):
    assert HOSTILE in panel.inner_text().replace("\n", "")
    assert panel.locator("script, img, b").count() == 0
    assert panel.page.title() == "keras_llm"


def test_a_narrow_window_does_not_scroll_sideways(panel):
    before = panel.page.viewport_size
    panel.page.set_viewport_size({"width": 360, "height": 640})
    panel.page.wait_for_function("document.documentElement.scrollWidth === 360")
    panel.page.set_viewport_size(before)


def test_a_model_that_does_not_tell_its_tokens_writes(page):
    def answer(route):
        if "logprobs" in route.request.post_data_json:
            error = {"message": "No logprobs.", "param": "logprobs"}
            route.fulfill(status=400, json={"error": error})
        else:
            choices = [{"text": text, "logprobs": None} for text in "ab"]
            body = events(*choices)
            route.fulfill(body=body, content_type="text/event-stream")

    page.route("**/v1/completions", answer)
    page.get_by_role("tab", name="Write").click()
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_role("button", name="Write on").wait_for()
    tokens = page.locator("[id^=written-]")
    assert tokens.all_text_contents() == ["a", "b"]


def test_a_look_shows_attention_and_moving_states(page):
    page.get_by_role("tab", name="Look").click()
    page.locator("#looked").fill("The nation and its citizens")
    page.get_by_role("button", name="Look", exact=True).click()
    places = page.locator(".places li")
    playwright.expect(page.locator(".figure")).to_have_text(
        re.compile(r"\d\.\d\d bits per byte, \d+ tokens")
    )
    assert 1 <= places.count() <= 10
    places.first.get_by_role("button").click()
    assert page.locator(".card .alternatives li").count() >= 10
    page.keyboard.press("Enter")  # chooses the token that has the focus
    coloured = page.get_by_label("Coloured by")
    playwright.expect(coloured).to_have_value("attention block_1")
    card = page.locator(".card > p")
    assert re.fullmatch(r"[\d.]+ % of the attention", card.inner_text())
    coloured.select_option("movement block_0")
    page.locator("#looked-1").hover()
    assert re.fullmatch(r"the state moved by [\d.]+", card.inner_text())


@pytest.fixture(scope="module")
def axe(request):
    """The source of axe-core, from npm, once."""
    folder = Path(request.config.cache.mkdir("axe"))
    archive = folder / (AXE.replace("@", "-") + ".tgz")
    if not archive.is_file():
        if shutil.which("npm") is None:
            pytest.skip("needs npm for axe-core: apt-get install npm")
        line = ["npm", "pack", "--silent", AXE]
        done = subprocess.run(line, cwd=folder, capture_output=True)
        if done.returncode:
            pytest.skip(f"npm could not get {AXE}")
    with tarfile.open(archive) as files:
        return files.extractfile("package/axe.min.js").read().decode()


def test_axe_finds_no_serious_fault(panel, axe):
    panel.page.evaluate(axe)
    for scheme in ("light", "dark"):
        panel.page.emulate_media(color_scheme=scheme)
        found = panel.page.evaluate(AXE_RUN)["violations"]
        faults = [
            (fault["id"], node["html"])
            for fault in found
            for node in fault["nodes"]
            if fault["impact"] in ("serious", "critical")
        ]
        assert faults == [], scheme


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


def test_a_key_is_asked_for_and_kept(browser):
    with (
        models_of("tiny") as models,
        on_a_port(models, key="sesame") as url,
        browser.new_context() as context,
    ):
        page = context.new_page()
        page.goto(url)
        page.get_by_label("This server asks for a key").fill("sesame")
        page.get_by_role("button", name="Go on").click()
        page.get_by_role("tab", name="Chat").wait_for()
        page.reload()
        page.get_by_role("tab", name="Chat").wait_for()
        assert page.get_by_label("This server asks for a key").count() == 0
