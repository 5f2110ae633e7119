"""The account's endpoints: a request's fields to the desk's values, and its answers to rows.

Every field may come in any case and as text or number; a clock in a date is
India's whatever its zone says, and of an expiry only the date counts. What
cannot be read or is not taken answers the broker's error, never a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from breeze_lab.practice.desk.orders import MarginLeg, OrderRequest, Refusal, ticks_of
from breeze_lab.practice.desk.triggers import GttLeg
from breeze_lab.practice.exchange.days import midnight, number_at
from breeze_lab.practice.exchange.words import dated
from breeze_lab.practice.wire import desk_rows, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from breeze_lab.practice.desk.desk import Desk
    from breeze_lab.practice.desk.orders import (
        Action,
        Kind,
        MoneySegment,
        Order,
        Origin,
        Product,
        Validity,
    )
    from breeze_lab.practice.desk.triggers import GttKind, LegKind
    from breeze_lab.practice.exchange.market import Market
    from breeze_lab.practice.exchange.universe import Contract

__all__ = ["NO_DATA", "Answer", "DeskRest", "some"]

Fields = dict[str, Any]
_T = TypeVar("_T")

#: The SDK's own words for what it refuses before it asks, here for everybody else.
_NO_PRODUCT: Final = "Product should be either 'futures', 'options', 'cash', 'btst' or 'mtf'"
_PROHIBITED: Final = "Margin and Option Plus orders are not allowed through the API."
_NO_ACTION: Final = "Action should be either 'buy', or 'sell'"
_NO_KIND: Final = "Order-type should be either 'limit' or 'stoploss'"
_NO_VALIDITY: Final = "Validity should be either 'day', 'ioc', or 'vtc'"
_NO_SEGMENT: Final = "Segment should be either 'Equity', 'FNO' or 'Commodity'"
_NO_GTT: Final = "type of GTT should be either 'single', 'oco' or 'cover_oco'"
_NO_CONTRACT: Final = "Stock code or contract details are not valid."
NO_DATA: Final = "No Data Found"

_PRODUCTS: Final = {
    "cash": "cash", "mtf": "mtf", "btst": "btst", "margin": "margin", "futures": "futures",
    "future": "futures", "options": "options", "option": "options",
}  # fmt: skip
_SEGMENTS: Final = {
    "equity": "equity", "fno": "fno", "commodity": "commodity", "currency": "currency",
}  # fmt: skip
_CASH: Final = ("NSE", "BSE")
_EXCHANGES: Final = ("NSE", "BSE", "NFO", "BFO", "NDX", "MCX")
#: Recorded from the broker: an exception of its back end, without any Status.
_UNHANDLED: Final = {
    "Message": "An error has occurred.",
    "ExceptionMessage": "Object reference not set to an instance of an object.",
    "ExceptionType": "System.NullReferenceException",
    "StackTrace": "   at BreezeApi.Controllers.OrderController.Put()",
}
_BAD_POSITIONS: Final = {"Status": 5, "Error": "Index was outside the bounds of the array."}


class Answer(Exception):
    """A body that does not come in the envelope; its HTTP status is 200, as of most failures.

    Parameters
    ----------
    body
        The whole JSON object.
    """

    def __init__(self, body: dict[str, Any]) -> None:
        """Keep it."""
        super().__init__(body)
        self.body = body


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return "" if value is None else str(value).strip()


def _choice(fields: Mapping[str, Any], name: str, known: Mapping[str, _T], error: str) -> _T:
    found = known.get(_text(fields, name).lower())
    if found is None:
        raise Refusal(error)
    return found


def _count(fields: Mapping[str, Any], name: str, *, least: int = 0) -> int:
    text = _text(fields, name) or "0"
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < least:  # noqa: PLR2004
        raise Refusal(f"{name.replace('_', ' ').capitalize()} should be a whole number"
                      f"{' above 0' if least else ''}.")  # fmt: skip
    return int(text)


def _product(text: str) -> Product:
    word = text.strip().lower().replace(" ", "")
    if word in ("optionplus", "futureplus"):
        raise Refusal(_PROHIBITED)
    if word not in _PRODUCTS:
        raise Refusal(_NO_PRODUCT)
    return cast("Product", _PRODUCTS[word])


def _action(fields: Mapping[str, Any], name: str = "action") -> Action:
    words: dict[str, Action] = {"buy": "buy", "sell": "sell", "b": "buy", "s": "sell"}
    return _choice(fields, name, words, _NO_ACTION)


def _kind(fields: Mapping[str, Any], name: str = "order_type") -> Kind:
    words: dict[str, Kind] = {"limit": "limit", "stoploss": "stoploss"}
    return _choice(fields, name, words, _NO_KIND)


def _validity(fields: Mapping[str, Any]) -> tuple[Validity, date | None]:
    """Return how long an order lives; the broker looks at the date of ``vtc`` orders alone."""
    words: dict[str, Validity] = {"day": "day", "ioc": "ioc", "vtc": "vtc"}
    chosen = _choice(fields, "validity", words, _NO_VALIDITY)
    return chosen, rows.day(_text(fields, "validity_date")) if chosen == "vtc" else None


class DeskRest:
    """Answers the endpoints that need an account.

    Parameters
    ----------
    market, desk
        Whose contracts, and whose orders.

    Attributes
    ----------
    handlers
        By HTTP method and path: takes the fields, returns the Success; raises
        `Refusal` or `rows.BadRequest` with the text of the Error, or `Answer`.
    """

    def __init__(self, market: Market, desk: Desk) -> None:
        """Know every endpoint."""
        self.market = market
        self.desk = desk
        self.handlers: dict[tuple[str, str], Callable[[Fields], Any]] = {
            ("GET", "dematholdings"): self._demat,
            ("GET", "funds"): self._funds,
            ("POST", "funds"): self._transfer,
            ("GET", "margin"): self._margin,
            ("POST", "margin"): self._add_margin,
            ("POST", "order"): self._place,
            ("GET", "order"): self._orders,
            ("PUT", "order"): self._modify,
            ("DELETE", "order"): self._cancel,
            ("GET", "portfolioholdings"): self._holdings,
            ("GET", "portfoliopositions"): self._positions,
            ("POST", "squareoff"): self._square_off,
            ("GET", "trades"): self._trades,
            ("GET", "preview_order"): self._preview,
            ("POST", "fnolmtpriceandqtycal"): self._limit,
            ("POST", "margincalculator"): self._margin_of,
            ("POST", "gttorder"): self._gtt_place,
            ("GET", "gttorder"): self._gtt_book,
            ("PUT", "gttorder"): self._gtt_modify,
            ("DELETE", "gttorder"): self._gtt_cancel,
        }

    # -- fields ---------------------------------------------------------------

    def _contract(
        self, fields: Mapping[str, Any], product: str, code: str = "stock_code"
    ) -> Contract:
        """Return the contract of a request that trades, which must be listed today."""
        exchange = _text(fields, "exchange_code").upper()
        if not exchange:
            raise Refusal("Exchange-Code cannot be empty")
        if (product in ("futures", "options")) == (exchange in _CASH):
            raise Refusal(_NO_PRODUCT)
        contract = rows.contract_of(
            self.market, {**fields, "stock_code": _text(fields, code), "product_type": product}
        )
        if contract is None or contract.kind in ("index", "spot"):
            raise Refusal(_NO_CONTRACT)
        if contract.expiry is not None and contract.expiry < self.market.today:
            raise Refusal(_NO_CONTRACT)
        return contract

    def _quantity(self, fields: Mapping[str, Any], contract: Contract) -> int:
        if not _text(fields, "quantity") and _text(fields, "lots"):
            return _count(fields, "lots", least=1) * contract.unit
        return _count(fields, "quantity", least=1)

    def _request(
        self, fields: Mapping[str, Any], product: str = "product", stop: str = "stoploss",
        origin: Origin = "user",
    ) -> OrderRequest:  # fmt: skip
        chosen = _product(_text(fields, product))
        contract = self._contract(fields, chosen)
        kind = _kind(fields)
        validity, until = _validity(fields)
        return OrderRequest(
            contract=contract, product=chosen, action=_action(fields), kind=kind,
            quantity=self._quantity(fields, contract),
            price_ticks=ticks_of(_text(fields, "price"), contract),
            trigger_ticks=self._trigger(fields, stop, contract, kind),
            validity=validity, valid_until=until, disclosed=_count(fields, "disclosed_quantity"),
            remark=_text(fields, "user_remark")[:100], origin=origin,
        )  # fmt: skip

    def _trigger(self, fields: Mapping[str, Any], name: str, contract: Contract, kind: Kind) -> int:
        """Return the trigger of a stop-loss order; a limit order's is not looked at."""
        return ticks_of(_text(fields, name) or "0", contract) if kind == "stoploss" else 0

    def _days(self, fields: Mapping[str, Any]) -> tuple[int, int]:
        """Return the Unix ms of the days from `from_date` to `to_date`, whatever their clocks."""
        start = rows.moment(_text(fields, "from_date")) if _text(fields, "from_date") else 0
        end = rows.moment(_text(fields, "to_date")) if _text(fields, "to_date") else None
        first = midnight(number_at(start)) * 1000 if start else 0
        last = self.market.clock.now_ms() // 1000 if end is None else end
        return first, midnight(number_at(last) + 1) * 1000

    @staticmethod
    def _exchange(fields: Mapping[str, Any]) -> str:
        exchange = _text(fields, "exchange_code").upper()
        if exchange not in _EXCHANGES:
            raise Refusal("Exchange-Code cannot be empty" if not exchange else NO_DATA)
        return exchange

    # -- orders ---------------------------------------------------------------

    def _place(self, fields: Fields) -> Any:
        return desk_rows.placed(self.desk.place(self._request(fields)))

    def _square_off(self, fields: Fields) -> Any:
        request = self._request(fields, "product_type", "stoploss_price", "squareoff")
        done = desk_rows.placed(self.desk.square_off(request))
        return {"order_id": done["order_id"], "message": done["message"], "indicator": "0"}

    def _orders(self, fields: Fields) -> Any:
        exchange = self._exchange(fields)
        if "order_id" in fields:
            found = self._own(fields)
            items = [found] if found else []
        else:
            items = self.desk.orders(exchange, *self._days(fields))
        return some([desk_rows.order(item) for item in items])

    def _own(self, fields: Fields) -> Order | None:
        """Return the order of an id at an exchange, or None."""
        order = self.desk.order(_text(fields, "order_id"))
        exchange = _text(fields, "exchange_code").upper()
        return order if order is not None and order.contract.exchange == exchange else None

    def _modify(self, fields: Fields) -> Any:
        order = self._own(fields)
        if order is None:
            raise Answer(_UNHANDLED)
        contract = order.contract
        kind = _kind(fields) if _text(fields, "order_type") else order.kind
        validity, until = _validity(fields) if _text(fields, "validity") else (None, None)
        price, hidden = _text(fields, "price"), _text(fields, "disclosed_quantity")
        changed = self.desk.modify(
            order.id, kind=kind, validity=validity, valid_until=until,
            quantity=_count(fields, "quantity", least=1) if _text(fields, "quantity") else None,
            price_ticks=ticks_of(price, contract) if price else None,
            trigger_ticks=self._trigger(fields, "stoploss", contract, kind)
            if _text(fields, "stoploss") else None,
            disclosed=_count(fields, "disclosed_quantity") if hidden else None,
        )  # fmt: skip
        return {"message": "Successfully Modified the order", "order_id": changed.id}

    def _cancel(self, fields: Fields) -> Any:
        found = self._own(fields)
        order = self.desk.cancel(found.id if found else "")
        return {"order_id": order.id, "message": "Your Order Canceled successfully."}

    def _trades(self, fields: Fields) -> Any:
        exchange = self._exchange(fields)
        if "order_id" in fields:
            fills = self.desk.fills(exchange, order_id=_text(fields, "order_id"))
            return some(desk_rows.executions(fills))
        product, action = _text(fields, "product_type"), _text(fields, "action")
        fills = self.desk.fills(
            exchange, *self._days(fields), product=_product(product) if product else None,
            action=_action(fields) if action else None,
            code=_text(fields, "stock_code").upper() or None,
        )  # fmt: skip
        orders = {item.id: item for item in self.desk.orders(exchange)}
        return some(desk_rows.trades(self.market, fills, orders))

    # -- account --------------------------------------------------------------

    def _demat(self, _: Fields) -> Any:
        return some([desk_rows.demat(item) for item in self.desk.holdings() if item.settled])

    def _funds(self, _: Fields) -> Any:
        return desk_rows.funds(self.desk.funds())

    def _transfer(self, fields: Fields) -> Any:
        kinds = {"credit": True, "debit": False}
        error = "Transaction-Type should be either 'debit' or 'credit'"
        credit = _choice(fields, "transaction_type", kinds, error)
        segment = _choice(fields, "segment", _SEGMENTS, _NO_SEGMENT)
        amount = _count(fields, "amount", least=1)
        self.desk.transfer(credit, amount * 100, cast("MoneySegment", segment))
        return {"status": "Success"}

    def _margin(self, fields: Fields) -> Any:
        return desk_rows.margin(self.desk.margin(self._exchange(fields)))

    def _add_margin(self, fields: Fields) -> Any:
        """Margin positions cannot be opened through the API, so there is none to add to."""
        self._exchange(fields)
        raise Refusal(NO_DATA)

    def _holdings(self, fields: Fields) -> Any:
        exchange, code = self._exchange(fields), _text(fields, "stock_code").upper()
        found: list[dict[str, Any]]
        if exchange in _CASH:
            found = [
                desk_rows.holding(item) for item in self.desk.holdings()
                if item.contract.exchange == exchange
            ]  # fmt: skip
        else:
            start, end = self._days(fields)
            found = [
                desk_rows.position_holding(item) for item in self.desk.positions(every=True)
                if item.contract.exchange == exchange and start <= item.changed_ms < end
            ]  # fmt: skip
        return some([row for row in found if not code or row["stock_code"] == code])

    def _positions(self, _: Fields) -> Any:
        newest = {fill.contract: fill.price_ticks for fill in self.desk.fills()}
        return some([
            desk_rows.position(item, newest.get(item.contract, item.last_ticks))
            for item in self.desk.positions()
        ])  # fmt: skip

    # -- calculators ----------------------------------------------------------

    def _preview(self, fields: Fields) -> Any:
        product = _product(_text(fields, "product"))
        contract = self._contract(fields, product)
        market = _text(fields, "order_type").lower() == "market"
        last = self.market.live(contract).quote.last
        request = OrderRequest(
            contract=contract, product=product, action=_action(fields),
            quantity=_count(fields, "quantity", least=1),
            price_ticks=last if market else ticks_of(_text(fields, "price"), contract),
        )  # fmt: skip
        return desk_rows.preview(self.desk.preview(request))

    def _limit(self, fields: Fields) -> Any:
        product = (
            "options" if _text(fields, "product_type").lower().startswith("option") else "futures"
        )
        named = {**fields, "right": fields.get("option_type")}
        contract = self._contract(named, product, "underlying")
        action = _action(fields, "order_flow")
        limit, margin, available = self.desk.limit_calculator(contract, action)
        return {
            "available_quantity": str(available), "action_id": "0",
            "order_margin": desk_rows.brief(margin),
            "limit_rate": desk_rows.brief(limit * contract.tick / 100),
        }  # fmt: skip

    def _margin_of(self, fields: Fields) -> Any:
        positions = fields.get("list_of_positions")
        if not isinstance(positions, list) or not positions:
            raise Answer(_BAD_POSITIONS)
        try:
            legs = [self._leg({**item, "exchange_code": fields.get("exchange_code")})
                    for item in positions]  # fmt: skip
        except (Refusal, rows.BadRequest, TypeError) as exc:
            raise Answer(_BAD_POSITIONS) from exc
        echo = [_echo(item) for item in positions]
        return desk_rows.margin_of(echo, self.desk.margin_calculator(legs))

    def _leg(self, item: Mapping[str, Any]) -> MarginLeg:
        product = _product(_text(item, "product"))
        contract = self._contract(item, product)
        return MarginLeg(
            contract=contract, action=_action(item), quantity=_count(item, "quantity", least=1),
            price_ticks=ticks_of(_text(item, "price"), contract),
        )  # fmt: skip

    # -- good till triggered --------------------------------------------------

    def _gtt_place(self, fields: Fields) -> Any:
        product = _product(_text(fields, "product"))
        contract = self._contract(fields, product)
        kinds: dict[str, GttKind] = {"single": "single", "oco": "oco", "cover_oco": "cover_oco"}
        kind = _choice(fields, "gtt_type", kinds, _NO_GTT)
        quantity = _count(fields, "quantity", least=1)
        fresh = None
        if kind == "cover_oco":
            fresh = OrderRequest(
                contract=contract, product=product, action=_action(fields, "fresh_order_action"),
                quantity=quantity, kind=_kind(fields, "fresh_order_type"), origin="gtt",
                price_ticks=ticks_of(_text(fields, "fresh_order_price"), contract),
            )  # fmt: skip
        legs = self._legs(fields, contract, kind)
        placed = self.desk.gtt_place(kind, contract, product, quantity, legs=legs, fresh=fresh)
        return {"gtt_order_id": placed.id, "message": "Your GTT Order Request Placed Successfully"}

    def _legs(self, fields: Fields, contract: Contract, kind: GttKind) -> list[GttLeg]:
        details = fields.get("order_details")
        if not isinstance(details, list) or not all(isinstance(item, dict) for item in details):
            raise Refusal("Order details should be a list of legs.")
        kinds: dict[str, LegKind] = {"target": "target", "stoploss": "stoploss"}
        if kind == "single":
            kinds = {"": "single", "single": "single"}
        return [
            GttLeg(
                kind=_choice(item, "gtt_leg_type", kinds, "GTT leg type is not valid."),
                action=_action(item), limit_ticks=ticks_of(_text(item, "limit_price"), contract),
                trigger_ticks=ticks_of(_text(item, "trigger_price"), contract),
            )
            for item in details
        ]  # fmt: skip

    def _gtt(self, fields: Fields) -> Any:
        wanted = _text(fields, "gtt_order_id")
        found = next((item for item in self.desk.gtt_book() if item.id == wanted), None)
        if found is None:
            raise Refusal(NO_DATA)
        return found

    def _gtt_modify(self, fields: Fields) -> Any:
        found = self._gtt(fields)
        single = _text(fields, "gtt_type").lower() == "single"
        if single != (found.kind == "single"):
            raise Refusal(_NO_GTT)
        done = self.desk.gtt_modify(found.id, self._legs(fields, found.contract, found.kind))
        return {"gtt_order_id": done.id, "message": "Order Modified Successfully"}

    def _gtt_cancel(self, fields: Fields) -> Any:
        done = self.desk.gtt_cancel(self._gtt(fields).id)
        said = "Your request for order cancellation successfully submitted !"
        return {"gtt_order_id": done.id, "message": said}

    def _gtt_book(self, fields: Fields) -> Any:
        items = self.desk.gtt_book(self._exchange(fields), *self._days(fields))
        return some([desk_rows.gtt(item) for item in items])


def some(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows, or say as the broker does that there are none."""
    if not found:
        raise Refusal(NO_DATA)
    return found


def _echo(item: Mapping[str, Any]) -> dict[str, str]:
    """Return a position of the margin calculator as the broker repeats it."""
    expiry = rows.day(_text(item, "expiry_date"))
    return {
        "strike_price": _text(item, "strike_price"), "quantity": _text(item, "quantity"),
        "right": _text(item, "right").title(), "product": _text(item, "product").title(),
        "action": _text(item, "action").title(), "price": _text(item, "price"),
        "expiry_date": dated(expiry) if expiry else "",
        "stock_code": f"{_text(item, 'stock_code').upper():<6}",
    }  # fmt: skip
