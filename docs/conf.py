"""How the documentation is built: `make docs`."""

from __future__ import annotations

from importlib.util import find_spec

import ztsession

project = "ztsession"
author = "the ztsession authors"
copyright = "the ztsession authors, Apache License 2.0"
version = release = ztsession.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"ztsession {release}"
exclude_patterns = ["_build"]

# Pages link to each other and to their sections; a link that leads nowhere is an error.
myst_heading_anchors = 3
nitpicky = False

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
# Transports and agents need libraries that the documentation does not.
autodoc_mock_imports = [name for name in ("httpx", "spiffe", "OpenSSL") if find_spec(name) is None]
