"""The worker: desks of many charts in a process of their own.

``python -m breeze_lab.indicators.worker`` reads one JSON object a line from its
standard input and answers with one line each, in order. The Jupyter server
starts it for the first chart that has an indicator, because TA-Lib and
pandas-ta load pandas, which the server must not, and because a chart's
indicators must not wait for a kernel.

Besides a desk's messages it knows ``{"chart": id, "op": "forget"}``. It ends
with its standard input.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from breeze_lab.indicators.desk import Desk

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["serve"]


def serve(source: TextIO, out: TextIO) -> None:
    """Answer every line of `source` on `out` until it ends."""
    desks: dict[str, Desk] = {}
    for line in source:
        message = json.loads(line)
        chart = str(message.pop("chart", ""))
        answer: dict[str, Any]
        if message.get("op") == "forget":
            desks.pop(chart, None)
            answer = {"op": "forgotten"}
        else:
            answer = desks.setdefault(chart, Desk()).take(message)
        out.write(json.dumps({"chart": chart, **answer}) + "\n")
        out.flush()


def main() -> None:
    """Serve the standard input; what a library prints goes to the log instead."""
    out, sys.stdout = sys.stdout, sys.stderr
    serve(sys.stdin, out)


if __name__ == "__main__":
    main()
