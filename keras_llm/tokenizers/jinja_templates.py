"""Chat templates in Jinja, rendered in a sandbox as `transformers` does it.

Knows nothing of tokens.
"""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2.meta
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from keras_llm.errors import InputError

# What a rendering may take. Templates come with models of strangers.
SECONDS = 5.0
MOST_CHARACTERS = 10_000_000


class JinjaTemplate:
    """A chat template as Hugging Face models have it.

    It sees what `transformers` shows it: `messages`, `bos_token`,
    `eos_token`, `add_generation_prompt`, `raise_exception`, `strftime_now`
    and its `tojson`; `{% generation %}` is accepted and does nothing.

    Loops, joined texts and the output are bounded. That stops templates that
    never end, not every way to take memory in a single operation.

    Args:
        source: The template.
        tokens: `bos_token` and `eos_token`; those that there are.

    Attributes:
        variables: names that the template reads.

    Raises:
        InputError: No Jinja template.
    """

    def __init__(self, source: str, tokens: Mapping[str, str]):
        self._environment = environment = _Environment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, loopcontrols],
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = self._strftime
        self._tokens, self._now = dict(tokens), datetime.now()
        try:
            self._template = environment.from_string(source)
            read = jinja2.meta.find_undeclared_variables(
                environment.parse(source)
            )
        except Exception as error:  # Python's own parser raises others too
            raise InputError(
                "The chat template must be a Jinja template. Jinja says: "
                f"{_first_line(error)}"
            ) from error
        self.variables = frozenset(read)

    def render(
        self,
        messages: Sequence[Mapping[str, str]],
        add_generation_prompt: bool,
        now: datetime,
    ) -> str:
        """The text of a conversation.

        Args:
            messages: each a dict with `role` and `content`.
            add_generation_prompt: Whether the beginning of an answer follows.
            now: What `strftime_now` tells.

        Raises:
            InputError: The template refuses the messages, fails, or takes
                too long.
        """
        self._now = now
        self._environment.deadline = time.monotonic() + SECONDS
        pieces, size = [], 0
        try:
            for piece in self._template.generate(
                messages=[dict(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                tools=None,
                documents=None,
                **self._tokens,
            ):
                pieces.append(piece)
                size += len(piece)
                _check_size(size)
        except InputError:
            raise
        except Exception as error:  # whatever the template's code raises
            raise InputError(
                "The chat template does not take these messages: "
                f"{_first_line(error)}"
            ) from error
        return "".join(pieces)

    def _strftime(self, format: str) -> str:
        return self._now.strftime(format)


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with an end to what a template may do."""

    intercepted_binops = frozenset({"+", "*", "**"})
    deadline = float("inf")

    def _parse(self, source, name, filename):
        return _Bounded().visit(super()._parse(source, name, filename))

    def call_binop(self, context, operator, left, right):
        sizes = [len(x) for x in (left, right) if isinstance(x, str | list)]
        if operator == "**":
            raise InputError("The chat template computes powers: not allowed.")
        if operator == "*" and sizes:
            count = right if isinstance(right, int) else left
            _check_size(sizes[0] * int(count))
        _check_size(sum(sizes))
        return super().call_binop(context, operator, left, right)

    def check_time(self) -> None:
        """Called where a template may take long."""
        if time.monotonic() > self.deadline:
            raise InputError(
                f"The chat template takes more than {SECONDS:g} seconds for "
                "one conversation. Pass another template."
            )

    def joined(self, *parts) -> str:
        """What `~` means."""
        texts = [str(part) for part in parts]
        _check_size(sum(map(len, texts)))
        return "".join(texts)


class _Bounded(NodeTransformer):
    """Puts a look at the clock into loops and macros."""

    def visit_For(self, node):  # noqa: N802 - Jinja's names
        """Also of `visit_Macro` and `visit_CallBlock`."""
        node = self.generic_visit(node)
        check = nodes.ExprStmt(_call("check_time", []))
        node.body.insert(0, check.set_lineno(node.lineno))
        return node

    visit_Macro = visit_CallBlock = visit_For  # noqa: N815

    def visit_Concat(self, node):  # noqa: N802
        """Bounds the text that `~` makes."""
        return _call("joined", self.generic_visit(node).nodes)


def _call(name: str, arguments: list) -> nodes.Call:
    method = nodes.EnvironmentAttribute(name)
    return nodes.Call(method, arguments, [], None, None)


class _Generation(Extension):
    """`{% generation %}`, with which some templates mark answers."""

    tags = {"generation"}

    def parse(self, parser):
        """The block's content, in a scope of its own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def _raise_exception(message: str):
    raise jinja2.TemplateError(message)


def _to_json(
    x: Any, ensure_ascii=False, indent=None, separators=None, sort_keys=False
) -> str:
    # Jinja's own escapes HTML.
    return json.dumps(
        x,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _check_size(size: int) -> None:
    if size > MOST_CHARACTERS:
        raise InputError(
            f"The chat template makes a text of more than {MOST_CHARACTERS:,} "
            "characters. Pass another template, or shorter messages."
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
