"""Which columns of a record are its text and its split."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from string import Formatter
from typing import Any

from datatrove.data import Document

from keras_llm.corpus.sources.kinds import SPLIT_NAMES
from keras_llm.corpus.sources.texts import Origin, Unreadable
from keras_llm.errors import InputError
from keras_llm.recipes.corpus_settings import CorpusSettings

MOST_NAMES = 8  # of columns in a message
# A record's number in its file, and its values or why there are none.
Numbered = tuple[int, dict[str, Any] | Unreadable]


class Columns:
    """Which columns of a table are read; all of them if none is named.

    Numbers for names, from 1, mean a table without a header.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = list(dict.fromkeys(names))
        numbered = bool(self.names) and all(map(_is_number, self.names))
        self.has_header = not numbered

    def missing(self, columns: list[str]) -> Unreadable | None:
        """Why a table of these columns cannot be used, if it cannot."""
        absent = [name for name in self.names if name not in columns]
        if not absent:
            return None
        return _no_field(absent[0], "columns", columns)


class Fields(Columns):
    """What to take of a record: a column, or a template made of several.

    Raises:
        InputError: The template is none.
    """

    def __init__(self, settings: CorpusSettings) -> None:
        template = settings.template
        self._pieces = (
            [("", settings.text)] if template is None else _parsed(template)
        )
        self._is_template = template is not None
        self._split = settings.split_column
        wanted = [name for _, name in self._pieces if name is not None]
        if self._split is not None:
            wanted.append(self._split)
        super().__init__(wanted)

    def documents(
        self, record: Mapping[str, Any] | Unreadable, origin: Origin
    ) -> Iterator[Document]:
        """Yields the parts of a record's text, or that it has none."""
        if isinstance(record, Unreadable):
            yield origin.unreadable(record)
            return
        try:
            origin = self._with_split(record, origin)
            text = self._text(record)
        except Unreadable as error:
            yield origin.unreadable(error)
            return
        yield from origin.text([text])

    def _text(self, record: Mapping[str, Any]) -> str:
        if not self._is_template:
            name = self._pieces[0][1]
            value = record.get(name)
            if not isinstance(value, str):
                raise _no_field(name, "texts", _texts_in(record))
            return value
        return "".join(
            literal + ("" if name is None else _value(record, name))
            for literal, name in self._pieces
        )

    def _with_split(self, record: Mapping[str, Any], origin: Origin) -> Origin:
        if self._split is None:
            return origin
        name = record.get(self._split)
        split = SPLIT_NAMES.get(str(name).strip().lower())
        if split is None:
            raise Unreadable(
                "unknown_split",
                f"{self._split} is {str(name)[:60]!r}, not one of "
                f"{', '.join(SPLIT_NAMES)}.",
            )
        return replace(origin, split=split)


def _parsed(template: str) -> list[tuple[str, str | None]]:
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise _no_template(template) from error
    names = [name for _, name, _, _ in parsed if name is not None]
    plain = all(
        not spec and not conversion for _, _, spec, conversion in parsed
    )
    if not names or not all(names) or not plain:
        raise _no_template(template)
    return [(literal, name) for literal, name, _, _ in parsed]


def _no_template(template: str) -> InputError:
    return InputError(
        "corpus.template must name columns in braces, such as "
        f"'{{question}} {{answer}}'. Received: {template!r}."
    )


def _value(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    raise _no_field(name, "texts and numbers", _texts_in(record))


def _texts_in(record: Mapping[str, Any]) -> list[str]:
    kinds = str | int | float
    return [name for name, value in record.items() if isinstance(value, kinds)]


def _no_field(name: str, what: str, names: list[str]) -> Unreadable:
    known = ", ".join(str(known)[:60] for known in names[:MOST_NAMES])
    return Unreadable(
        "no_text_field",
        f"There is no {name}; its {what} are {known or 'none'}.",
    )


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and int(name) > 0
