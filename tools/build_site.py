"""Builds the documentation site, strictly, and checks that it needs no other host to be read."""

import os
import re
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
SITE = CHECKOUT / "build/site"
# What a browser fetches by itself. Links that a person follows may lead anywhere.
_FETCHED = re.compile(
    r"<(?:script|img|iframe|source)[^>]+src=[\"']?(?P<src>(?:https?:)?//[^\"'\s>]+)"
    r"|<link[^>]+href=[\"']?(?P<href>(?:https?:)?//[^\"'\s>]+)"
)


def main() -> None:
    """Build into build/site, and fail on a warning or on anything from another host."""
    # Without it the theme prints an advertisement for its successor on each build.
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    subprocess.run(command, cwd=CHECKOUT, env=environment, check=True)
    pages = sorted(SITE.rglob("*.html"))
    foreign = [
        f"{page.relative_to(SITE)}: {found.group(0)}"
        for page in pages
        for found in _FETCHED.finditer(page.read_text(encoding="utf-8"))
    ]
    if foreign:
        sys.exit("\n".join(["fetched from other hosts:", *foreign]))
    print(f"{len(pages)} pages in {SITE.relative_to(CHECKOUT)}")


if __name__ == "__main__":
    main()
