"""Where the documentation lies, so that reports can lead to it: an address that a user, or the package, names."""

from __future__ import annotations

import os
import re
from importlib import metadata
from urllib.parse import urlsplit

from advlab.errors import InvalidValue
from advlab.validation import shown

VARIABLE = "ADVLAB_DOCS_URL"


def docs_address(given: str | None = None) -> str:
    """The folder of ``findings.html`` in the documentation, without a slash at its end; empty where none is known.

    ``given``, else ``ADVLAB_DOCS_URL``, else the URL "Documentation" of the installed package. Raises ``InvalidValue``
    for anything but ``http://``, ``https://`` and a path relative to the page that links to it.
    """
    address = next((text for text in (given, os.environ.get(VARIABLE)) if text is not None), None)
    if address is None:
        address = _of_package()
    scheme, host, path, query, fragment = _parts(address)
    is_web = scheme in ("http", "https") and host
    is_relative = not scheme and not host and not path.startswith("/")
    if not (is_web or is_relative) or query or fragment or not re.fullmatch(r"[^\s\\<>\"'`\x00-\x1f\x7f]*", address):
        raise InvalidValue(
            f"The address of the documentation must begin with http:// or https://, or be a path relative to the page, "
            f"such as ../site, without '?' and '#'. Got {shown(address)}. Set {VARIABLE}, or --docs-url."
        )
    return address.rstrip("/")


def _parts(address: str) -> tuple[str, str, str, str, str]:
    try:
        return tuple(urlsplit(address))  # type: ignore[return-value]
    except ValueError:  # such as an open bracket of an IPv6 address
        return "invalid", "", "", "", ""


def _of_package() -> str:
    try:
        links = metadata.metadata("advlab").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        return ""
    named = dict(link.partition(", ")[::2] for link in links)
    return str(named.get("Documentation", ""))
