"""The account's endpoints, asked by hand: what the SDK never sends must get an answer too."""

import hashlib
import itertools
import json
from datetime import UTC, datetime

import pytest
from conformance_schema import ANSWERS, complaints
from test_practice_rest import ask, token
from waiting import until

from breeze_lab.practice.wire.rows import day as day_of

__all__ = ["token"]

ITC = {
    "stock_code": "ITC", "exchange_code": "NSE", "product": "cash", "action": "buy",
    "order_type": "limit", "quantity": "3", "validity": "day", "settlement_id": "",
    "order_segment_code": "", "lots": "", "user_remark": "mine",
}  # fmt: skip
ODD = [
    None,
    "",
    " ",
    "x",
    "nan",
    "-1",
    "1e999",
    "²",
    0,
    -1,
    1.5,
    True,
    [],
    {},
    ["x"],
    {"a": 1},
    "9" * 40,
]
FAILED = "its log says why"


@pytest.fixture(scope="module")
def v1(practice, token):
    """Ask a signed version 1 call; returns (HTTP status, JSON)."""

    def call(method, path, fields):
        body = json.dumps(fields, separators=(",", ":")).encode()
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        digest = hashlib.sha256(stamp.encode() + body + practice["secret"].encode()).hexdigest()
        headers = {
            "Content-Type": "application/json", "X-Checksum": f"token {digest}",
            "X-Timestamp": stamp, "X-AppKey": practice["app_key"], "X-SessionToken": token,
        }  # fmt: skip
        return ask(practice["api_url"] + path, method, body, headers)

    return call


@pytest.fixture(scope="module")
def good(v1):
    """Ask, and return the Success."""

    def call(method, path, fields):
        status, answer = v1(method, path, fields)
        assert (status, answer["Status"], answer["Error"]) == (200, 200, None), answer
        return answer["Success"]

    return call


@pytest.fixture(scope="module")
def below(good):
    """A price at which nobody sells ITC today."""
    last = good("GET", "quotes", {"stock_code": "ITC", "exchange_code": "NSE"})[0]["ltp"]
    return f"{last * 0.95 // 1:.2f}"


@pytest.fixture(scope="module")
def option(good):
    """An option chain's row near the money, some days before its expiry."""
    chain = good(
        "GET",
        "optionchain",
        {"stock_code": "NIFTY", "exchange_code": "NFO", "product_type": "futures"},
    )
    expiry = chain[1]["expiry_date"]
    rows = good("GET", "optionchain", {"stock_code": "NIFTY", "exchange_code": "NFO",
                                       "product_type": "options", "right": "call", "expiry_date": expiry})  # fmt: skip
    spot = float(rows[0]["spot_price"])
    return min(rows, key=lambda row: abs(row["strike_price"] - spot))


def of_option(row, **changes):
    day = day_of(row["expiry_date"])
    fields = {
        "stock_code": "NIFTY", "exchange_code": "NFO", "product": "options", "action": "buy",
        "order_type": "limit", "quantity": "65", "validity": "day", "right": "call",
        "expiry_date": f"{day}T06:00:00.000Z", "strike_price": f"{row['strike_price']:g}",
        "price": f"{max(row['ltp'] * 0.9, row['lower_circuit'] + 1) // 1:.2f}",
    }  # fmt: skip
    return fields | changes


def test_any_case_and_any_clock_of_the_expiry_name_the_same_option(good, option):
    """Fields in capitals, expiry as text of every kind: one contract, four orders."""
    day = day_of(option["expiry_date"])
    variants = [
        {}, {"exchange_code": "nfo", "product": "OPTIONS", "action": "Buy", "order_type": "LIMIT",
             "validity": "Day", "right": "Call", "stock_code": "nifty"},
        {"expiry_date": f"{day}T05:30:00.000Z"}, {"expiry_date": f"{day}T23:59:59.00Z"},
        {"expiry_date": option["expiry_date"], "strike_price": f"{option['strike_price']:.1f}"},
        {"strike_price": option["strike_price"], "quantity": 65},
    ]  # fmt: skip
    for change in variants:
        placed = good("POST", "order", of_option(option, **change))
        (row,) = good("GET", "order", {"exchange_code": "NFO", "order_id": placed["order_id"]})
        assert (row["expiry_date"], row["strike_price"]) == (
            option["expiry_date"],
            option["strike_price"],
        )
        assert (row["right"], row["product_type"], row["action"]) == ("Call", "Options", "Buy")
        good("DELETE", "order", {"exchange_code": "NFO", "order_id": placed["order_id"]})


def test_a_price_may_be_a_number_with_binary_noise(good, below):
    """As the SDK sends it for market orders: the row says whole paise."""
    noisy = float(below) + 0.1 + 0.2 - 0.3 + 0.05
    placed = good("POST", "order", ITC | {"price": noisy})
    (row,) = good("GET", "order", {"exchange_code": "NSE", "order_id": placed["order_id"]})
    assert row["price"] == f"{float(below) + 0.05:.2f}"
    assert row["user_remark"] == "mine"
    assert placed["user_remark"] is None
    good("DELETE", "order", {"exchange_code": "NSE", "order_id": placed["order_id"]})


def test_the_life_of_an_order_is_told_at_every_endpoint(good, below):
    """Placed, listed, modified, cancelled; detail and list tell the same row."""
    placed = good("POST", "order", ITC | {"price": below})
    wanted = {"exchange_code": "NSE", "order_id": placed["order_id"]}
    (row,) = good("GET", "order", wanted)
    today = day_of(row["order_datetime"])
    days = {"from_date": f"{today}T10:00:00.000Z", "to_date": f"{today}T10:00:00.000Z"}
    listed = good("GET", "order", {"exchange_code": "NSE", **days})
    assert row in listed
    assert (row["quantity"], row["pending_quantity"], row["status"]) == ("3", "3", "Ordered")
    done = good("PUT", "order", {**wanted, "quantity": "5", "stoploss": "0", "order_type": "limit"})
    assert done == {"message": "Successfully Modified the order", "order_id": placed["order_id"]}
    (row,) = good("GET", "order", wanted)
    assert (row["quantity"], row["price"]) == ("5", below)
    good("DELETE", "order", wanted)
    (row,) = good("GET", "order", wanted)
    assert (row["status"], row["cancelled_quantity"], row["pending_quantity"]) == (
        "Cancelled",
        "5",
        "0",
    )


def test_another_exchange_does_not_know_the_order(v1, good, below):
    """An NSE order is not found among BSE's, nor on a day before it was placed."""
    placed = good("POST", "order", ITC | {"price": below})
    nothing = (200, {"Success": None, "Status": 500, "Error": "No Data Found"})
    assert v1("GET", "order", {"exchange_code": "BSE", "order_id": placed["order_id"]}) == nothing
    past = {"from_date": "2025-02-05T10:00:00.000Z", "to_date": "2025-02-05T10:00:00.000Z"}
    assert v1("GET", "order", {"exchange_code": "NSE", **past}) == nothing
    elsewhere = {"exchange_code": "NFO", "order_id": placed["order_id"]}
    assert v1("DELETE", "order", elsewhere)[1]["Success"] is None
    assert set(v1("PUT", "order", elsewhere)[1]) == set(ANSWERS["dotnet"])
    good("DELETE", "order", {"exchange_code": "NSE", "order_id": placed["order_id"]})


def test_modifying_an_unknown_order_is_an_unhandled_error(v1):
    """The recorded .NET body: no Success, no Status, no Error."""
    status, answer = v1("PUT", "order", {"order_id": "202502051400012345", "exchange_code": "NFO"})
    assert status == 200
    assert complaints(answer, ANSWERS["dotnet"]) == []


def test_what_was_bought_and_sold_is_told_everywhere(good, option):
    """Trades, executions, positions, portfolio and funds agree about a round trip."""
    buy = of_option(option, price=f"{option['ltp'] * 1.05 // 1:.2f}")
    before = good("GET", "funds", {})
    bought = good("POST", "order", buy)["order_id"]
    wanted = {"exchange_code": "NFO", "order_id": bought}
    until(lambda: good("GET", "order", wanted)[0]["status"] == "Executed", "an execution")
    (row,) = good("GET", "order", wanted)
    parts = good("GET", "trades", wanted)
    assert sum(int(part["executed_quantity"]) for part in parts) == 65
    average = sum(int(p["executed_quantity"]) * float(p["execution_price"]) for p in parts) / 65
    assert float(row["average_price"]) == pytest.approx(average, abs=1e-3)
    assert all(part["action"] == "B" for part in parts)
    book = [
        item
        for item in good("GET", "trades", {"exchange_code": "NFO"})
        if item["order_id"] == bought
    ]
    assert [(item["quantity"], item["average_cost"]) for item in book] == [("65", f"{average:.2f}")]
    taxes = sum(float(part["taxes"]) for part in parts)
    assert float(book[0]["total_taxes"]) == pytest.approx(taxes, abs=0.02)
    held = position(good, option)
    assert (held["action"], held["segment"]) == ("Buy", "fno")
    flat = of_option(
        option, action="sell", source_flag="", stoploss_price="0", product_type="options",
        quantity=held["quantity"], price=f"{max(option['ltp'] * 0.9, option['lower_circuit'] + 1) // 1:.2f}",
    )  # fmt: skip
    del flat["product"]
    sold = good("POST", "squareoff", flat)
    assert sold["indicator"] == "0"
    until(lambda: position(good, option)["action"] == "NA", "a flat position")
    row = next(
        item for item in good("GET", "portfolioholdings", {"exchange_code": "NFO"})
        if item["strike_price"] == f"{option['strike_price']:g}" and item["right"] == "Call"
        and item["expiry_date"] == option["expiry_date"]
    )  # fmt: skip
    assert (row["action"], row["quantity"], row["open_position_value"]) == ("NA", "0", "0")
    after = good("GET", "funds", {})
    won = float(row["realized_profit"]) - float(row["portfolio_charges"])
    assert won != 0
    assert set(after) == set(before)


def position(good, row):
    return next(
        item for item in good("GET", "portfoliopositions", {})
        if (item["expiry_date"], item["strike_price"], item["right"])
        == (row["expiry_date"], f"{row['strike_price']:g}", "Call")
    )  # fmt: skip


def test_money_moves_between_bank_and_segment(good, v1):
    """Credit goes to the segment, debit comes back, and what is not there is refused."""
    before = good("GET", "funds", {})
    move = {"amount": "1000", "segment": "fno"}
    assert good("POST", "funds", {"transaction_type": "Credit", **move}) == {"status": "Success"}
    after = good("GET", "funds", {})
    assert after["allocated_fno"] == pytest.approx(before["allocated_fno"] + 1000)
    assert float(after["unallocated_balance"]) == pytest.approx(
        float(before["unallocated_balance"]) - 1000
    )
    good("POST", "funds", {"transaction_type": "debit", **move})
    assert good("GET", "funds", {}) == before
    refused = v1(
        "POST", "funds", {"transaction_type": "debit", "amount": "999999999", "segment": "FNO"}
    )
    assert refused[1]["Success"] is None
    limits = good("GET", "margin", {"exchange_code": "NFO"})
    assert limits["amount_allocated"] == before["allocated_fno"]


def test_a_preview_adds_up(good):
    """The totals are the sums of their parts, and a costlier order costs more."""
    small = good(
        "GET", "preview_order", ITC | {"product": "margin", "price": "440", "quantity": "1"}
    )
    others = sum(
        small[name]
        for name in ("exchange_turnover_charges", "stamp_duty", "stt", "sebi_charges", "gst")
    )
    assert small["total_other_charges"] == pytest.approx(others)
    assert small["total_brokerage"] == pytest.approx(small["brokerage"] + others)
    large = good(
        "GET", "preview_order", ITC | {"product": "margin", "price": "440", "quantity": "100"}
    )
    assert large["total_brokerage"] > small["total_brokerage"]


def test_a_chain_has_every_strike_once(good, option):
    """Ascending, the chosen right only; the same numbers as the option's own quote."""
    rows = good("GET", "optionchain", {"stock_code": "NIFTY", "exchange_code": "nfo", "product_type": "Options",
                                       "right": "PUT", "expiry_date": option["expiry_date"]})  # fmt: skip
    strikes = [row["strike_price"] for row in rows]
    assert strikes == sorted(set(strikes))
    assert len(strikes) > 40
    assert {row["right"] for row in rows} == {"Put"}
    step = {round(b - a, 4) for a, b in itertools.pairwise(strikes)}
    assert len(step) == 1
    (alone,) = good("GET", "quotes", {"stock_code": "NIFTY", "exchange_code": "NFO", "product_type": "options",
                                      "right": "put", "expiry_date": option["expiry_date"],
                                      "strike_price": f"{strikes[0]:g}"})  # fmt: skip
    for name in ("previous_close", "upper_circuit", "lower_circuit", "expiry_date"):
        assert alone[name] == rows[0][name]


def test_fewer_than_two_fields_name_no_chain(v1):
    """The SDK's own rule, for those who ask without it."""
    asked = {
        "stock_code": "NIFTY",
        "exchange_code": "NFO",
        "product_type": "options",
        "right": "call",
    }
    assert "two inputs" in v1("GET", "optionchain", asked)[1]["Error"]


REFUSED = [
    ({"order_type": "market"}, "Order-type"), ({"action": "hold"}, "Action"), ({"validity": ""}, "Validity"),
    ({"product": "optionplus"}, "not allowed"), ({"product": "bonds"}, "Product"), ({"quantity": "0"}, "Quantity"),
    ({"exchange_code": ""}, "Exchange-Code"), ({"stock_code": "NIFTY"}, "not valid"), ({"price": "0.001"}, "tick"),
    ({"exchange_code": "NFO"}, "Product"), ({"order_type": "stoploss", "stoploss": "0"}, "trigger"),
    ({"validity": "vtc", "validity_date": "soon"}, "date"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "word"), REFUSED, ids=lambda x: str(x)[:40])
def test_a_wrong_order_is_refused_with_a_reason(v1, below, change, word):
    """One word of the reason; there is no order afterwards."""
    status, answer = v1("POST", "order", ITC | {"price": below} | change)
    assert (status, answer["Success"], answer["Status"]) == (200, None, 500)
    assert word.lower() in answer["Error"].lower()


#: Stand for the expiry and strike of an option that is listed when the test runs.
EXPIRY, STRIKE = "an expiry", "a strike"
PATHS = [
    ("POST", "order", ITC | {"price": "250"}),
    ("PUT", "order", {"order_id": "1", "exchange_code": "NSE", "quantity": "1", "price": "1"}),
    ("GET", "order", {"exchange_code": "NSE", "from_date": "2026-11-24", "to_date": "2026-11-24"}),
    ("DELETE", "order", {"exchange_code": "NSE", "order_id": "1"}),
    ("GET", "trades", {"exchange_code": "NSE", "from_date": "", "product_type": "", "action": "", "stock_code": ""}),
    ("GET", "margin", {"exchange_code": "NSE"}),
    ("POST", "margin", {"exchange_code": "NSE"}),
    ("POST", "funds", {"transaction_type": "credit", "amount": "1", "segment": "FNO"}),
    ("GET", "portfolioholdings", {"exchange_code": "NFO", "from_date": "", "to_date": "", "stock_code": ""}),
    ("POST", "squareoff", {**ITC, "product_type": "cash", "stoploss_price": "0", "price": "250"}),
    ("GET", "preview_order", ITC | {"price": "250", "right": "", "expiry_date": "", "strike_price": ""}),
    ("POST", "fnolmtpriceandqtycal", {"underlying": "NIFTY", "exchange_code": "NFO", "product_type": "options",
                                      "expiry_date": EXPIRY, "strike_price": STRIKE, "option_type": "call",
                                      "order_flow": "buy"}),
    ("POST", "margincalculator", {"exchange_code": "NFO", "list_of_positions": [{"strike_price": "0"}]}),
    ("POST", "gttorder", {"exchange_code": "NFO", "stock_code": "NIFTY", "product": "options", "quantity": "65",
                          "expiry_date": EXPIRY, "right": "call", "strike_price": STRIKE,
                          "gtt_type": "single", "order_details": [{"action": "buy", "limit_price": "7", "trigger_price": "8"}]}),
    ("PUT", "gttorder", {"gtt_order_id": "1", "gtt_type": "single", "order_details": []}),
    ("GET", "gttorder", {"exchange_code": "NFO", "from_date": "2026-11-24", "to_date": "2026-11-24"}),
    ("DELETE", "gttorder", {"gtt_order_id": "1", "exchange_code": "NFO"}),
    ("GET", "quotes", {"stock_code": "NIFTY", "exchange_code": "NFO", "product_type": "options", "right": "call",
                       "expiry_date": EXPIRY, "strike_price": STRIKE}),
    ("GET", "optionchain", {"stock_code": "NIFTY", "exchange_code": "NFO", "product_type": "options",
                            "right": "call", "expiry_date": EXPIRY, "strike_price": STRIKE}),
    ("GET", "historicalcharts", {"interval": "minute", "from_date": "2026-06-29", "to_date": "2026-06-29",
                                 "stock_code": "RELIND", "exchange_code": "NSE", "product_type": "cash"}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "fields"), PATHS, ids=[f"{m} {p}" for m, p, _ in PATHS])
def test_odd_values_get_an_answer(v1, option, method, path, fields):
    """Every field in turn missing and of every odd kind: an answer with its reason, no traceback."""
    known = {EXPIRY: option["expiry_date"], STRIKE: f"{option['strike_price']:g}"}
    fields = {k: known.get(v, v) if isinstance(v, str) else v for k, v in fields.items()}
    bodies = [[], "x", 5, {}, *({k: v for k, v in fields.items() if k != gone} for gone in fields)]
    bodies += [fields | {name: value} for name in fields for value in ODD]
    for body in bodies:
        status, answer = v1(method, path, body)
        assert FAILED not in str(answer), (body, answer)
        assert status == 200
        if set(answer) != set(ANSWERS["dotnet"]):
            assert type(answer["Status"]) is int, (body, answer)
        if (
            isinstance(answer.get("Success"), dict)
            and method == "POST"
            and path in ("order", "squareoff")
        ):
            v1(
                "DELETE",
                "order",
                {"exchange_code": "NSE", "order_id": answer["Success"]["order_id"]},
            )


def test_odd_positions_get_the_recorded_error(v1):
    """Whatever is wrong with the list, the calculator says the same."""
    leg = {"strike_price": "0", "quantity": "30", "right": "others", "product": "futures", "action": "buy",
           "price": "49500", "expiry_date": "27-Feb-2025", "stock_code": "CNXBAN"}  # fmt: skip
    recorded = {"Status": 5, "Error": "Index was outside the bounds of the array."}
    for legs in (None, "x", [], [None], [1], [[]], [{}], [leg], [{**leg, "expiry_date": "soon"}]):
        assert (
            v1("POST", "margincalculator", {"list_of_positions": legs, "exchange_code": "NFO"})[1]
            == recorded
        )


def test_gtt_orders_are_placed_changed_and_cancelled(good, v1, option):
    """A single trigger and a target with a stop loss; their book tells each leg."""
    day = day_of(option["expiry_date"])
    last = option["ltp"]
    order = {
        "exchange_code": "nfo", "stock_code": "NIFTY", "product": "Options", "quantity": "65",
        "expiry_date": f"{day}T06:00:00.00Z", "right": "CALL", "strike_price": f"{option['strike_price']:g}",
        "index_or_stock": "index", "trade_date": "2025-02-05T06:00:00.00Z",
    }  # fmt: skip

    def money(factor):
        return f"{last * factor // 1:.2f}"

    def leg(kind, action, trigger, limit):
        named = {"gtt_leg_type": kind} if kind else {}
        return {
            **named,
            "action": action,
            "trigger_price": money(trigger),
            "limit_price": money(limit),
        }

    single = good(
        "POST",
        "gttorder",
        {**order, "gtt_type": "Single", "order_details": [leg("", "buy", 0.5, 0.6)]},
    )
    fresh = {
        "fresh_order_action": "buy",
        "fresh_order_price": money(0.9),
        "fresh_order_type": "limit",
    }
    both = [leg("Target", "sell", 1.8, 1.7), leg("stoploss", "sell", 0.5, 0.4)]
    cover = good(
        "POST", "gttorder", {**order, **fresh, "gtt_type": "cover_oco", "order_details": both}
    )
    days = {"exchange_code": "NFO", "from_date": "", "to_date": ""}
    book = {row["order_details"][0]["gtt_order_id"]: row for row in good("GET", "gttorder", days)}
    assert complaints(list(book.values()), ANSWERS["gtt book"]["Success"]) == []
    row = book[single["gtt_order_id"]]
    assert (row["gtt_type"], row["fresh_order_id"], row["index_or_stock"]) == (
        "Single",
        None,
        "Index",
    )
    assert row["order_details"][0]["gtt_leg_type"] is None
    row = book[cover["gtt_order_id"]]
    assert row["gtt_type"] == "Cover OCO"
    assert [item["gtt_leg_type"] for item in row["order_details"]] == ["Target", "Stoploss"]
    (placed,) = good("GET", "order", {"exchange_code": "NFO", "order_id": row["fresh_order_id"]})
    assert placed["price"] == money(0.9)
    change = {"gtt_order_id": single["gtt_order_id"], "exchange_code": "NFO"}
    good(
        "PUT",
        "gttorder",
        {**change, "gtt_type": "single", "order_details": [leg("", "buy", 0.4, 0.5)]},
    )
    wrong = v1("PUT", "gttorder", {**change, "gtt_type": "oco", "order_details": both})
    assert wrong[1]["Success"] is None
    again = {**change, "gtt_type": "oco", "order_details": [leg("", "buy", 0.4, 0.5)]}
    assert "type of GTT" in v1("PUT", "gttorder", again)[1]["Error"]
    for item in (single, cover):
        done = good(
            "DELETE", "gttorder", {"exchange_code": "NFO", "gtt_order_id": item["gtt_order_id"]}
        )
        assert done["gtt_order_id"] == item["gtt_order_id"]
    book = {row["order_details"][0]["gtt_order_id"]: row for row in good("GET", "gttorder", days)}
    (leg_row,) = book[single["gtt_order_id"]]["order_details"]
    assert (leg_row["status"], leg_row["trigger_price"]) == ("Cancelled", float(money(0.4)))


def test_the_demat_account_and_the_equity_portfolio_agree(good):
    """The same shares, by ISIN in one and by price in the other."""
    demat = {row["stock_code"]: row for row in good("GET", "dematholdings", {})}
    held = {
        row["stock_code"]: row for row in good("GET", "portfolioholdings", {"exchange_code": "NSE"})
    }
    assert demat
    for code, row in demat.items():
        assert row["stock_ISIN"].startswith("INE")
        assert int(held[code]["quantity"]) >= int(row["quantity"])
        assert held[code]["product_type"] is None
        assert float(held[code]["current_market_price"]) > 0
