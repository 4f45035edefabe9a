"""Links words that a page explains, in italics, to the glossary."""

import functools
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.transforms import SphinxTransform


class LinkTerms(SphinxTransform):
    """What is in italics and in the glossary becomes a link to it."""

    default_priority = 500

    def apply(self, **kwargs) -> None:
        known = terms(Path(self.env.srcdir) / "glossary.md")
        for word in list(self.document.findall(nodes.emphasis)):
            name = word.astext().lower()
            term = name if name in known else name.removesuffix("s")
            if term not in known or self.env.docname == "glossary":
                continue
            link = pending_xref(
                "",
                word.deepcopy(),
                refdomain="std",
                reftype="term",
                reftarget=term,
                refdoc=self.env.docname,
                refwarn=True,
            )
            word.replace_self(link)


@functools.cache
def terms(glossary: Path) -> frozenset[str]:
    """The words of a glossary, in small letters."""
    text = glossary.read_text(encoding="utf-8")
    entries = text.partition("```{glossary}")[2].splitlines()[1:]
    return frozenset(
        line.lower()
        for line in entries
        if line and not line.startswith((" ", "```"))
    )


def setup(app):
    app.add_transform(LinkTerms)
