"""The relay's benchmark runs, measures what it says and loses nothing on the way."""

from __future__ import annotations

import json

import pytest

from benchmarks import relay


@pytest.fixture
def printed(capsys):
    """Return the figures printed so far, by name."""

    def read():
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {line["benchmark"] for line in lines} == {"relay"}
        return {line["figure"]: line for line in lines}

    return read


def test_every_side_of_the_flood_is_measured(printed, monkeypatch):
    """One short round of feed, SDK and bare loop gives every ratio, and no tick is lost."""
    monkeypatch.setattr(relay, "_CONSUMERS", 2)
    relay.callbacks(rounds=1, seconds=0.4)
    figures = printed()
    assert {name for name in figures if name.startswith("callback")} == {
        "callback_vs_sdk", "callback10_vs_sdk", "callback10_vs_sdk10", "callback10_total_vs_sdk",
        "callback_vs_bare_loop",
    }  # fmt: skip
    assert all(figures[name]["ratio"] > 0 for name in figures if name.startswith("callback"))
    assert [figures[f"cpu_us_per_tick_{n}"]["lost"] for n in (1, 10)] == [0, 0]


def test_decoding_and_bars_are_measured(printed):
    """A few repetitions give both ratios, far from level even on a busy machine."""
    relay.decoding(rounds=3, repeats=200)
    relay.bars(rounds=1)
    figures = printed()
    assert figures["decode_vs_sdk"]["ratio"] > 4
    assert figures["decode_uncompiled_vs_sdk"]["ratio"] > 4
    assert figures["bars_vs_pandas"]["ratio"] > 50


def test_lateness_and_growth_are_measured(printed, monkeypatch):
    """A short paced run tells how late callbacks were and what the relay used."""
    monkeypatch.setattr(relay, "_CONSUMERS", 2)
    relay.latency(seconds=0.5)
    figures = printed()
    assert 0 < figures["p99_ms"]["p50"] <= figures["p99_ms"]["ours"] <= figures["p99_ms"]["max"]
    assert figures["p99_ms"]["lost"] == 0
    assert 0 < figures["p99_ms"]["added"] <= figures["p99_ms"]["ours"]
    assert 0 < figures["p99_ms"]["server"] <= figures["p99_ms"]["max"]
    assert 0 <= figures["p99_ms"]["stolen_percent"] <= 100
    assert "cpu_percent_per_extra_consumer" in figures
