"""Read frames cut, joined and spoiled at every byte; run under a sanitizer by test_reader.py.

Usage: python reader_child.py MODULE_FILE COUNT. Prints how many frames were plain.
"""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from importlib.machinery import ExtensionFileLoader

from test_ticks import BFO_DEPTH, BSE_DEPTH, NFO, NSE, NSE_DEPTH

from breeze_lab import frames

LAYOUTS = [
    (frames._Cash, None, NSE), (frames._Derivative, None, NFO),
    (frames._BookNse, frames._Row, NSE_DEPTH), (frames._BookBse, frames._RowBse, BSE_DEPTH),
    (frames._BookBfo, frames._RowBfo, BFO_DEPTH),
]  # fmt: skip
BYTES = b'[],"\\.-+0123456789eEnul \x00\x7f\x80\xff'


def main(path, count):
    spec = importlib.util.spec_from_file_location(
        "_reader", path, loader=ExtensionFileLoader("_reader", path)
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def other(_):
        return None

    chance, plain = random.Random(7), 0
    for made, row, frame in LAYOUTS:
        rows = module.Reader(row, frames._kinds(row), other) if row else None
        reader = module.Reader(made, frames._kinds(made), other, rows)
        raw = json.dumps(frame, separators=(",", ":")).encode()
        spoiled = [raw[:end] for end in range(len(raw) + 1)]
        for _ in range(count):
            one = bytearray(raw)
            for _ in range(chance.randint(1, 3)):
                at = chance.randrange(len(one))
                one[at : at + chance.randint(0, 2)] = chance.choices(BYTES, k=chance.randint(0, 3))
            spoiled.append(bytes(one))
        plain += sum(reader(one) is not None for one in [raw, *spoiled])
    print(plain)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
