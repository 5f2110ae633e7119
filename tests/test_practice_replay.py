"""A recorded day comes back through the broker's wire as it was, and every time alike."""

import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from time import process_time
from urllib.request import urlopen

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from test_practice_streams import Bare, breeze_of, hang_up, start, stop
from waiting import until

from breeze_lab import clock
from breeze_lab.bars import Interval
from breeze_lab.errors import RecordingError
from breeze_lab.practice.control import Control
from breeze_lab.practice.exchange import derivatives
from breeze_lab.practice.exchange.contracts import listing
from breeze_lab.practice.exchange.days import day_number, midnight
from breeze_lab.practice.exchange.history import series
from breeze_lab.practice.exchange.prices import Prices
from breeze_lab.practice.replay.recorder import BarRow, TickRow, record, write_bars, write_ticks
from breeze_lab.practice.replay.recording import read
from breeze_lab.practice.replay.recording_files import BAR_COLUMNS, TICK_COLUMNS
from breeze_lab.practice.replay.replay import ReplayPrices
from breeze_lab.practice.replay.replay_market import ReplayLive, ReplayMarket
from breeze_lab.practice.wire import frames
from breeze_lab.practice.wire.rows import quotes

DAY = date(2026, 11, 20)
NUMBER = day_number(DAY)
OPENED = midnight(NUMBER) + 33_300  # 09:15
EXPIRY = date(2026, 11, 23)
FUTURE = {"exchange": "NFO", "stock_code": "NIFTY", "expiry": EXPIRY}
COLUMNS = ("open", "high", "low", "close", "volume")


@pytest.fixture(scope="module")
def prices():
    """The invented market of seed 1 in true hours."""
    return Prices(1, None)


def at(seconds, ms=0):
    """Return Unix milliseconds so long after 09:15."""
    return (OPENED + seconds) * 1000 + ms


def stock_rows():
    """Trades and changed quotes of RELIND, with quotes, in ninety seconds."""
    rows, volume, price = [], 1_000, 14_000
    for i in range(120):
        price += (i * 7919) % 11 - 5
        quantity = 0 if i % 10 == 3 else 10 + i
        price = price if quantity else rows[-1][0]
        volume += quantity
        rows.append((price, quantity, volume))
    return [
        TickRow(
            at(i * 3 // 4, i * 750 % 1000), "NSE", "RELIND", last_price=price / 10,
            last_quantity=quantity, bid_price=(price - 2) / 10, bid_quantity=100 + i,
            ask_price=(price + 3) / 10, ask_quantity=200 + i, total_volume=volume,
            previous_close=1390.0,
        )
        for i, (price, quantity, volume) in enumerate(rows)
    ]  # fmt: skip


def future_rows():
    """A trade of the future every two seconds, with open interest and in its own lot of 50."""
    return [
        TickRow(
            at(2 * i, 5), **FUTURE, last_price=27_000 + (i * 31 % 7) / 5, last_quantity=50 * (1 + i % 3),
            open_interest=1_000_000 + 50 * i,
        )
        for i in range(45)
    ]  # fmt: skip


def index_bars():
    """Three minutes of the index."""
    closes = (26_950.0, 26_990.55, 26_940.05)
    return [
        BarRow(at(60 * i), "NSE", "NIFTY", open=26_960.0, high=27_001.5, low=26_900.05,
               close=close, volume=0, previous_close=26_800.0)
        for i, close in enumerate(closes)
    ]  # fmt: skip


def option_bars():
    """Seconds of an option, with open interest."""
    return [
        BarRow(at(s), **FUTURE, strike=26_600.0, right="CE", interval="1s", open=372.0 + s / 20,
               high=373.0 + s / 20, low=371.0, close=372.5, volume=65 * 4, open_interest=65 * (900 + s))
        for s in range(0, 130, 3)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recording of four instruments: two in ticks, two in bars, CSV and Parquet."""
    folder = tmp_path_factory.mktemp("recording")
    write_ticks(folder / "ticks-2026-11-20-NSE-RELIND.csv", stock_rows())
    write_ticks(folder / "ticks-2026-11-20-NFO-NIFTY-FUT.parquet", future_rows())
    write_bars(folder / "bars-2026-11-20-NSE-NIFTY.csv", index_bars())
    write_bars(folder / "bars-2026-11-20-NFO-NIFTY-CE.parquet", option_bars())
    return folder


ROOMS = ("NSE", "RELIND", None), ("NFO", "NIFTY", None), ("NFO", "NIFTY", 26_600.0)


class Heard:
    """One replay, heard to its end: the raw texts of both streams, the SDK's ticks, the history."""

    def __init__(self, folder, home):
        self.process, self.record = start(
            "--replay", str(folder), "--from", "09:07", "--speed", "60", "--only-recorded", "--paused",
            home=home,
        )  # fmt: skip
        market = ReplayMarket.of_file(folder, 1, only=True)
        self.contracts = [
            c for c in market.listing.contracts if c.key in market.prices.recording.contracts
        ]
        self.rooms = [f"{c.market}.1!{c.token}" for c in self.contracts]
        self.texts = {"stream_url": [], "ohlc_url": []}
        self.threads = [
            threading.Thread(target=self._listen, args=(address, path))
            for address, path in (("stream_url", "/socket.io/"), ("ohlc_url", "/ohlcvstream/"))
        ]
        for thread in self.threads:
            thread.start()
        try:
            self.breeze = breeze_of(self.record, home)
            self.breeze.ws_connect()
            for room in self.rooms:
                self.breeze.subscribe_feeds(stock_token=room)
            joined = dict.fromkeys(self.rooms, 2) | dict.fromkeys(
                (f"ohlc {r}" for r in self.rooms), 1
            )
            until(lambda: self.status_now()["rooms"] == joined, "everybody's rooms")
            Control.of(self.record).resume()
            until(lambda: self.now() > "09:18:10", "the end of the replay")
            for thread in self.threads:
                thread.join(30)
            self.history = [
                self.ask(version, contract, interval)
                for contract in self.contracts
                for version, interval in ((2, "1second"), (2, "1minute"), (2, "5minute"), (2, "1day"), (1, "1minute"))
            ]  # fmt: skip
            self.seen = list(self.breeze.seen)
            hang_up(self.breeze)
        finally:
            self.status = stop(self.process)

    def status_now(self):
        with urlopen(self.record["status_url"]) as answer:
            return json.loads(answer.read())

    def now(self):
        return self.status_now()["now"][11:19]

    def _listen(self, address, path):
        with Bare(self.record, address, path=path) as client:
            client.emit("join", self.rooms)
            while self.now() < "09:18:05":
                try:
                    while True:
                        self.texts[address].append(client.event(1))
                except TimeoutError:
                    pass

    def ask(self, version, contract, interval):
        fields = {
            "interval": interval, "stock_code": contract.code, "exchange_code": contract.exchange,
            "from_date": "2026-11-20T00:00:00.000Z", "to_date": "2026-11-20T23:59:59.000Z",
        }  # fmt: skip
        if contract.expiry is not None:
            fields |= {"product_type": "futures", "expiry_date": f"{contract.expiry}T06:00:00.000Z"}
        if contract.strike is not None:
            fields |= {
                "product_type": "options",
                "right": "call",
                "strike_price": f"{contract.strike:g}",
            }
        call = (
            self.breeze.get_historical_data_v2 if version == 2 else self.breeze.get_historical_data
        )
        return call(**fields)["Success"]

    def rows(self, code, strike=None, interval="1second", *, kind="stock"):
        """Return version 2 rows of the instrument with these fields."""
        places = {(c.code, c.kind): i for i, c in enumerate(self.contracts)}
        place = places[code, "option" if strike else kind]
        intervals = ("1second", "1minute", "5minute", "1day", "v1")
        return self.history[len(intervals) * place + intervals.index(interval)]


@pytest.fixture(scope="module")
def replays(folder, tmp_path_factory):
    """The same recording heard from two processes, at the same time."""
    found = [None, None]

    def hear(i):
        found[i] = Heard(folder, tmp_path_factory.mktemp(f"replay{i}"))

    threads = [threading.Thread(target=hear, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
    assert None not in found
    return found


def frames_of(heard, room):
    return [payload for event, payload in heard.texts["stream_url"] if payload[0] == room]


def test_recorded_ticks_are_the_frames_in_order(replays):
    """Price, quantity, volume, best bid and ask, and second of every row, as recorded."""
    heard = replays[0]
    snapshot, *frames = frames_of(heard, "4.1!2885")
    assert snapshot[19] < OPENED
    rows = stock_rows()
    traded = 0
    for frame, row in zip(frames, rows, strict=True):
        traded = row.last_quantity or traded
        assert frame[2] == row.last_price
        assert frame[6:10] == [row.bid_price, row.bid_quantity, row.ask_price, row.ask_quantity]
        assert (frame[10], frame[12], frame[19]) == (traded, row.total_volume, row.time // 1000)
        assert frame[20] == 1390
        assert frame[17] < frame[4] <= frame[2] <= frame[3] < frame[18]


def test_a_recorded_lot_may_be_another_than_today(replays):
    """The future's quantities and open interest are those of the recording, not of the listing."""
    heard = replays[0]
    (room,) = (f"4.1!{c.token}" for c in heard.contracts if c.kind == "future")
    _, *frames = frames_of(heard, room)
    volume = 0
    for frame, row in zip(frames, future_rows(), strict=True):
        volume += row.last_quantity
        assert frame[2] == row.last_price
        assert [frame[10], frame[12], frame[14]] == [row.last_quantity, row.open_interest, volume]


def test_the_sdk_hears_every_recorded_tick(replays):
    """The unmodified SDK gets each row once; it hands them over in threads, so sorted by volume."""
    heard = replays[0]
    ticks = [t for t in heard.seen if t.get("symbol") == "4.1!2885" and t["close"] == 1390]
    ticks.sort(key=lambda tick: (tick["ttq"], tick["bQty"]))
    assert {tick["stock_name"].split(maxsplit=1)[0] for tick in ticks} == {"RELIANCE"}
    assert [(t["last"], t["ttq"], t["bPrice"], t["sQty"]) for t in ticks] == [
        (r.last_price, r.total_volume, r.bid_price, r.ask_quantity) for r in stock_rows()
    ]


def bars_of(rows, seconds):
    """Return the bars of tick rows by opening time in market seconds: what a client would build."""
    found = {}
    for row in rows:
        if not row.last_quantity:
            continue
        start_s = row.time // 1000 // seconds * seconds
        price, volume = row.last_price, row.last_quantity
        if start_s not in found:
            found[start_s] = [price, price, price, price, volume]
        else:
            o, h, lo, _, v = found[start_s]
            found[start_s] = [o, max(h, price), min(lo, price), price, v + volume]
    return found


def known(rows):
    """Return history rows by opening time."""

    def epoch(text):
        return int(datetime.fromisoformat(text).replace(tzinfo=clock.IST).timestamp())

    return {epoch(row["datetime"]): [row[name] for name in COLUMNS] for row in rows}


@pytest.mark.parametrize(("interval", "seconds"), [("1second", 1), ("1minute", 60), ("1day", None)])
def test_history_of_ticks_is_what_they_add_up_to(replays, interval, seconds):
    """Seconds, minutes and the day of both tick recordings, built from the rows by hand."""
    heard = replays[0]
    for rows, kind, code in (
        (stock_rows(), "stock", "RELIND"), (future_rows(), "future", "NIFTY"),
    ):  # fmt: skip
        expected = bars_of(rows, seconds or 10**6)
        if seconds is None:
            expected = {midnight(NUMBER): bar for bar in expected.values()}
        assert known(heard.rows(code, interval=interval, kind=kind)) == expected


def test_history_of_bars_is_the_recording(replays):
    """Minutes of the index in both versions, seconds of the option, with its open interest."""
    heard = replays[0]
    minutes = heard.rows("NIFTY", interval="1minute", kind="index")
    assert [[row[n] for n in COLUMNS] for row in minutes] == [
        [r.open, r.high, r.low, r.close, 0] for r in index_bars()
    ]
    older = heard.rows("NIFTY", interval="v1", kind="index")
    assert [float(row["close"]) for row in older] == [r.close for r in index_bars()]
    seconds = heard.rows("NIFTY", 26_600.0)
    assert [[row[n] for n in (*COLUMNS, "open_interest")] for row in seconds] == [
        [r.open, r.high, r.low, r.close, r.volume, r.open_interest] for r in option_bars()
    ]


def test_candles_are_the_recorded_bars(replays):
    """Every second and minute candle of the stream is a row of the history, and none is missing."""
    heard = replays[0]
    for event, interval in (("1SEC", "1second"), ("1MIN", "1minute")):
        texts = [text.split(",") for name, text in heard.texts["ohlc_url"] if name == event]
        got = Counter()
        for text in texts:
            place = 2 if text[0] == "NSE" else -8
            interest = None if text[0] == "NSE" else float(text[-3])
            got[text[1], text[-2], *map(float, text[place : place + 4]), interest] += 1
        expected = Counter()
        for code, strike, kind in (
            ("RELIND", None, "stock"), ("NIFTY", None, "future"), ("NIFTY", 26_600.0, "option"),
            ("NIFTY", None, "index"),
        ):  # fmt: skip
            for row in heard.rows(code, strike, interval, kind=kind):
                order = [row[name] for name in ("low", "high", "open", "close")]
                expected[code, row["datetime"], *order, row.get("open_interest")] += 1
        assert got == expected


def test_two_replays_are_the_same_to_the_byte(replays):
    """Two processes, two clients: the same frames in the same order, and the same history."""
    first, second = replays
    assert len(first.texts["stream_url"]) > 1000
    assert first.texts == second.texts
    assert first.history == second.history
    assert (first.status, second.status) == (0, 0)


def test_depth_and_quotes_show_the_recorded_best_prices(folder):
    """In the middle of a replay both begin with the row of that moment."""
    market = ReplayMarket.of_file(folder, 1, start="09:15:30", speed=0.01)
    stock = market.listing.find("NSE", "RELIND")
    row = [row for row in stock_rows() if row.time <= at(30)][-1]
    (best, *deeper) = frames.depth(market.live(stock))[2]
    assert [best[0], best[1], best[4], best[5]] == [
        row.bid_price, row.bid_quantity, row.ask_price, row.ask_quantity
    ]  # fmt: skip
    assert all(level[0] < row.bid_price and level[4] > row.ask_price for level in deeper)
    quote = quotes(market, stock)[0]
    assert (quote["ltp"], quote["best_bid_price"]) == (row.last_price, row.bid_price)
    assert quote["total_quantity_traded"] == str(row.total_volume)
    assert quote["previous_close"] == 1390


def test_one_side_of_a_quote_is_enough(prices, tmp_path):
    """The silent side is invented beyond the recorded one; without both, the book is the market's."""
    path = tmp_path / "ticks.csv"
    good = {"time": at(0), "exchange": "NSE", "stock_code": "RELIND", "last_quantity": 5}
    for bid, ask in ((1390.0, None), (None, 1390.0), (1410.0, None), (None, 1410.0), (None, None)):
        write_ticks(path, [TickRow(**good, last_price=1400.0, bid_price=bid, ask_price=ask)])
        market = ReplayMarket.of_file(path, 1, start="09:16")
        book = market.live(market.listing.find("NSE", "RELIND")).book()
        assert book.bids[0][0] < book.asks[0][0]
        assert bid is None or book.bids[0][0] == bid * 10
        assert ask is None or book.asks[0][0] == ask * 10


def test_it_ends_with_a_closed_market(folder):
    """After the last row nothing is due, on the last day and later; nothing else is listed."""
    market = ReplayMarket.of_file(folder, 1, only=True)
    for contract in market.listing.contracts:
        assert market.prices.hours(contract, NUMBER + 3) is None
        live = market.prices.tick_days(contract) and ReplayLive(market.prices, contract, at(100))
        if live:
            assert live.prepare() is None
    assert market.listing.find("NSE", "TCS") is None
    whole = ReplayMarket.of_file(folder, 1)
    tcs = whole.listing.find("NSE", "TCS")
    assert whole.prices.hours(tcs, NUMBER) is not None
    assert whole.prices.hours(tcs, NUMBER + 3) is None


PRICE = st.integers(14_000, 14_040)


@st.composite
def bar(draw, start):
    """Return a stock's bar of few ticks and few shares: as tight as a true one can be."""
    o, c, x, y = (draw(PRICE) for _ in range(4))
    h, lo = max(o, c, x), min(o, c, y)
    beyond = (h > max(o, c)) + (lo < min(o, c))
    volume = draw(st.integers(1 + beyond + (o != c or beyond > 0), 40) | st.integers(5_000, 90_000))
    return (start, o / 10, h / 10, lo / 10, c / 10, volume)


@pytest.mark.parametrize("interval", ["1s", "1m", "5m", "30m", "1d"])
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_ticks_made_of_recorded_bars_rebuild_them(interval, data, tmp_path_factory, prices):
    """Trades, seconds and minutes add up to each recorded bar exactly, at every interval."""
    length = Interval.parse(interval).value
    starts = [midnight(NUMBER)] if interval == "1d" else [OPENED + length * i for i in range(4)]
    bars = [data.draw(bar(start)) for start in starts]
    path = tmp_path_factory.mktemp("bars") / "bars.csv"
    write_bars(
        path,
        [BarRow(start * 1000, "NSE", "RELIND", interval=interval, open=o, high=h, low=lo, close=c, volume=v)
         for start, o, h, lo, c, v in bars],
    )  # fmt: skip
    replayed = ReplayPrices(1, read(path, prices))
    stock = replayed.recording.contracts["NSE:RELIND"]
    minutes = replayed.minutes(stock, NUMBER)
    opening = midnight(NUMBER) + 60 * replayed.hours(stock, NUMBER)[0]
    made = {}
    for minute in np.flatnonzero(minutes.volume).tolist():
        trades = replayed.trades(stock, NUMBER, minute)
        for time_ms, price, volume in zip(trades.time_ms, trades.price, trades.volume, strict=True):
            second = opening + 60 * minute + int(time_ms) // 1000
            start = starts[0] if interval == "1d" else second - (second - OPENED) % length
            made.setdefault(start, []).append((int(price), int(volume)))
    rebuilt = [
        (
            start, way[0][0] / 10, max(way)[0] / 10, min(way)[0] / 10, way[-1][0] / 10,
            sum(volume for _, volume in way),
        )
        for start, way in made.items()
    ]  # fmt: skip
    assert rebuilt == bars
    found = series(replayed, stock, Interval.parse(interval), (0, 2**32), 2**32 * 1000)
    today = found.take(found.start >= midnight(NUMBER))
    columns = (today.bars.open, today.bars.high, today.bars.low, today.bars.close)
    answered = zip(today.start.tolist(), *((x / 10).tolist() for x in columns),
                   today.bars.volume.tolist(), strict=True)  # fmt: skip
    assert list(answered) == bars


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_recorded_practice_day_replays_as_the_practice_day(prices, tmp_path, suffix):
    """Trades, bars, open interest and circuit limits of four kinds of instrument come back."""
    listed = listing(prices, DAY)
    chain = [c for c in listed.contracts if c.exchange == "NFO" and c.code == "NIFTY"]
    contracts = [
        listed.find("NSE", "RELIND"), listed.find("NSE", "NIFTY"),
        next(c for c in chain if c.kind == "future"), [c for c in chain if c.kind == "option"][61],
        next(c for c in listed.contracts if c.exchange == "MCX" and c.kind == "future"),
    ]  # fmt: skip
    path = tmp_path / f"ticks.{suffix}"
    count = record(prices, contracts, DAY, time(9, 15), time(9, 18), path=path)
    replayed = ReplayPrices(1, read(path, prices))
    again = 0
    for contract in contracts:
        first = replayed.hours(contract, NUMBER)[0]
        for minute in range(555 - first, 558 - first):
            was, now = (x.trades(contract, NUMBER, minute) for x in (prices, replayed))
            assert was.time_ms.tolist() == now.time_ms.tolist()
            assert was.price.tolist() == now.price.tolist()
            again += len(now.price)
            if contract.kind == "index":
                continue
            assert was.volume.tolist() == now.volume.tolist()
            was, now = (x.minutes(contract, NUMBER).take(minute) for x in (prices, replayed))
            assert was == now
            was, now = (x.minute_seconds(contract, NUMBER, minute) for x in (prices, replayed))
            traded = np.flatnonzero(was.volume)
            for name in COLUMNS:
                assert getattr(was, name)[traded].tolist() == getattr(now, name)[traded].tolist()
            if contract.expiry:
                was, now = (
                    derivatives.open_interest(x, contract, NUMBER)[minute]
                    for x in (prices, replayed)
                )
                assert was == now
        assert replayed.circuit(contract, NUMBER) == prices.circuit(contract, NUMBER)
        assert replayed.previous_close(contract, NUMBER) == prices.previous_close(contract, NUMBER)
    assert again == count > 1000


def test_the_past_leads_to_the_recorded_previous_close(prices, tmp_path):
    """Told its level, the invented history, the limits and the options around it move there."""
    path = tmp_path / "bars.csv"
    write_bars(path, [
        BarRow(at(0), "NSE", "NIFTY", open=18_500.0, high=18_520.0, low=18_490.0, close=18_510.0,
               volume=0, previous_close=18_450.0)
    ])  # fmt: skip
    market = ReplayMarket.of_file(path, 1)
    index = market.listing.find("NSE", "NIFTY")
    before = series(market.prices, index, Interval.D1, (OPENED - 10 * 86_400, OPENED), at(30))
    assert before.bars.close[-2] == 18_450 * 20
    low, high = market.prices.circuit(index, NUMBER)
    assert low < 18_490 * 20
    assert 18_520 * 20 < high < 22_000 * 20
    strikes = {c.strike for c in market.listing.contracts if c.code == "NIFTY" and c.strike}
    assert 18_500.0 in strikes
    future = next(c for c in market.listing.contracts if c.code == "NIFTY" and c.kind == "future")
    near = market.prices.minutes(future, NUMBER).close[0] * future.tick / 10_000
    assert abs(near / 18_510 - 1) < 0.01


def test_contracts_the_market_does_not_list_are_listed_when_recorded(prices, tmp_path):
    """An old Thursday expiry and an odd strike get a token and can be asked for."""
    path = tmp_path / "bars.csv"
    day = date(2024, 3, 14)
    opened = int(datetime.combine(day, time(9, 15), clock.IST).timestamp()) * 1000
    write_bars(path, [
        BarRow(opened, "NFO", "NIFTY", expiry=date(2024, 3, 28), strike=22_075.0, right="PE",
               open=100.0, high=101.0, low=99.0, close=100.5, volume=600, open_interest=50_000)
    ])  # fmt: skip
    market = ReplayMarket.of_file(path, 1, only=True)
    found = market.listing.find("NFO", "NIFTY", date(2024, 3, 28), 22_075.0, "PE")
    assert market.room("4", found.token) == found
    assert found.unit == 1  # 600 is no multiple of today's lot
    live = market.live(found)
    assert live.prepare() is not None


def test_several_days_follow_one_another(prices, tmp_path):
    """The second day's previous close is the first one's last price, and the day bars are there."""
    for number, price in ((0, 1400.0), (3, 1420.0)):
        row = TickRow(at(number * 86_400), "NSE", "RELIND", last_price=price, last_quantity=5)
        write_ticks(tmp_path / f"ticks-{number}.csv", [row])
    replayed = ReplayPrices(1, read(tmp_path, prices))
    stock = replayed.recording.contracts["NSE:RELIND"]
    assert replayed.recording.days == [NUMBER, NUMBER + 3]
    assert replayed.previous_close(stock, NUMBER + 3) == 14_000
    assert replayed.hours(stock, NUMBER + 1) is None
    days = series(replayed, stock, Interval.D1, (OPENED, OPENED + 3 * 86_400), at(4 * 86_400))
    assert days.bars.close.tolist() == [14_000, 14_200]


TICKS = "time,exchange,stock_code,expiry,strike,right,last_price,last_quantity,bid_price,ask_price,total_volume\n"
BARS = "time,exchange,stock_code,interval,open,high,low,close,volume\n"
GOOD_TICK = "2026-11-20T09:15:00,NSE,RELIND,,,,1400.1,5,,,\n"
GOOD_BAR = "2026-11-20T09:15:00,NSE,RELIND,1m,1400,1401,1399,1400,90\n"
BAD = {
    "an unknown name": (TICKS + GOOD_TICK.replace("RELIND", "RELIANC"), r"row 2, column stock_code: 'RELIANC'. NSE lists no such name. Nearest: RELIND \(RELIANCE\)"),
    "an unknown exchange": (TICKS + GOOD_TICK.replace("NSE", "NYSE"), r"row 2, column exchange: 'NYSE'. Use one of NSE"),
    "an option without a strike": (TICKS + "2026-11-20T09:15:00,NFO,NIFTY,2026-11-24,,CE,10,65,,,\n", "row 2, column strike"),
    "an expired contract": (TICKS + "2026-11-20T09:15:00,NFO,NIFTY,2026-11-17,,,10,65,,,\n", "row 2, column expiry: '2026-11-17'. It expired before"),
    "an odd right": (TICKS + "2026-11-20T09:15:00,NFO,NIFTY,2026-11-24,25000,X,10,65,,,\n", "row 2, column right: 'X'. Write CE or PE"),
    "unsorted ticks": (TICKS + GOOD_TICK.replace("15:00", "15:01") + GOOD_TICK, "row 3, column time: '2026-11-20T09:15:00.000'. It is earlier than the row before"),
    "a repeated tick": (TICKS + GOOD_TICK * 2, "row 3, column time.*The same row stands at 2"),
    "a repeated bar": (BARS + GOOD_BAR * 2, "row 3, column time.*Row 2 has the same bar"),
    "a negative price": (TICKS + GOOD_TICK.replace("1400.1", "-1"), "row 2, column last_price: -1.0. A price is above 0"),
    "a negative quantity": (TICKS + GOOD_TICK.replace(",5,", ",-5,"), "row 2, column last_quantity: -5.0. A quantity is not negative"),
    "half a share": (TICKS + GOOD_TICK.replace(",5,", ",0.5,"), "row 2, column last_quantity: 0.5. Write a whole number"),
    "a price off the tick": (TICKS + GOOD_TICK + GOOD_TICK.replace("1400.1", "1400.13"), r"row 3, column last_price: 1400.13. It is off the tick: its prices are whole multiples of 0.1\."),
    "NaN": (TICKS + GOOD_TICK.replace("1400.1", "nan"), "row 2, column last_price: nan. Write a finite number"),
    "infinity": (TICKS + GOOD_TICK.replace("1400.1", "inf"), "row 2, column last_price: inf"),
    "a word for a number": (TICKS + GOOD_TICK.replace("1400.1", "cheap"), "row 2, column last_price: 'cheap'. Write a plain number"),
    "no price": (TICKS + GOOD_TICK.replace("1400.1", ""), "row 2, column last_price: ''. Every row needs it"),
    "a crossed quote": (TICKS + GOOD_TICK.replace(",,,\n", ",,,\n").replace("5,,,", "5,1400.3,1400.2,"), "row 2, column bid_price: 1400.3. The best bid lies above"),
    "a falling volume": (TICKS + GOOD_TICK.replace("5,,,", "5,,,100") + GOOD_TICK.replace("15:00", "15:01").replace("5,,,", "5,,,99"), "row 3, column total_volume: 99. The day's volume cannot fall"),
    "UTC": (TICKS + GOOD_TICK.replace("15:00", "15:00Z"), "row 2, column time: '2026-11-20T09:15:00Z'. The zone Z is not India's"),
    "another zone": (TICKS + GOOD_TICK + GOOD_TICK.replace("15:00", "15:01+01:00"), r"row 3, column time.*zone \+01:00 is not India's"),
    "seconds for milliseconds": (TICKS + GOOD_TICK.replace("2026-11-20T09:15:00", "1795146300"), "row 2, column time: '1795146300'. Times lie between.*milliseconds"),
    "an impossible date": (TICKS + GOOD_TICK.replace("11-20", "11-31"), "row 2, column time: '2026-11-31T09:15:00'. Write Indian time"),
    "a bar between two": (BARS + GOOD_BAR.replace("15:00", "15:30"), "row 2, column time.*A 1m bar carries the time at which it opens"),
    "an unknown interval": (BARS + GOOD_BAR.replace("1m", "7m"), "row 2, column interval: '7m'. Use one of 1s, 1m, 5m, 30m, 1d"),
    "a high below": (BARS + GOOD_BAR.replace("1401", "1399.5"), "row 2, column high: 1399.5"),
    "an empty bar": (BARS + GOOD_BAR.replace(",90", ",0"), "row 2, column volume: 0.0. Nothing traded"),
    "more prices than shares": (BARS + GOOD_BAR.replace(",90", ",3"), "row 2, column volume: 3. It is too little for the bar's 4 different trades"),
    "two intervals": (BARS + GOOD_BAR + GOOD_BAR.replace("15:00", "20:00").replace("1m", "5m"), "row 3, column time.*one kind of rows a day"),
    "mixed kinds": (TICKS.replace("\n", ",open,close\n") + GOOD_TICK.replace("\n", ",1,1\n"), "mixes ticks .* and bars"),
    "a missing column": (TICKS.replace("last_price", "price"), "lacks last_price; price is not of the layout; the columns are time, exchange"),
    "nothing": ("", "is empty"),
    "only a header": (TICKS, "has no rows"),
    "another version": ("# breeze-lab ticks 2\n" + TICKS + GOOD_TICK, "has layout version 2; this Breeze Lab reads 1"),
    "a cut line": (TICKS + GOOD_TICK + GOOD_TICK[:30], "row 3: 3 cells where the header has 11. Is it cut off"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_file_says_where_and_what_to_do(fault, prices, tmp_path):
    """Each fault is one error with the file, the row, the column, the value and the next step."""
    text, said = BAD[fault]
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(RecordingError, match=said) as caught:
        read(path, prices)
    assert "bad.csv" in str(caught.value)


def test_the_good_rows_of_the_bad_files_are_good(prices, tmp_path):
    """The control of the test above: without their faults the rows are read."""
    for name, text in (("t.csv", TICKS + GOOD_TICK), ("b.csv", BARS + GOOD_BAR + "\n\n")):
        (tmp_path / name).write_text(text)
        assert read(tmp_path / name, prices).days == [NUMBER]
    with pytest.raises(RecordingError, match=r"t\.csv.*b\.csv|b\.csv.*t\.csv|one kind of rows"):
        read(tmp_path, prices)


def test_quoted_cells_and_other_line_ends_are_csv_too(prices, tmp_path):
    """What a spreadsheet writes is read like what we write; a torn quoted row is still found."""
    path = tmp_path / "ticks.csv"
    quoted = GOOD_TICK.replace("RELIND", '"RELIND"')
    path.write_text((TICKS + quoted + quoted.replace("15:00", "15:01")).replace("\n", "\r\n"))
    assert len(read(path, prices).ticks["NSE:RELIND", NUMBER].price) == 2
    path.write_text(TICKS + quoted + GOOD_TICK[:40] + "\n")
    with pytest.raises(RecordingError, match="row 3: "):
        read(path, prices)


def test_a_hundred_thousand_ticks_load_soon(prices, tmp_path):
    """More rows than one chunk: row numbers go on, and a million would take some seconds."""
    path = tmp_path / "ticks.csv"
    lines = [
        f"{at(i // 10, i % 10 * 100)},NSE,RELIND,,,,1400.{i % 10},{1 + i},,,\n"
        for i in range(100_000)
    ]
    path.write_text(TICKS + "".join(lines))
    began = process_time()
    assert len(read(path, prices).ticks["NSE:RELIND", NUMBER].price) == 100_000
    assert process_time() - began < 5
    lines[90_000] = lines[90_000].replace("1400.0", "1400.05")
    path.write_text(TICKS + "".join(lines))
    with pytest.raises(RecordingError, match=r"row 90002, column last_price: 1400\.05"):
        read(path, prices)


def test_two_equal_trades_in_one_instant_differ_by_their_totals(prices, tmp_path):
    """A feed that stamps whole seconds may send the same price and quantity twice."""
    path = tmp_path / "ticks.csv"
    path.write_text(TICKS + "".join(GOOD_TICK.replace("5,,,", f"5,,,{n}") for n in (105, 110)))
    ticks = read(path, prices).ticks["NSE:RELIND", NUMBER]
    assert ticks.traded.tolist() == [5, 5]


@pytest.mark.parametrize("name", ["epoch", "offset", "symbol", "token", "space"])
def test_other_spellings_mean_the_same(name, prices, tmp_path):
    """Milliseconds, +05:30, the exchange's symbol, the token and a blank for the T."""
    changes = {
        "epoch": ("2026-11-20T09:15:00", str(at(0))), "offset": ("15:00", "15:00+05:30"),
        "symbol": ("RELIND", "reliance"), "token": ("RELIND", "2885"), "space": ("T09", " 09"),
    }  # fmt: skip
    path = tmp_path / "ticks.csv"
    header = TICKS.replace("stock_code", name) if name in ("symbol", "token") else TICKS
    path.write_text(header + GOOD_TICK.replace(*changes[name]))
    found = read(path, prices)
    assert found.ticks["NSE:RELIND", NUMBER].time_ms.tolist() == [at(0)]


def test_parquet_faults_are_said_too(prices, tmp_path, folder):
    """A cut file, another zone, a NaN, text for numbers and a folder without recordings."""
    path = tmp_path / "cut.parquet"
    whole = (folder / "ticks-2026-11-20-NFO-NIFTY-FUT.parquet").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordingError, match="not whole Parquet"):
        read(path, prices)
    moment = datetime(2026, 11, 20, 3, 45, tzinfo=UTC)
    here = pa.array([moment], pa.timestamp("ms", "Asia/Kolkata"))
    good = {"time": here, "exchange": ["NSE"], "stock_code": ["RELIND"], "last_price": [1400.1],
            "last_quantity": [5]}  # fmt: skip
    for change, said in (
        ({"time": pa.array([moment], pa.timestamp("ms", "UTC"))}, "row 1, column time.*Asia/Kolkata"),
        ({"last_price": [float("nan")]}, "row 1, column last_price: nan"),
        ({"last_price": ["1400.1"]}, "row 1, column last_price: '1400.1'. Store the column as numbers"),
        ({"time": pa.array([None], pa.timestamp("ms"))}, "row 1, column time: None"),
    ):  # fmt: skip
        parquet.write_table(pa.table(good | change), path)
        with pytest.raises(RecordingError, match=said):
            read(path, prices)
    parquet.write_table(pa.table(good), path)
    assert read(path, prices).ticks["NSE:RELIND", NUMBER].time_ms.tolist() == [at(0)]
    wall = pa.array([datetime(2026, 11, 20, 9, 15)], pa.timestamp("us"))  # noqa: DTZ001
    parquet.write_table(pa.table(good | {"time": wall}), path)
    assert read(path, prices).ticks["NSE:RELIND", NUMBER].time_ms.tolist() == [at(0)]
    (tmp_path / "none").mkdir()
    for nothing in (tmp_path / "none", tmp_path / "missing.csv", folder.parent / "x.txt"):
        with pytest.raises(
            RecordingError, match=r"Name a recording\.|Name a recording or a folder"
        ):
            read(nothing, prices)


def test_a_bad_recording_ends_the_command_with_one_line(tmp_path):
    """No market is started, nothing is on the ready line, and the reason is no traceback."""
    path = tmp_path / "bad.csv"
    path.write_text(TICKS + GOOD_TICK.replace("1400.1", "1400.13"))
    for options, said in (
        (("--replay", str(path)), "off the tick"),
        (("--replay", str(path), "--speed", "9999"), "--speed must"),
        (("--from", "09:15"), "belong to --replay"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "breeze_lab.practice", "--json", *options],
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert done.returncode != 0
        assert done.stdout == ""
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    """What fails while it is written leaves nothing behind."""
    for suffix in ("csv", "parquet"):
        path = tmp_path / f"ticks.{suffix}"
        rows = [*stock_rows()[:3], TickRow(datetime(2026, 11, 20, 9, 15), "NSE", "RELIND")]  # noqa: DTZ001
        with pytest.raises(RecordingError, match="has no zone"):
            write_ticks(path, rows)
    assert list(tmp_path.iterdir()) == []


def test_the_examples_of_the_document_can_be_replayed(prices, tmp_path):
    """Both CSV blocks of docs/replay.md are recordings, and its columns are the layout's."""
    text = (Path(__file__).parent.parent / "docs" / "replay.md").read_text()
    blocks = [block.partition("```")[0] for block in text.split("```csv\n")[1:]]
    assert len(blocks) == 2
    for block, columns in zip(blocks, (TICK_COLUMNS, BAR_COLUMNS), strict=True):
        path = tmp_path / "example.csv"
        path.write_text(block)
        assert read(path, prices).days == [NUMBER]
        header = block.splitlines()[1].split(",")
        assert set(columns) - set(header) == {"symbol", "token"}
        assert all(f"`{name}`" in text for name in columns)


def test_a_planted_fault_is_seen(folder, tmp_path, prices):
    """One price moved by one tick in a copy of the recording makes another replay."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    rows = stock_rows()
    rows[50] = replace(rows[50], last_price=round(rows[50].last_price + 0.1, 1))
    write_ticks(copy / "ticks-2026-11-20-NSE-RELIND.csv", rows)
    was, now = (ReplayPrices(1, read(x, prices)) for x in (folder, copy))
    stock = was.recording.contracts["NSE:RELIND"]
    same = [
        (was.trades(stock, NUMBER, m).price == now.trades(stock, NUMBER, m).price).all() for m in range(2)
    ]  # fmt: skip
    assert not all(same)
