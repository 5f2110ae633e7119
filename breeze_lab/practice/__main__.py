"""``python -m breeze_lab.practice``."""

from __future__ import annotations

import sys

from breeze_lab.practice.server import main

if __name__ == "__main__":
    sys.exit(main())
