"""Cells that run again for each tick or bar: ``%%on_tick`` and ``%%on_bar``.

A body runs on a thread of its own. The alternative, running it on the kernel's
main thread between two cells, would let a slow body block the kernel and a
long cell silence the body. ipykernel gives each thread its own parent message,
so what a body prints, displays and raises goes to the output area of its own
cell, never to the one that happens to run. What the body is given (``tick``,
``bar``, ``feed``) are parameters of a function and not variables of the
notebook, so that a running cell's ``tick`` is never changed under its feet;
what the body assigns are the notebook's variables, as in any cell.
"""
