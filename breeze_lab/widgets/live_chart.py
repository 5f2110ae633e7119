"""The live chart: candles that go on moving while the kernel is busy.

Owns the widget: it hands the browser a Bokeh figure, the history and the name
of a subscription, and loads neither Bokeh nor pandas for it. From then on the
browser listens to the relay by itself, through the Jupyter server, so neither
a blocked kernel nor a restarted one stops the chart. Where there is no such
server, `breeze_lab.widgets.relay_comm` sends the same messages through the kernel.
"""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import anywidget
import numpy as np
import traitlets

from breeze_lab import chart_figures, chart_looks, clock
from breeze_lab.bars import Interval
from breeze_lab.historical import Series
from breeze_lab.indicators import catalogue
from breeze_lab.indicators.spec import parse_all
from breeze_lab.widgets import bundles
from breeze_lab.widgets.relay_comm import RelayComm

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pandas import DataFrame

    from breeze_lab.indicators import Spec
    from breeze_lab.indicators.desk import Desk

__all__ = ["Charted", "LiveChart"]

_FIELDS: Final = ("t", "open", "high", "low", "close", "volume")


class Charted(Protocol):
    """What a chart needs to know of an instrument."""

    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def symbol(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def exchange(self) -> str: ...  # noqa: D102
    @property
    def quote_room(self) -> str: ...  # noqa: D102
    @property
    def anchor_s(self) -> int: ...  # noqa: D102
    @property
    def tick_size(self) -> float: ...  # noqa: D102


class LiveChart(anywidget.AnyWidget):
    """Candles of one instrument, live; shown when it is the last line of a cell.

    Parameters
    ----------
    instrument
        What to draw and subscribe.
    interval
        Length of a candle.
    frame
        The history: open, high, low, close, volume; index: aware opening
        times, ascending. Its last bar may still form. A `Series` loads no pandas.
    practice
        Whether the prices are made up; says so on the chart.
    replay
        The recording that is replayed, ``"practice-2026-11-20.parquet"``, if one
        is: the chart names its day.
    fetched_s
        When the history was asked for, Unix seconds by the market's clock: what
        had ended by then is final. Now by default.
    theme
        ``"auto"`` follows JupyterLab.
    height
        Of both panes together, in pixels.
    visible
        Candles to see at first.
    indicators
        ``["ema(20)", "rsi"]`` or ``"ema(20), rsi"``; the browser's menu changes them, and the
        attribute of this name is what is chosen now.
    shown
        How many of the newest bars of `frame` can be seen; the older ones are there for the
        indicators only. All of them by default.

    Raises
    ------
    SettingsError
        An indicator cannot be read.

    Notes
    -----
    The page element carries ``data-key``, ``data-last-price``, ``data-state``
    (``live``, ``stale``, ``offline``, ``ended``) and ``data-repaints``, the number of
    times changed candles were painted.
    """

    _esm = bundles.script("chart")
    _css = bundles.styles("chart")

    config = traitlets.Unicode("{}").tag(sync=True)
    figure = traitlets.Unicode("{}").tag(sync=True)
    bars = traitlets.Bytes(b"").tag(sync=True)
    indicators = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(
        self,
        instrument: Charted,
        interval: Interval | str,
        frame: DataFrame | Series,
        *,
        practice: bool = False,
        replay: str = "",
        fetched_s: float | None = None,
        theme: Literal["auto", "light", "dark"] = "auto",
        height: int = 480,
        visible: int = chart_looks.VISIBLE,
        indicators: str | Iterable[str | Spec] = (),
        shown: int | None = None,
    ) -> None:
        """Prepare everything the browser needs; subscribe nothing yet."""
        self.instrument = instrument
        self.interval = Interval.parse(interval)
        self._history = frame
        self._market = "practice" if practice else "icici"
        self._fetched_s = clock.market_now().timestamp() if fetched_s is None else fetched_s
        self._replay = _day_of(replay)
        self._comm_feed: RelayComm | None = None
        self._comm_views = 0
        self._desk: Desk | None = None
        specs = parse_all(indicators)
        self._hidden = 0 if shown is None else max(len(frame) - shown, 0)
        traded = frame.traded if isinstance(frame, Series) else chart_looks.has_volume(frame)
        # As text, because BokehJS changes what it is given and a second view starts anew.
        super().__init__(
            config=json.dumps(self._config(practice, theme, height, visible)),
            figure=chart_figures.text(
                interval_s=self.interval.value, tick_size=instrument.tick_size, height=height,
                with_volume=traded,
            ),
            bars=_pack(frame, chart_looks.MAX_CANDLES + self._hidden),
            indicators=[str(spec) for spec in specs],
        )  # fmt: skip
        self.on_msg(self._on_request)

    def _config(self, practice: bool, theme: str, height: int, visible: int) -> dict[str, Any]:
        instrument = self.instrument
        # Of a contract its expiry and strike as well: two months of NIFTY must not look alike.
        title = instrument.key.partition(":")[2]
        return {
            "key": instrument.key, "room": instrument.quote_room, "anchor_s": instrument.anchor_s,
            "symbol": title, "name": instrument.name, "exchange": instrument.exchange,
            "interval": self.interval.label, "interval_s": self.interval.value,
            "decimals": chart_looks.decimals(instrument.tick_size), "practice": practice,
            "replay": self._replay, "market": self._market, "theme": theme, "height": height,
            "visible": visible, "margin": chart_looks.MARGIN,
            "most": chart_looks.MAX_CANDLES + self._hidden, "hidden": self._hidden,
            "pane_height": chart_looks.PANE_HEIGHT, "lines": chart_looks.COLOURS,
            "fetched_s": self._fetched_s, "bokeh": chart_figures.bokeh_version(),
            "palettes": {name: palette.to_dict() for name, palette in chart_looks.PALETTES.items()},
        }  # fmt: skip

    def __repr__(self) -> str:
        """Name the instrument, for front ends that show no widgets."""
        return f"LiveChart({self.instrument.key!r}, {self.interval.label!r})"

    @property
    def data(self) -> DataFrame:
        """The history and what the relay has built since, as one frame.

        Returns
        -------
        DataFrame
            open, high, low, close in rupees, volume in shares, and the columns of the
            indicators on the chart; index: opening times, Asia/Kolkata, ascending, unique. The
            last bar may still form.

        Raises
        ------
        FeedDisconnected, ProcessError
            When the relay cannot be reached.
        """
        from breeze_lab.widgets import live_data  # noqa: PLC0415 - connects to the relay

        bars = live_data.relay_bars(self.instrument, self.interval)
        history = self._history.frame if isinstance(self._history, Series) else self._history
        whole = live_data.merged(history, bars, self.interval, self._fetched_s)
        frame = whole.iloc[self._hidden :]
        if not self.indicators:
            return frame
        from breeze_lab.indicators.live import compute  # noqa: PLC0415 - loads TA-Lib

        return frame.join(compute(whole, self.indicators))

    @property
    def fetched(self) -> tuple[DataFrame, int, float]:
        """The history as it was fetched, how many of its bars are hidden, and when (Unix s)."""
        history = self._history.frame if isinstance(self._history, Series) else self._history
        return history, self._hidden, self._fetched_s

    def close(self) -> None:
        """Take the chart off the page and end its subscription."""
        self._stop_comm_feed()
        super().close()

    # --- requests of a browser that cannot reach the server extension ---------------------------

    def _on_request(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        match content.get("op"):
            case "feed":
                # Started anew for every view, because a new one needs a snapshot of its own.
                self._stop_comm_feed()
                self._comm_views += 1
                self._comm_feed = RelayComm(
                    self.instrument,
                    self.interval,
                    self._market,
                    self.send,
                    int(content.get("flush_ms", 100)),
                )
            case "unfeed":
                self._comm_views -= 1
                if self._comm_views <= 0:
                    self._stop_comm_feed()
            case "indicators":
                from breeze_lab.indicators.desk import Desk  # noqa: PLC0415 - loads TA-Lib

                self._desk = self._desk or Desk()
                self.send({"op": "indicators", "answer": self._desk.take(content["message"])})
            case "catalogue":
                told = [one.to_dict() for one in catalogue.listed().values()]
                self.send({"op": "catalogue", "indicators": told})
            case "bokeh":
                import bokeh  # noqa: PLC0415 - its scripts only

                path = Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js"
                self.send({"op": "bokeh"}, [path.read_bytes()])

    def _stop_comm_feed(self) -> None:
        feed, self._comm_feed = self._comm_feed, None
        if feed is not None:
            feed.close()


def _day_of(recording: str) -> str:
    """Return the day in a recording's name as people say it; its name when there is none."""
    found = re.search(r"\d{4}-\d{2}-\d{2}", recording)
    if found is None:
        return recording.partition(".")[0]
    return f"{date.fromisoformat(found[0]):%-d %b %Y}"


def _pack(frame: DataFrame | Series, limit: int = chart_looks.MAX_CANDLES) -> bytes:
    """Return time, open, high, low, close and volume as little-endian float64, column by column."""
    if isinstance(frame, Series):
        data = frame.columns(limit)
    else:
        data = chart_looks.columns(frame, limit=limit)
    return np.concatenate([data[name] for name in _FIELDS]).astype("<f8").tobytes()
