"""`make docs`: builds the documentation's site, and checks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scripts.docs import pages, site

FOLDER = pages.REPOSITORY / ".site"
TOOL = pages.REPOSITORY / ".venv-docs" / "bin" / "zensical"


def main(folder: Path = FOLDER) -> int:
    """Build the site into the folder `html` there. Returns 1 if something is wrong, after saying what."""
    wrong = pages.problems()
    if not wrong:
        pages.write(folder)
        done = subprocess.run([TOOL, "build", "--strict", "--config-file", folder / "zensical.toml"])
        wrong = site.problems(folder / "html") if done.returncode == 0 else ["The site was not built."]
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    if not wrong:
        html = folder / "html"
        print(f"The site is in {html}: open index.html there. The search needs a web server, such as")
        print(f"{sys.executable} -m http.server --bind 127.0.0.1 --directory {html}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
