"""Find a Chromium for the browser tests, or install one: ``python tests/chromium.py --install``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """Return the path of a Chromium, or None.

    ``BREEZE_LAB_CHROMIUM`` names one; otherwise the usual names are looked up,
    then the one Playwright downloaded.
    """
    named = os.environ.get("BREEZE_LAB_CHROMIUM")
    if named:
        return named
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def install() -> None:
    """Install a Chromium: Debian's as root, Playwright's otherwise."""
    if os.getuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "chromium"], check=True)
    else:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)


if __name__ == "__main__":
    if find() is None and "--install" in sys.argv:
        install()
    print(f"Chromium: {find()}")
    sys.exit(0 if find() else 1)
