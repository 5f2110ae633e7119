"""`make docs` builds every page, checks every link, and what it builds needs nobody else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from doc_blocks import ROOT

#: What a browser fetches by itself; a link that a person clicks is another thing.
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


def build(root, target):
    """Run the command of `make docs` without a way out of this machine; return it when it is done."""
    nowhere = "http://127.0.0.1:9"
    environment = {**os.environ, "http_proxy": nowhere, "https_proxy": nowhere, "no_proxy": ""}
    return subprocess.run(
        [sys.executable, "-m", "properdocs", "build", "--strict", "--site-dir", str(target)],
        cwd=root, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    done = build(ROOT, target)
    assert done.returncode == 0, done.stderr
    return target


class Fetched(HTMLParser):
    """Collects what a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        address = dict(attrs).get(FETCHED.get(tag, ""))
        if address and dict(attrs).get("rel") != "canonical":
            self.addresses.append(address)


def test_every_page_is_built(site):
    """Each Markdown page has its HTML, and the four journeys are in the menu."""
    for page in (ROOT / "docs").rglob("*.md"):
        built = site / page.relative_to(ROOT / "docs").with_suffix(".html")
        text = built.read_text()
        assert "```" not in text, f"{page}: a block was not read as one"
        assert 'href="' in text
    start = (site / "index.html").read_text()
    for person in ("student", "quant", "analyst", "desk-lead"):
        assert f'href="journeys/{person}.html"' in start


def test_nothing_is_fetched_from_elsewhere(site):
    """No page and no style sheet makes a browser ask another server, and what it asks is there."""
    for page in site.rglob("*.html"):
        reader = Fetched()
        reader.feed(page.read_text())
        assert reader.addresses
        for address in reader.addresses:
            assert not re.match(r"(https?:)?//", address), f"{page.name}: {address}"
            if page.name != "404.html":  # it is served below any address, so its own begin with /
                assert (page.parent / address.partition("?")[0]).exists(), f"{page.name}: {address}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", sheet.read_text()), sheet


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[here](nowhere.md)", "nowhere.md"),
        ("[here](history.md#nothing-like-it)", "nothing-like-it"),
        ("![a picture](missing.png)", "missing.png"),
    ],
)
def test_a_broken_link_ends_the_build(tmp_path, line, said):
    """Planted faults: a page, a heading and a picture that are not there."""
    shutil.copy(ROOT / "properdocs.yml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    page = tmp_path / "docs" / "names.md"
    page.write_text(f"{page.read_text()}\n{line}\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert said in done.stderr
