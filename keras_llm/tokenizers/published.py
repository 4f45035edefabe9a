"""What tokenizers keep of the Hugging Face folder that they were read from."""

from typing import Any

from keras_llm.tokenizers.hugging_face_settings import (
    CONFIG,
    TEMPLATE,
    FolderSettings,
)


class Published:
    """What a tokenizer knows of roles and conversations.

    A part of tokenizer classes, which have `token_to_id` and say in
    `_own_names` which tokens have a role where no folder does.
    """

    _published: dict[str, Any]

    @property
    def published(self) -> dict[str, Any]:
        """The folder's settings by the names of their files; see
        `FolderSettings.published`. Empty for tokenizers made here.
        """
        return dict(self._published)

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that turns conversations into text, if there is
        one; of several the one called `default`.

        It is given `messages`, `add_generation_prompt` and `named_tokens`.
        """
        return FolderSettings(self._published).chat_template

    @chat_template.setter
    def chat_template(self, source: str) -> None:
        self._published = self._published | {TEMPLATE: source}

    @property
    def space_after_control(self) -> bool:
        """Whether a space that is put before texts also follows each control
        token of a conversation.
        """
        return FolderSettings(self._published).space_after_control

    @property
    def named_tokens(self) -> dict[str, str]:
        """The tokens of a role: `bos_token`, `eos_token`, `pad_token` and
        `unk_token`, those that there are. `token_to_id` has their ids.
        """
        if CONFIG not in self._published:
            return self._own_names()
        return FolderSettings(self._published).named_tokens(self.token_to_id)

    def _own_names(self) -> dict[str, str]:
        raise NotImplementedError
