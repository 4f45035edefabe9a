"""How Sphinx builds the site: `scripts/docs` calls it."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
# Pages run this checkout, with the commands of this environment.
sys.path.insert(0, str(HERE.parent))
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

project = "keras_llm"
extensions = ["myst_nb", "sphinx_copybutton"]
html_theme = "furo"
html_title = "keras_llm"
exclude_patterns = ["exercises"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
# Executed on the text and with the steps that `scripts/docs` names.
nb_execution_mode = os.environ.get("DOCS_EXECUTION", "force")
if nb_execution_mode == "off":  # no kernel says that `!` begins a command
    suppress_warnings = ["misc.highlighting_failure"]
nb_execution_cache_path = os.environ.get("DOCS_CACHE", "")
nb_execution_timeout = 3600
nb_execution_raise_on_error = True
# What C++ libraries say while they are imported, and progress bars.
nb_output_stderr = "remove"
