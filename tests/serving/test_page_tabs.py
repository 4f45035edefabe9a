"""The page in a browser: what is on its tabs, and all of them alike."""

import json
import re
import shutil
import subprocess
import tarfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from browsing import (
    can_answer,
    can_chat,
    events,
    needs_chromium,
    opened,
    playwright,
    send,
)
from scipy.special import softmax
from served_here import models_of, on_a_port
from stock_classifiers import stock_classifier
from testing import randomize, slow_but, tiny_encoder, tiny_model

from keras_llm.export import to_saved_model
from keras_llm.generation.filling import MaskFiller
from keras_llm.models import (
    ScratchTextClassifier,
    ScratchTextClassifierPreprocessor,
    save_preset,
)
from keras_llm.serving.models import open_model

pytestmark = needs_chromium
AXE = "axe-core@4.14.1"
AXE_RUN = "axe.run({resultTypes: ['violations'], iframes: false})"
HOSTILE = (
    "<script>document.title = 'taken'</script>"
    "<img src=x onerror=\"document.title = 'taken'\"> & <b>"
)
TABS = ("Chat", "Write", "Look", "Classify", "Fill")
LABELS = ["calm", "angry", HOSTILE]


@pytest.fixture(scope="module", params=slow_but(TABS, "Chat", "Look"))
def panel(request, browser, address):
    """A tab with hostile texts in all of its places."""
    with opened(browser, address) as page:
        with_all_tabs(page)
        fill(page, request.param)
        yield page.get_by_role("tabpanel", name=request.param)


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
    """Loads the page as of a server with a classifier and an encoder."""
    tiny = {"id": "tiny", "version": "v1", "chats": True, "context_length": 64}
    mood = {"id": "mood", "version": "v1", "chats": False, "labels": LABELS}
    gaps = {"id": "gaps", "version": "v1", "chats": False, "fills": True}
    can_answer(page, "/v1/models", json.dumps({"data": [tiny, mood, gaps]}))
    filled = {
        "text": HOSTILE,
        "tokens": [[HOSTILE, " a"]],
        "scores": [[0.6, 0.1]],
        "num_masks": 1,
        "truncated": True,
    }
    filled = json.dumps({"predictions": [filled]})
    can_answer(page, "/v1/models/gaps:predict", filled)
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
    page.reload()
    page.get_by_role("button", name="Undo").click()
    assert tokens.all_text_contents() == before


@pytest.mark.slow
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


def token_events(*tokens):
    told = [
        {
            "token": token.decode("utf-8", "replace"),
            "bytes": [*token],
            "token_id": 7,
            "logprob": -1.0,
            "top_logprobs": [],
        }
        for token in tokens
    ]
    return events({"text": "", "logprobs": {"content": told}})


def test_what_is_written_on_has_no_part_of_a_character(page):
    asked, known = [], "hi 世".encode()

    def answer(route):
        asked.append(route.request.post_data_json["prompt"])
        body = token_events(known[:2], known[2:4])
        route.fulfill(body=body, content_type="text/event-stream")

    page.route("**/v1/completions", answer)
    page.get_by_role("tab", name="Write").click()
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_role("button", name="Write on").click()
    page.locator("#written-2").wait_for()
    page.get_by_role("button", name="Write on").wait_for()
    assert asked == ["", "hi"]  # the token of the space is of the character
    page.get_by_role("button", name="Edit as text").click()
    field = page.get_by_label("The beginning of a text")
    assert field.input_value() == "hihi "


def test_a_ban_is_of_one_model(page):
    models = [
        {"id": name, "version": "1", "chats": True, "context_length": 9}
        for name in ("one", "two")
    ]
    can_answer(page, "/v1/models", json.dumps({"data": models}))
    asked = []

    def answer(route):
        asked.append(route.request.post_data_json.get("logit_bias"))
        body = token_events(b"war")
        route.fulfill(body=body, content_type="text/event-stream")

    page.route("**/v1/completions", answer)
    page.reload()
    page.get_by_role("tab", name="Write").click()
    page.get_by_role("button", name="Write", exact=True).click()
    page.locator("#written-0").hover()
    page.get_by_role("button", name="Ban “war”").click()
    for number, model in enumerate(("one", "two"), 1):
        page.get_by_label("Model").select_option(model)
        page.get_by_role("button", name="Write on").click()
        page.locator(f"#written-{number}").wait_for()
    assert asked == [None, {"7": -100}, None]


def test_logits_are_no_shares_and_errors_are_shown(page):
    mood = {"id": "mood", "version": "1", "chats": False, "labels": ["a", "b"]}
    can_answer(page, "/v1/models", json.dumps({"data": [mood]}))
    scores = {"predictions": [{"label": "b", "scores": [0.15, 0.62]}]}
    can_answer(page, "/v1/models/mood:predict", json.dumps(scores))
    page.reload()
    page.get_by_role("tab", name="Classify").click()
    page.get_by_label("A text").fill("the war")
    page.get_by_role("button", name="Classify").click()
    expected = shown(["a", "b"], softmax([0.15, 0.62]))
    rows = [row.split() for row in rows_of(page, "Labels").all_inner_texts()]
    assert rows == expected
    page.unroute("**/v1/models/mood:predict")

    def refuse(route):
        route.fulfill(status=503, json={"error": "It is not there."})

    page.route("**/v1/models/mood:predict", refuse)
    page.get_by_role("button", name="Classify").click()
    page.get_by_role("alert").filter(has_text="It is not there.").wait_for()
    assert page.locator(".bars").count() == 0


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


@contextmanager
def page_of(browser, source, tab):
    """The page of a server of the model at `source`, which has one tab."""

    def open_it(name, _, settings):
        return open_model(name, source, settings)

    with (
        models_of("mood", open=open_it) as models,
        on_a_port(models) as url,
        opened(browser, url, tab) as page,
    ):
        assert page.get_by_role("tab").all_inner_texts() == [tab]
        yield page


def rows_of(page, label):
    """Of bars, which are waited for."""
    rows = page.get_by_role("list", name=label).get_by_role("listitem")
    rows.first.wait_for()
    return rows


def labels_on_the_page(browser, source, text):
    """What the page's Classify shows of a text, by the model at `source`."""
    with page_of(browser, source, "Classify") as page:
        page.get_by_label("A text").fill(text)
        page.get_by_role("button", name="Classify").click()
        rows = rows_of(page, "Labels").all_inner_texts()
        return [row.split() for row in rows]


def shown(labels, shares):
    order = np.argsort(-shares)
    return [[labels[i], f"{100 * shares[i]:.1f}", "%"] for i in order]


def test_a_classifier_labels_a_text(browser, tmp_path):
    model, labels = stock_classifier("Bert"), ["calm", "angry", "glad"]
    saved = to_saved_model(model, tmp_path / "mood", labels=labels).parent
    shares = softmax(model.predict(["the war"], verbose=0)[0])
    found = labels_on_the_page(browser, saved, "the war")
    assert found == shown(labels, shares)


def saved_classifier(folder, labels, **options):
    """A preset of random weights."""
    decoder, count = tiny_model(), len(labels)
    preprocessor = ScratchTextClassifierPreprocessor(
        decoder.preprocessor.tokenizer, sequence_length=16
    )
    model = ScratchTextClassifier(
        decoder.backbone, count, labels, preprocessor, **options
    )
    randomize(model)
    save_preset(model, folder)
    return model


@pytest.mark.slow
def test_a_preset_of_a_classifier_labels_a_text(browser, tmp_path):
    labels = ["calm", "angry"]
    model = saved_classifier(tmp_path / "mood", labels)
    shares = model.predict(["the war"], verbose=0)[0]
    found = labels_on_the_page(browser, tmp_path / "mood", "the war")
    assert found == shown(labels, shares)


@pytest.mark.slow
def test_all_labels_of_a_text_are_told(browser, tmp_path):
    labels = ["calm", "angry", "glad", "new", "old", "odd"]
    model = saved_classifier(tmp_path / "mood", labels, activation="sigmoid")
    shares = model.predict(["the war"], verbose=0)[0]
    said = [labels[i] for i in np.argsort(-shares) if shares[i] >= 0.5]
    assert 1 < len(said) < 6
    with page_of(browser, tmp_path / "mood", "Classify") as page:
        page.get_by_label("A text").fill("the war")
        page.get_by_role("button", name="Classify").click()
        rows = rows_of(page, "Labels").all_inner_texts()
        assert [row.split() for row in rows] == shown(labels, shares)
        told = f"The labels: {', '.join(said)}"
        assert page.locator("form p").all_inner_texts() == [told]
        likely = page.locator(".bars .first").all_inner_texts()
        assert [row.split()[0] for row in likely] == said


@pytest.mark.slow  # test_predict.py asks the same of the API
def test_an_encoder_fills_masks(browser, tmp_path):
    encoder = tiny_encoder(num_layers=1)
    save_preset(encoder, tmp_path / "gaps")
    text = "the [MASK] and [MASK]"
    [expected] = MaskFiller(encoder).fill([text])
    with page_of(browser, tmp_path / "gaps", "Fill") as page:
        page.get_by_label("A text").fill("no mask")
        page.get_by_role("button", name="Fill").click()
        page.get_by_text("Write [MASK] where a token").wait_for()
        page.get_by_label("A text").fill(text)
        page.get_by_role("button", name="Fill").click()
        for number, candidates in enumerate(expected.masks, 1):
            rows = rows_of(page, f"Mask {number}").all_inner_texts()
            found = [row.split("\n") for row in rows]
            shares = [f"{100 * x.probability:.1f} %" for x in candidates]
            assert [share for _, share in found] == shares
            tokens = [token[1:-1].replace("␣", " ") for token, _ in found]
            assert tokens == [x.token for x in candidates]
        filled = page.locator(".filled")
        assert filled.text_content() == expected.text


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
