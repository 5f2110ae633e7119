"""The cases of the conformance suite: every public method and every README example of the SDK.

A case with an `example` number calls the SDK exactly as the README does, but
for the values named in `given`, which are past or private there. The others
are calls the README leaves out. Running this file writes ``docs/conformance.md``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import sdk_readme

__all__ = ["CASES", "DOCUMENT", "MISPRINTS", "Case", "document"]

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "conformance.md"


@dataclass(frozen=True)
class Case:
    """One call of the SDK and what must come of it.

    Parameters
    ----------
    method, example
        The method, and the number of its README example; 0 for a call of ours.
    answer
        The layout of what the call returns, a name of `conformance_schema.ANSWERS`.
    sources
        Where that layout is known from.
    given
        Arguments that take a value of the running market instead of the README's: what it is.
    call
        The arguments of a call of ours.
    before
        What the market must have seen first, a method of the suite's `World`.
    ticks
        The layout of what `on_ticks` must receive.
    says
        Text that the answer, or the exception, must contain.
    raises
        Whether the SDK raises, which is then as documented.
    verdict
        What comes of the call, where it is neither success nor a plain refusal.
    note
        What a reader should know.
    """

    method: str
    example: int = 0
    answer: str = ""
    sources: str = "sdk-readme"
    given: dict[str, str] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=dict)
    before: str = ""
    ticks: str = ""
    says: str = ""
    raises: bool = False
    verdict: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """Unique among the cases."""
        if self.example:
            return f"{self.method} {self.example}"
        words = [str(value) for value in self.call.values() if value not in ("", None)]
        return f"{self.method} ({', '.join(words) or self.before or self.says or 'plain'})"[:110]

    @property
    def result(self) -> str:
        """``works``, or how it fails."""
        if self.raises:
            return "raises"
        refusals = {
            "refused here": "refused by the SDK",
            "refused": "refused",
            "refused bare": "refused",
        }
        return self.verdict or refusals.get(self.answer, "works")

    @property
    def works(self) -> bool:
        """Whether the call does what it promises."""
        return self.result == "works"


STREAM: Final = "sdk-readme, capture"
SOURCE: Final = "sdk-source, tested"
OPTION: Final = {"expiry_date": "a listed expiry", "strike_price": "the strike at the money"}
THEN: Final = {"strike_price": "the strike at the money that day"}
LOT: Final = {"quantity": "one lot"}
TODAY: Final = {"from_date": "today", "to_date": "today"}
FUTURE: Final = {"expiry_date": "a listed expiry"}
REST: Final = {"price": "a price below the market"}
LEGS: Final = {"order_details": "limits and triggers around the market"}
_NIFTY_FUTURE: Final = {
    "stock_code": "NIFTY", "exchange_code": "NFO", "product_type": "futures",
    "expiry_date": "a listed expiry", "right": "others", "strike_price": "0",
}  # fmt: skip
_NIFTY_OPTION: Final = _NIFTY_FUTURE | {
    "product_type": "options", "right": "Put", "strike_price": "the strike at the money",
}  # fmt: skip
_MINUTES: Final = {
    "interval": "1minute", "from_date": "2026-06-29T10:00:00.000Z",
    "to_date": "2026-06-29T10:46:00.000Z",
}  # fmt: skip

_SESSION: Final = [
    Case("generate_session", 1, "nothing", "sdk-readme, sdk-source, capture",
         {"api_secret": "the secret", "session_token": "the api session"}),
    Case("generate_session", sources="sdk-source, capture", raises=True, says="Session key is expired",
         call={"api_secret": "the secret", "session_token": "12345"},
         note="A session the login page did not give."),
    Case("get_customer_details", 1, "details", given={"api_session": "the api session"},
         note="The SDK takes the session token out of the answer."),
    Case("get_customer_details", answer="refused here", sources="sdk-source",
         call={"api_session": ""}, says="API Session cannot be empty"),
    Case("get_customer_details", answer="refused", sources="capture",
         call={"api_session": "12345"}, says="Resource not available."),
    Case("api_util", answer="nothing", sources=SOURCE, before="fresh_login",
         note="The exchange of `generate_session` alone."),
    Case("get_stock_script_list", sources=SOURCE, answer="scripts",
         note="Six dictionaries; the SDK loads the currency file into the NSE one, so NDX is empty."),
]  # fmt: skip

_ACCOUNT: Final = [
    Case("get_demat_holdings", 1, "demat"),
    Case("get_funds", 1, "funds"),
    Case("set_funds", 1, "funds set"),
    Case("set_funds", answer="funds set", sources="sdk-readme",
         call={"transaction_type": "credit", "amount": "200", "segment": "FNO"}),
    Case("set_funds", answer="refused here", sources="sdk-source", says="should only contain digits",
         call={"transaction_type": "credit", "amount": "2.5", "segment": "FNO"}),
    Case("set_funds", answer="refused", sources="inferred",
         call={"transaction_type": "debit", "amount": "999999999", "segment": "Equity"},
         note="More than the segment has."),
    Case("get_margin", 1, "margin"),
    Case("get_margin", answer="margin", call={"exchange_code": "NFO"}),
    Case("add_margin", 1, "refused here", "sdk-source", says="Product should be either",
         note="Hidden in the README. The SDK refuses the product `margin` before it asks."),
    Case("add_margin", answer="refused", sources="sdk-source",
         call={"exchange_code": "NSE", "product_type": "cash", "stock_code": "ITC", "add_amount": "100"},
         says="No Data Found",
         note="Margin positions cannot be opened through the API, so there is none to add to; "
              "the broker's answer to a good call is not known."),
    Case("get_portfolio_holdings", 1, "holdings", given=TODAY, before="option_position"),
    Case("get_portfolio_holdings", answer="holdings", sources="inferred", call={"exchange_code": "NSE"},
         note="The README shows NFO only; for cash its derivative fields are null."),
    Case("get_portfolio_holdings", answer="refused", sources="capture", says="No Data Found",
         call={"exchange_code": "NFO", "from_date": "2024-08-01T06:00:00.000Z",
               "to_date": "2024-09-19T06:00:00.000Z"}),
    Case("get_portfolio_positions", 1, "positions", before="option_position"),
]  # fmt: skip

_HISTORY: Final = [
    Case("get_historical_data", 1, "candles v1 futures"),
    Case("get_historical_data", 2, "candles v1 cash"),
    Case("get_historical_data", 3, "candles v1 options", given=THEN),
    Case("get_historical_data", answer="refused here", sources="sdk-source", says="Exchange-Code should be",
         call=_MINUTES | {"stock_code": "RELIND", "exchange_code": "BSE", "product_type": "cash"},
         note="Version 1 knows no BSE and no BFO."),
    Case("get_historical_data", answer="refused", sources="capture", says="No Data Found",
         call=_MINUTES | {"stock_code": "NOSUCH", "exchange_code": "NSE", "product_type": "cash"}),
    *[Case("get_historical_data", answer="candles v1 cash", sources="sdk-source",
           call=_MINUTES | {"interval": interval, "stock_code": "RELIND", "exchange_code": "NSE",
                            "product_type": "cash"}) for interval in ("5minute", "30minute", "1day")],
    Case("get_historical_data_v2", 1, "candles v2 futures"),
    Case("get_historical_data_v2", 2, "candles v2 cash"),
    Case("get_historical_data_v2", 3, "candles v2 options", given=THEN),
    *[Case("get_historical_data_v2", answer="candles v2 cash", sources="sdk-readme, sdk-source",
           call=_MINUTES | {"interval": interval, "stock_code": "RELIND", "exchange_code": "BSE",
                            "product_type": "cash"})
      for interval in ("1second", "5minute", "30minute", "1day")],
    *[Case("get_historical_data_v2", answer="candles v2 futures", sources="sdk-source",
           call=_MINUTES | TODAY | {"interval": "1day", "stock_code": code, "exchange_code": exchange,
                            "product_type": "futures", "expiry_date": "a listed expiry"})
      for exchange, code in (("BFO", "BSESEN"), ("MCX", "GOLD"), ("NDX", "USDINR"))],
    Case("get_historical_data_v2", answer="candles v2 cash", sources="capture",
         call=_MINUTES | {"stock_code": "NOSUCH", "exchange_code": "NSE", "product_type": "cash"},
         note="Nothing found is an empty list in version 2."),
]  # fmt: skip

_ORDERS: Final = [
    Case("place_order", 1, "placed fno", given=FUTURE | LOT | REST),
    Case("place_order", 2, "placed fno", given=OPTION | LOT | REST),
    Case("place_order", 3, "placed cash", given=REST),
    Case("place_order", answer="placed cash", sources="sdk-readme, tested", before="order_arrives",
         call={"stock_code": "ITC", "exchange_code": "nse", "product": "cash", "action": "buy",
               "order_type": "market", "quantity": "2", "price": "0", "validity": "day"},
         note="A market order leaves the SDK as a limit order whose price is a JSON number."),
    Case("place_order", answer="placed fno", sources="sdk-readme, sdk-source",
         call={"stock_code": "NIFTY", "exchange_code": "NFO", "product": "options", "action": "buy",
               "order_type": "stoploss", "stoploss": "a trigger above the market", "quantity": "one lot",
               "price": "a price above the market", "validity": "day", "right": "call",
               "expiry_date": "a listed expiry", "strike_price": "the strike at the money"}),
    Case("place_order", answer="placed cash", sources="sdk-source",
         call={"stock_code": "ITC", "exchange_code": "NSE", "product": "mtf", "action": "buy",
               "order_type": "limit", "quantity": "2", "price": "a price below the market",
               "validity": "vtc", "validity_date": "a day three weeks ahead"},
         note="Margin trading; its message names the product."),
    *[Case("place_order", answer=answer, sources="inferred",
           note="The README shows NSE and NFO only; the other exchanges are taken to answer alike.",
           call={"stock_code": code, "exchange_code": exchange, "product": product, "action": "buy",
                 "order_type": "limit", "quantity": quantity, "price": "a price below the market",
                 "validity": "day"} | ({} if product == "cash" else {"expiry_date": "a listed expiry"}))
      for exchange, code, product, quantity, answer in (
          ("BSE", "RELIND", "cash", "1", "placed cash"), ("BFO", "BSESEN", "futures", "one lot", "placed fno"),
          ("MCX", "GOLD", "futures", "1", "placed fno"), ("NDX", "USDINR", "futures", "1", "placed fno"),
      )],
    *[Case("place_order", answer="refused", sources="inferred", note=note,
           call={"stock_code": "ITC", "exchange_code": "NSE", "product": "cash", "action": "buy",
                 "order_type": "limit", "quantity": "1", "price": "250", "validity": "day"} | change)
      for note, change in (
          ("No quantity; since 1.0.68 the SDK looks at nothing.", {"quantity": ""}),
          ("No such stock.", {"stock_code": "NOSUCH"}),
          ("A product for an exchange that has none of it.", {"product": "options"}),
          ("Margin and Option Plus are prohibited.", {"product": "optionplus"}),
          ("A validity nobody knows.", {"validity": "gtc"}),
          ("A price that is no number.", {"price": "cheap"}),
      )],
    Case("place_order", raises=True, sources="tested", call={"order_type": None},
         says="Error in place_order()", note="The SDK asks None for its lower case."),
    Case("get_order_detail", 1, "orders", given={"order_id": "a working cash order"}),
    Case("get_order_detail", answer="orders", call={"exchange_code": "nfo", "order_id": "a working option order"}),
    Case("get_order_detail", answer="refused", sources="capture", says="No Data Found",
         call={"exchange_code": "NSE", "order_id": "20250205N300001234"}),
    Case("get_order_list", 1, "orders", given=TODAY, before="cash_order"),
    Case("get_order_list", answer="orders", call={"exchange_code": "NFO"} | TODAY, before="option_order"),
    Case("get_order_list", answer="refused", sources="capture", says="No Data Found",
         call={"exchange_code": "NSE", "from_date": "2025-02-05T10:00:00.000Z", "to_date": "2025-02-05T10:00:00.000Z"}),
    Case("modify_order", 1, "modified", given={"order_id": "a working option order", **LOT,
                                              "price": "a price lower still"},
         note="The SDK asks for the order first."),
    Case("modify_order", answer="refused here", sources=SOURCE, says="Order not found",
         call={"order_id": "202502051400012345", "exchange_code": "NFO", "order_type": "limit", "price": "1"},
         note="An unknown order never reaches the server; a PUT by hand gets the recorded .NET error."),
    Case("modify_order", answer="refused here", sources=SOURCE, says="already been executed",
         call={"order_id": "an executed cash order", "exchange_code": "NSE", "order_type": "limit", "price": "1"}),
    Case("cancel_order", 1, "cancelled", given={"order_id": "a working cash order"}),
    Case("cancel_order", answer="refused", sources="inferred",
         call={"exchange_code": "NSE", "order_id": "20250205N300001234"}),
    Case("square_off", 1, "refused here", "tested", says="Quotes not available",
         note="Hidden in the README. The SDK's quotes call refuses the product `margin`."),
    Case("square_off", 2, "squared off", given=OPTION | LOT, before="option_position"),
    Case("square_off", 3, "squared off", given=FUTURE | LOT, before="future_position"),
    Case("square_off", answer="refused here", sources=SOURCE, raises=True, says="order_id",
         call={"order_id": "20250205N300001234"},
         note="The public method does not pass `order_id` on: TypeError."),
    Case("get_trade_list", 1, "trades", given=TODAY, before="bought_cash"),
    Case("get_trade_list", answer="trades", before="option_position",
         call={"exchange_code": "NFO", "product_type": "Options", "action": "Buy", "stock_code": "NIFTY"}),
    Case("get_trade_list", answer="refused", sources="capture", says="No Data Found",
         call={"exchange_code": "NSE", "from_date": "2025-02-05T06:00:00.000Z", "to_date": "2025-02-05T06:00:00.000Z"}),
    Case("get_trade_detail", 1, "executions", given={"order_id": "an executed cash order"}),
    Case("get_trade_detail", answer="refused", sources="capture", says="No Data Found",
         call={"exchange_code": "NSE", "order_id": "20250205N300012345"}),
    Case("aggressive_limit_order_placement", raises=True, sources=SOURCE,
         says="aggressive_limit_order_placement",
         call={"stock_code": "ITC", "exchange_code": "NSE", "product_type": "cash", "right": "",
               "expiry_date": "", "strike_price": "", "action": "buy", "order_type": "market",
               "quantity": "1", "stoploss": "", "validity": "day"},
         note="A remnant: what it calls does not exist in this version."),
]  # fmt: skip

_QUOTES: Final = [
    Case("get_quotes", 1, "derivative quotes", given=FUTURE),
    Case("get_quotes", answer="quotes", sources="sdk-readme, capture",
         call={"stock_code": "RELIND", "exchange_code": "NSE", "product_type": "cash"},
         note="Two rows for cash, NSE and BSE."),
    Case("get_quotes", answer="quotes", sources="capture", call={"stock_code": "NIFTY", "exchange_code": "NSE"},
         note="An index has a placeholder as its second row."),
    Case("get_quotes", answer="derivative quotes", call=_NIFTY_OPTION | {"exchange_code": "nfo"}),
    *[Case("get_quotes", answer="derivative quotes", sources="sdk-source",
           call={"stock_code": code, "exchange_code": exchange, "product_type": "futures",
                 "expiry_date": "a listed expiry"})
      for exchange, code in (("BFO", "BSESEN"), ("MCX", "GOLD"), ("NDX", "USDINR"))],
    Case("get_quotes", answer="refused", sources="capture", says="No Data Found",
         call={"stock_code": "NOSUCH", "exchange_code": "NSE"}),
    Case("get_option_chain_quotes", 1, "chain", given=FUTURE),
    Case("get_option_chain_quotes", 2, "chain", given=FUTURE),
    Case("get_option_chain_quotes", answer="chain", sources="sdk-source", before="strike_and_expiry",
         call={"stock_code": "NIFTY", "exchange_code": "NFO", "product_type": "options",
               "expiry_date": "a listed expiry", "strike_price": "the strike at the money"}),
    Case("get_option_chain_quotes", answer="chain", sources="sdk-source", before="strike_and_right",
         call={"stock_code": "NIFTY", "exchange_code": "nfo", "product_type": "Options",
               "right": "PUT", "strike_price": "the strike at the money"}),
    Case("get_option_chain_quotes", answer="chain", sources="sdk-source",
         call={"stock_code": "BSESEN", "exchange_code": "bfo", "product_type": "options",
               "right": "call", "expiry_date": "a listed expiry"}),
    Case("get_option_chain_quotes", answer="chain", sources="sdk-source",
         call={"stock_code": "NIFTY", "exchange_code": "NFO", "product_type": "futures"},
         note="The futures of all months."),
    Case("get_option_chain_quotes", answer="refused here", sources="sdk-source", says="Either Right or Strike-Price",
         call={"stock_code": "NIFTY", "exchange_code": "NFO", "product_type": "options",
               "expiry_date": "a listed expiry"}),
    Case("get_option_chain_quotes", answer="refused", sources="capture", says="No Data Found",
         call={"stock_code": "ICIBAN", "exchange_code": "NFO", "product_type": "options",
               "right": "call", "expiry_date": "2025-08-28T06:00:00.000Z"}),
    Case("preview_order", 1, "preview"),
    Case("preview_order", answer="preview", sources="sdk-source",
         call={"stock_code": "NIFTY", "exchange_code": "NFO", "product": "options", "order_type": "limit",
               "price": "100", "action": "sell", "quantity": "one lot", "right": "call",
               "expiry_date": "a listed expiry", "strike_price": "the strike at the money"}),
    Case("limit_calculator", 1, "limit", "sdk-readme",
         given={"expiry_date": "a listed expiry", "strike_price": "the strike at the money"},
         note="Hidden in the README."),
    Case("limit_calculator", 2, "limit",
         given={"expiry_date": "a listed expiry", "strike_price": "the strike at the money"}),
    Case("margin_calculator", 1, "margin of positions",
         given={"lists": "listed expiries, strikes and lots"}),
    *[Case("margin_calculator", answer="refused bare", sources="capture",
           says="Index was outside the bounds of the array.",
           call={"lists": lists, "exchange_code": "NFO"})
      for lists in ([], [{"strike_price": "0"}], ["odd"], "odd")],
    Case("get_names", 1, "names"),
    Case("get_names", answer="names", sources="sdk-source",
         call={"exchange_code": "nse", "stock_code": "RELIND"}, note="By ICICI's code."),
    Case("get_names", answer="refused here", sources="sdk-source", says="Result Not Found",
         call={"exchange_code": "NSE", "stock_code": "NOSUCH"}),
    *[Case("get_names", raises=True, sources="tested", says="ExchangeCode",
           call={"exchange_code": exchange, "stock_code": code},
           note="The SDK looks for columns named with a leading space, which only the NSE file has.")
      for exchange, code in (("BSE", "RELIND"), ("NFO", "NIFTY"), ("BFO", "BSESEN"),
                             ("MCX", "GOLD"), ("CDNSE", "USDINR"))],
]  # fmt: skip

_GTT: Final = [
    Case("gtt_three_leg_place_order", 1, "gtt placed", given=OPTION | LOT | LEGS
         | {"fresh_order_price": "a price below the market"}),
    Case("gtt_three_leg_modify_order", 1, "gtt modified", given={"gtt_order_id": "a three-leg GTT", **LEGS}),
    Case("gtt_three_leg_modify_order", answer="refused here", sources="sdk-source", says="oco",
         call={"exchange_code": "NFO", "gtt_order_id": "2025020500001234", "gtt_type": "single"}),
    Case("gtt_three_leg_cancel_order", 1, "gtt cancelled", given={"gtt_order_id": "a three-leg GTT"}),
    Case("gtt_single_leg_place_order", 1, "gtt placed", given=OPTION | LOT | LEGS),
    Case("gtt_single_leg_modify_order", 1, "gtt modified", given={"gtt_order_id": "a single-leg GTT", **LEGS}),
    Case("gtt_single_leg_modify_order", answer="refused here", sources="sdk-source", says="single",
         call={"exchange_code": "NFO", "gtt_order_id": "2025020500001234", "gtt_type": "Single"},
         note="The SDK wants exactly `single`."),
    Case("gtt_single_leg_cancel_order", 1, "gtt cancelled", given={"gtt_order_id": "a single-leg GTT"}),
    Case("gtt_single_leg_cancel_order", answer="refused", sources="capture", says="No Data Found",
         call={"exchange_code": "NFO", "gtt_order_id": "2025011500003608"}),
    Case("gtt_order_book", 1, "gtt book", given=TODAY, before="gtts"),
]  # fmt: skip

_STREAMS: Final = [
    Case("ws_connect", 1, "nothing", "sdk-readme, tested"),
    Case("ws_disconnect", 1, "messages", "sdk-readme, tested", before="fresh_sockets",
         says="has been disconnected",
         note="It closes nothing: it sends an event named `disconnect`, and the server cuts the socket, "
              "whereupon the forgotten client returns by itself."),
    Case("ws_disconnect_ohlc", answer="message", sources=SOURCE, before="fresh_sockets",
         says="not connected to OHLCV"),
    *[Case("subscribe_feeds", n, "message", STREAM, given, ticks=ticks, note=note)
      for n, given, ticks, note in (
          (1, {}, "cash candle", ""), (2, {}, "cash quote", ""), (3, {}, "index quote", ""),
          (4, OPTION, "option candle", ""), (5, OPTION, "option quote", ""),
          (6, OPTION, "option depth", ""),
          (7, OPTION, "option candle", "BFO joins 2.x for candles, but 8.x for quotes and depth."),
          (8, OPTION, "bfo quote", "The SDK adds neither exchange nor contract to BFO ticks."),
          (9, OPTION, "bfo depth", ""),
          (12, {}, "cash quote", ""),
      )],
    *[Case("unsubscribe_feeds", n, "message", STREAM, given, note=note)
      for n, given, note in (
          (1, {}, ""), (2, {}, ""), (3, {}, ""), (4, OPTION, ""), (5, OPTION, ""), (6, OPTION, ""),
          (7, OPTION, "A quote is missing in the README; it is put in."), (8, OPTION, ""), (9, OPTION, ""),
          (12, {}, ""),
      )],
    Case("subscribe_feeds", 13, "message", "sdk-readme, capture", before="order_arrives",
         note="Frames come to the owner without a room: 52 texts for derivatives as recorded, "
              "47 for cash as the SDK reads them."),
    *[Case("subscribe_feeds", n, "message", "sdk-readme, capture", ticks=room, before="order_socket",
           note="After order notifications; before them the SDK joins the quote server, which has no such room.")
      for n, room in ((10, "one_click_fno"), (11, "i_click_2_gain"))],
    *[Case("unsubscribe_feeds", n, "message", "sdk-readme, sdk-source", before="order_socket")
      for n in (10, 11)],
    Case("unsubscribe_feeds", 13, "message", "sdk-readme, sdk-source", before="order_socket"),
    Case("subscribe_feeds", answer="message", sources=SOURCE, call={"stock_token": "one_click_fno"},
         before="no_order_socket", says="Stock one_click_fno subscribed",
         verdict="joins nothing", note="Without order notifications: the wrong server, and never a tick."),
    *[Case("subscribe_feeds", answer="message", sources="sdk-source", ticks="cash candle",
           call={"stock_token": "4.1!2885", "interval": interval})
      for interval in ("1second", "5minute")],
    Case("subscribe_feeds", answer="message", sources="sdk-source", ticks="future candle",
         call={"exchange_code": "MCX", "stock_code": "GOLD", "product_type": "futures",
               "expiry_date": "an expiry as the master writes it", "interval": "1minute"},
         note="MCX reaches `on_ticks` whole only as candles."),
    Case("subscribe_feeds", answer="message", sources="tested", ticks="mcx quote",
         call={"exchange_code": "MCX", "stock_code": "GOLD", "product_type": "futures",
               "expiry_date": "an expiry as the master writes it", "get_market_depth": False},
         verdict="arrives misread", note="The SDK overwrites what it read of an MCX quote: `open` is a constant, the time is missing."),
    Case("subscribe_feeds", answer="message", sources="capture", ticks="cash depth",
         call={"exchange_code": "NSE", "stock_code": "RELIND", "product_type": "cash",
               "get_market_depth": True, "get_exchange_quotes": False}),
    Case("subscribe_feeds", answer="message", sources="capture", ticks="bse depth",
         call={"exchange_code": "BSE", "stock_code": "RELIND", "product_type": "cash",
               "get_market_depth": True, "get_exchange_quotes": False}),
    Case("subscribe_feeds", answer="message", sources="capture", ticks="cash quote",
         call={"exchange_code": "BSE", "stock_code": "RELIND", "product_type": "cash",
               "get_market_depth": False}),
    Case("subscribe_feeds", answer="message", sources="sdk-readme", ticks="future quote",
         call={"exchange_code": "NFO", "stock_code": "NIFTY", "product_type": "futures",
               "expiry_date": "an expiry as the master writes it", "get_market_depth": False}),
    Case("subscribe_feeds", answer="message", sources="capture", ticks="currency quote",
         call={"stock_token": "a currency room"},
         note="By room only: the SDK's currency dictionary is empty."),
    Case("subscribe_feeds", answer="message", sources="tested", before="nothing_joined",
         call={"exchange_code": "NDX", "stock_code": "USDINR", "product_type": "futures",
               "expiry_date": "an expiry as the master writes it"},
         verdict="joins nothing", note="By fields the SDK finds no currency: it joins `13.1!False`, reports success, and nothing ticks."),
    Case("subscribe_feeds", answer="text", sources=SOURCE, says="Interval should be", verdict="refused by the SDK",
         call={"stock_token": "4.1!2885", "interval": "1day"}),
    Case("subscribe_feeds", answer="text", sources="tested", says="cannot unpack non-iterable", verdict="refused by the SDK",
         call={"exchange_code": "nse", "stock_code": "RELIND"}, note="The exchange must be in upper case."),
    Case("subscribe_feeds", answer="text", sources="tested", says="Exception while subscribing", verdict="refused by the SDK",
         call={"stock_token": ["4.1!3499", "4.1!2885"], "interval": "1minute"},
         note="Lists work for quotes only."),
]  # fmt: skip

_HELPERS: Final = [
    Case("socket_connection_response", answer="message", sources="sdk-source", call={"message": "as given"},
         says="as given"),
    Case("subscribe_exception", answer="exception", sources="sdk-source", call={"message": "as given"},
         says="as given", note="Returned, not raised: a failed look-up goes on."),
    Case("get_stock_token_value", answer="rooms", sources=SOURCE, before="an_interval",
         call={"exchange_code": "NSE", "stock_code": "RELIND"}, says="4.1!2885"),
    Case("get_data_from_stock_token_value", answer="named", sources=SOURCE,
         call={"input_stock_token": "4.1!2885"}, says="RELIANCE INDUSTRIES"),
    Case("parse_data", answer="anything", sources="capture",
         call={"data": ["4.2!95826", 1691390811, [[14.6, 375, 1, "", 15.1, 375, 1, ""]]]}, says="Market Depth",
         note="Every kind of frame is in `tests/test_practice_frames.py`."),
    Case("parse_market_depth", answer="anything", sources="capture",
         call={"data": [[216.25, 1, 216.5, 12]], "exchange": "1"}, says="BestSellRate-1"),
    Case("parse_ohlc_data", answer="anything", sources="capture", says="18687.95",
         call={"data": "NSE,NIFTY,18687.95,18687.95,18687.95,18687.95,0,2022-12-02 14:13:53,1SEC"}),
    Case("convert_to_formatted_rupees", answer="text", sources="tested", call={"value": "2915000"}, says="2915000",
         note="Meant for paise, but it is given text, which it returns as it is."),
    Case("get_contract_name", answer="text", sources="sdk-source", says="OPT-NIFTY-29-Sep-2026-24000-CE",
         call={"underlying": "NIFTY", "product_type": "OPTION", "expiry_date": "29-Sep-2026",
               "strike_price": "24000", "option_type": "CE"}),
]  # fmt: skip

#: Last, because its candle takes longest.
_HALF_HOUR: Final = Case(
    "subscribe_feeds", answer="message", sources="sdk-source", ticks="cash candle",
    call={"stock_token": "4.1!1594", "interval": "30minute"},
)  # fmt: skip

CASES: Final = [
    *_SESSION, *_ACCOUNT, *_HISTORY, *_QUOTES, *_ORDERS, *_GTT, *_STREAMS, *_HELPERS,
    _HALF_HOUR,
]  # fmt: skip

_HEAD: Final = """# Conformance of the practice market

Written by `python tests/conformance_cases.py` from the cases of `tests/test_practice_conformance.py`; a test fails when this table and the cases differ.

The unmodified `breeze-connect` {version} calls the practice market through every public method of `BreezeConnect` and every example of its README, as installed. Each answer and tick is compared with a layout transcribed from the sources: names, spelling, types, formats of dates and amounts, and the order of keys; one key too many or too few fails. The layouts are in `tests/conformance_schema.py`. Recorded frames go through the SDK's parser, ours, and back to the recorded bytes in `tests/test_practice_frames.py`.

Coverage: {methods} of {methods} public methods, {examples} of {examples} README examples, {cases} cases.

The layouts themselves are judged by the README: every answer and every tick it prints must fit the layout we compare ours with. Its misprints: {misprints}.

## Sources

- **sdk-readme**: shown in the SDK's README.
- **sdk-source**: read in the SDK's code.
- **capture**: recorded from the broker, as published with the SDK's tests or in reports.
- **tested**: observed from the unmodified SDK against a loopback server.
- **inferred**: our reading where no source speaks; the broker may differ.

Nothing here shows whether the broker still answers as its README says.

## What stands in for the README's values

The README's expiries, dates and order numbers are past, and its prices are another market's. A case uses the README's call as it is, but for the arguments listed in its row, which take: `today`; a `listed expiry` at least three days ahead; the `strike at the money`; `one lot`; a price or trigger near the market of the moment; an order or position the suite has just made; the practice account's secret and api session. A date keeps the README's way of writing it.

## README examples that do not work as written

{unworkable}

## Cases

`works`: the call does what it promises. Everything else fails as its sources say: `refused` by the server with the broker's words, `refused by the SDK` before anything is sent, `raises` an exception in the SDK, `joins nothing`, `arrives misread`.
"""

#: Where the README's own text is not what it describes: the key, and why.
MISPRINTS: Final = {
    "place_order 3": ("order_id", "its id has a digit less than the message beside it"),
    "get_customer_details 1": ("session_token", "the SDK takes it out of the answer"),
}
_UNWORKABLE: Final = """- `add_margin` 1 (hidden in a comment): the SDK refuses the product `margin` itself, with “Product should be either 'futures', 'options', 'cash', 'btst' or 'mtf'”.
- `square_off` 1 (hidden in a comment): for a market order the SDK asks for quotes with the product `margin`, which its own check refuses; it answers “Quotes not available”.
- `subscribe_feeds` 10 and 11: only after `subscribe_feeds(get_order_notification=True)`. Without it the SDK joins the room at the quote server, which has none of that name, and reports success.
- `unsubscribe_feeds` 7: is no Python, a quotation mark is missing in `interval="1minute)`.
- Every example with an expiry, an order number or a GTT number: these are past; see the column *substituted*."""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def document() -> str:
    """Return the text of ``docs/conformance.md``."""
    examples = len(sdk_readme.examples())
    methods = len({case.method for case in CASES})
    misprints = "; ".join(f"`{name}`, {why}" for name, (_, why) in MISPRINTS.items())
    lines = [_HEAD.format(version=sdk_readme.version(), methods=methods, examples=examples,
                          cases=len(CASES), misprints=misprints, unworkable=_UNWORKABLE)]  # fmt: skip
    lines += ["| method | README | call | result | source of truth | substituted | note |"]
    lines += ["|---|---|---|---|---|---|---|"]
    shown = {(e.method, e.number): e for e in sdk_readme.examples()}
    for case in sorted(CASES, key=lambda c: (c.method, not c.example, c.example)):
        example = shown.get((case.method, case.example))
        call = _call(
            example.keywords if example else case.call, bool(example and example.arguments)
        )
        given = ", ".join(f"`{name}`: {what}" for name, what in case.given.items())
        said = case.note or (f"Says “{case.says}”." if case.says and not case.works else "")
        cells = (f"`{case.method}`", str(case.example or ""), f"`{_cell(call)}`", case.result,
                 case.sources, given, _cell(said))  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _call(keywords: dict[str, Any], unnamed: bool) -> str:
    parts = ["[…]"] if unnamed else []
    parts += [f"{name}={value!r}" for name, value in keywords.items() if value not in ("", None)]
    text = ", ".join(parts)
    return f"({text[:140]}{'…' if len(text) > 140 else ''})"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
    sys.stdout.write(f"{DOCUMENT}\n")
