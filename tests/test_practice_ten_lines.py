"""Ten lines of plain breeze-connect against `breeze-lab practice --json`."""

import json
import subprocess
import sys

#: Points the SDK at our addresses the only way it offers: its config module, before it is imported.
POINT = """
import importlib.util, json, sys
ready = json.loads(sys.argv[1])
place = importlib.util.find_spec("breeze_connect").submodule_search_locations[0] + "/config.py"
spec = importlib.util.spec_from_file_location("config", place)
config = sys.modules["config"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(config)
config.API_URL, config.BREEZE_NEW_URL = ready["api_url"], ready["v2_url"]
config.LIVE_STREAM_URL, config.LIVE_FEEDS_URL = ready["stream_url"], ready["feeds_url"]
config.LIVE_OHLC_STREAM_URL, config.SECURITY_MASTER_URL = ready["ohlc_url"], ready["master_url"]
"""

TEN_LINES = """
import time
from breeze_connect import BreezeConnect
breeze = BreezeConnect(api_key=ready["app_key"])
breeze.generate_session(api_secret=ready["secret"], session_token=ready["api_session"])
bars = breeze.get_historical_data_v2("1minute", FROM, TO, "RELIND", "NSE", "cash")
ticks = []
breeze.on_ticks = ticks.append
breeze.ws_connect()
said = breeze.subscribe_feeds(exchange_code="NSE", stock_code="RELIND", product_type="cash", get_market_depth=False, get_exchange_quotes=True)
while len(ticks) < 5: time.sleep(0.05)
"""

REPORT = """
print(json.dumps({"bars": bars, "said": said, "ticks": ticks[:5]}))
import os; sys.stdout.flush(); os._exit(0)
"""


def test_ten_lines_of_the_plain_sdk_log_in_read_history_and_stream(practice, tmp_path):
    """Login, 1-minute history with v2, `RELIND` by fields, ticks: nothing of ours in between."""
    times = '"2026-06-29T09:15:00.000Z"', '"2026-06-29T10:14:00.000Z"'
    lines = TEN_LINES.replace("FROM", times[0]).replace("TO,", times[1] + ",")
    assert len(lines.strip().splitlines()) == 10
    script = tmp_path / "ten_lines.py"
    script.write_text(POINT + lines + REPORT)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), json.dumps(practice)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    seen = json.loads(run.stdout.splitlines()[-1])
    assert seen["bars"]["Status"] == 200
    assert [row["datetime"][11:16] for row in seen["bars"]["Success"]] == [
        f"{minute // 60:02d}:{minute % 60:02d}" for minute in range(555, 615)
    ]
    assert seen["said"] == {"message": "Stock RELIND subscribed successfully"}
    for tick in seen["ticks"]:
        assert tick["symbol"] == "4.1!2885"
        assert tick["stock_name"] == "RELIANCE INDUSTRIES"
        assert tick["low"] <= tick["last"] <= tick["high"]
    quantities = [tick["ttq"] for tick in seen["ticks"]]
    assert len(set(quantities)) == len(quantities)
