"""The magic ``%breeze_history``: what is stored of past bars, and what more would cost."""

from __future__ import annotations

from IPython.core.magic import Magics, line_magic, magics_class

__all__ = ["HistoryMagics"]


@magics_class
class HistoryMagics(Magics):
    """The line magic over `breeze_lab.history_command`."""

    @line_magic
    def breeze_history(self, line: str) -> None:
        """Look after the bars on disk.

        ::

            %breeze_history                                         what is stored
            %breeze_history price RELIANCE 1m --from 2026-01-01     calls it would take now
            %breeze_history fetch RELIANCE 1m --from 2026-01-01     fetch what is missing
            %breeze_history verify                                  read every stored byte
            %breeze_history forget NSE:RELIANCE 1m

        ``fetch`` takes ``--to`` and, for a high price, ``--confirm``.
        """
        from breeze_lab import history_command  # noqa: PLC0415 - the extension must cost nothing

        history_command.follow(line, print)
