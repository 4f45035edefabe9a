"""How Sphinx builds the site: `scripts/docs` calls it."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
# Pages run this checkout, with the commands of this environment.
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

project = "keras_llm"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "terms",
]
# Single backticks of docstrings, which are Markdown's here.
default_role = "code"
autodoc_typehints = "none"
napoleon_custom_sections = [("Call arguments", "params_style")]
html_theme = "furo"
html_title = "keras_llm"
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
# Executed on the text and with the steps that `scripts/docs` names.
nb_execution_mode = os.environ.get("DOCS_EXECUTION", "force")
if nb_execution_mode == "off":  # no kernel says that `!` begins a command
    suppress_warnings = ["misc.highlighting_failure"]
nb_execution_cache_path = os.environ.get("DOCS_CACHE", "")
nb_execution_timeout = 3600
nb_execution_raise_on_error = True
# What C++ libraries say while they are imported, and progress bars.
nb_output_stderr = "remove"


def setup(app):
    from generate import generate

    app.connect("builder-inited", generate)
