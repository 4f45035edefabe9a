"""The models that a server has, by name, and their newest versions."""

import difflib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras_hub

from keras_llm.errors import InputError
from keras_llm.export.classifier_graph import labels_of
from keras_llm.export.loading import LABELS, is_saved_model, version_folder
from keras_llm.export.parts import graph_of
from keras_llm.models import ScratchCausalLM
from keras_llm.models.loading import load_task, preset_digest, preset_folder
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving.engine import Engine
from keras_llm.serving.http_errors import ApiError
from keras_llm.serving.served import ServedModel, TokenModel
from keras_llm.serving.signature_model import SignatureModel
from keras_llm.serving.signatures import (
    SERVING,
    LocalSignatures,
    RemoteSignatures,
    Unavailable,
    saved_signatures,
)
from keras_llm.serving.stock_engine import StockEngine
from keras_llm.serving.worker import Worker

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # between looks for a new version
GRACE_SECONDS = 600.0  # that answers of an old version have to finish
# Who has looked an old version up may still ask it.
LATE_SECONDS = 10.0


def open_model(
    name: str, source: str | Path, settings: GenerationSettings
) -> ServedModel:
    """Loads a model and starts what answers.

    Args:
        name: What clients call it.
        source: A run, a preset, or a name that KerasHub downloads; a
            SavedModel, or a folder of its versions; or
            `tensorflow-serving://HOST:PORT/NAME`.
        settings: How tokens are chosen where a request does not say.

    Raises:
        InputError: No such model, or one that answers nothing.
    """
    if str(source).startswith(SERVING):
        return SignatureModel(name, RemoteSignatures(str(source)), settings)
    if is_saved_model(Path(source)):
        local = saved_signatures(Path(source))
        file = version_folder(Path(source)) / "assets" / LABELS
        labels = None
        if file.is_file():
            labels = file.read_text("utf-8").splitlines()
        return SignatureModel(name, local, settings, labels)
    version = preset_digest(source)[:12]
    model = load_task(source)
    is_classifier = isinstance(model, keras_hub.models.TextClassifier)
    if is_classifier or isinstance(model, keras_hub.models.MaskedLM):
        graph, _ = graph_of(model, settings, 0, None, False)
        local = LocalSignatures(graph.signatures, version, graph)
        labels = labels_of(model) if is_classifier else None
        return SignatureModel(name, local, settings, labels)
    is_ours = isinstance(model, ScratchCausalLM)
    worker = Engine(model) if is_ours else StockEngine(model)
    return TokenModel(name, version, worker, settings)


class Models:
    """All models of a server; a new version takes the place of the old one.

    Args:
        sources: Where each is, by the name that clients call it.
        settings: How tokens are chosen where a request does not say.
        open: Loads one, as `open_model` does.
    """

    def __init__(
        self,
        sources: dict[str, str | Path],
        settings: GenerationSettings,
        open: Callable[..., ServedModel] = open_model,
    ):
        self._sources, self._settings, self._open = sources, settings, open
        self._served: dict[str, ServedModel] = {}
        self._stamps: dict[str, object] = {}
        self._closed = threading.Event()
        for name in sources:
            try:
                self._load(name)
            except (ApiError, Unavailable) as error:
                raise InputError(str(error)) from error
        self._watcher = threading.Thread(
            target=self._watch, name="versions", daemon=True
        )
        self._watcher.start()

    @property
    def all(self) -> Sequence[ServedModel]:
        return list(self._served.values())

    def get(self, name: str) -> ServedModel:
        """The model of that name; the first, if none is given.

        Raises:
            ApiError: There is none.
        """
        if not name:
            return next(iter(self._served.values()))
        if name in self._served:
            return self._served[name]
        near = difflib.get_close_matches(name, self._served, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ApiError(
            f"model must be one of {', '.join(self._served)}. Received: "
            f"{name[:200]!r}.{hint}",
            "model",
            404,
            "model_not_found",
        )

    def close(self, seconds: float) -> None:
        """Finishes what is being answered, for so long at most."""
        self._closed.set()
        closing = [
            threading.Thread(target=served.worker.close, args=(seconds,))
            for served in self.all
        ]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    def look(self) -> None:
        """Loads what has a new version."""
        for name in self._sources:
            try:
                if self._stamp(name) != self._stamps[name]:
                    self._load(name)
            except Exception as error:
                # Half copied, say: the old one goes on, and the files that
                # are still to come change the stamp.
                log.warning("no new version of %s: %s", name, error)

    def _load(self, name: str) -> None:
        self._stamps[name] = self._stamp(name)
        served = self._open(name, self._sources[name], self._settings)
        try:
            served.warm_up()
        except BaseException:
            served.worker.close(0)
            raise
        old = self._served.get(name)
        self._served[name] = served
        if old is not None:
            log.info("%s: version %s", name, served.version)
            threading.Thread(
                target=_retire, args=(old.worker,), daemon=True
            ).start()

    def _stamp(self, name: str) -> object:
        """What is another when there is a new version."""
        source, served = self._sources[name], self._served.get(name)
        if not str(source).startswith(SERVING):
            return _stamp(Path(source))
        if served is None:
            return RemoteSignatures(str(source)).version
        return served.signatures.newest()  # through the channel that is open

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            self.look()


def _retire(worker: Worker) -> None:
    time.sleep(LATE_SECONDS)
    worker.close(GRACE_SECONDS)


def _stamp(path: Path) -> object:
    """What is another when there is a new version in a folder."""
    is_saved = is_saved_model(path)
    folder = version_folder(path) if is_saved else preset_folder(path)
    if folder is None:
        return None
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(path), path.stat().st_mtime_ns) for path in files]
