"""A conversation in a terminal, or through a pipe."""

import sys
from collections.abc import Iterator
from contextlib import closing

from keras_llm.errors import InputError
from keras_llm.generation.conversation import Conversation

HELP = """\
/system TEXT   what the assistant is told before the conversation; the
               conversation starts anew. Without TEXT, nothing is told.
/reset         forget the conversation, not the system message
/help          this
/quit          end (Ctrl-D too); Ctrl-C ends an answer
A line that begins with a space is sent as it is, without the space."""


def talk(conversation: Conversation, is_silent: bool = False) -> None:
    """Answers each line of standard input on standard output.

    Only answers are written there. In a terminal all else goes to standard
    error, and what cannot be answered is said there.

    Args:
        conversation: What it adds to.
        is_silent: Whether answers are not written either.

    Raises:
        InputError: A line that cannot be answered, unless in a terminal.
    """
    in_terminal = sys.stdin.isatty()
    if in_terminal:
        _say("Type a message. /help lists commands, Ctrl-D ends.")
    for line in _lines(in_terminal):
        try:
            if line == "/quit":
                return
            if line.startswith("/"):
                _obey(line, conversation)
            elif line.strip():
                _answer(conversation, line.removeprefix(" "), is_silent)
        except InputError as error:
            if not in_terminal:
                raise
            _say(str(error))
        except KeyboardInterrupt:
            if not in_terminal:
                raise
            print(flush=True)


def _lines(in_terminal: bool) -> Iterator[str]:
    """Lines of standard input without their ends; Ctrl-C drops one."""
    while True:
        try:
            yield input("> ") if in_terminal else input()
        except EOFError:
            if in_terminal:
                print()
            return
        except UnicodeDecodeError as error:
            raise InputError(
                f"Standard input must be text in UTF-8: {error}"
            ) from error
        except KeyboardInterrupt:
            if not in_terminal:
                raise
            _say("\nCtrl-D ends the program.")


def _obey(line: str, conversation: Conversation) -> None:
    command, _, text = line.partition(" ")
    if command == "/help":
        _say(HELP)
    elif command == "/reset":
        conversation.turns.clear()
    elif command == "/system":
        conversation.turns.clear()
        conversation.system = text.strip() or None
    else:
        raise InputError(
            f"There is no command {command}; /help lists them. To send the "
            "line, begin it with a space."
        )


def _answer(conversation: Conversation, question: str, is_silent: bool) -> None:
    with closing(conversation.ask(question)) as pieces:
        for index, piece in enumerate(pieces):
            if index == 0 and conversation.forgotten:
                turns = conversation.forgotten
                _say(f"({turns} oldest turns no longer fit the context)")
            if not is_silent:
                print(piece, end="", flush=True)
    if not is_silent:
        print(flush=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
