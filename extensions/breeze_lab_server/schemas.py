"""Shapes of what the routes answer, as JSON Schema (the dialect of OpenAPI 3.1).

Plain values, joined into the document by `breeze_lab_server.openapi`.
"""

from __future__ import annotations

from typing import Any, Final

from breeze_lab.jobs.records import ENDS
from breeze_lab.shares.links import CLASSES

__all__ = ["SCHEMAS", "ref"]


def ref(name: str) -> dict[str, str]:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": [kind, "null"], **more}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _map(
    properties: dict[str, Any], *, optional: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    """Return an object with these properties and no others."""
    required = [name for name in properties if name not in optional]
    return {
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": False, **more,
    }  # fmt: skip


_TEXT: Final = {"type": "string"}
_BOOL: Final = {"type": "boolean"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_PRICE: Final = _or_null("number", description="Rupees.")
_SHARES: Final = _or_null("integer", description="Shares; contracts times lot for derivatives.")
_MARKET: Final = {"type": "string", "enum": ["icici", "practice"]}
_AGE: Final = _or_null("number", minimum=0)
_TIME: Final = {"type": "string", "format": "date-time", "description": "Asia/Kolkata."}
_TIME_OR_NULL: Final = {**_TIME, "type": ["string", "null"]}
_INTERVAL: Final = {
    "type": "string", "enum": ["1s", "5s", "1m", "3m", "5m", "15m", "30m", "1h", "1d"],
}  # fmt: skip

_ROW: Final = _map(
    {
        "key": {"type": "string", "description": "Our name: NSE:RELIANCE."},
        "label": _TEXT, "symbol": _TEXT, "stock_code": _TEXT, "exchange": _TEXT, "name": _TEXT,
        "kind": _TEXT, "isin": _or_null("string"), "token": _TEXT,
        "lot_size": {"type": "integer"}, "tick_size": {"type": "number"},
        "expiry": _or_null("string", format="date"), "strike": _or_null("number"),
        "right": _or_null("string"),
        "room": _or_null("string", description="The broker's room; null where nothing streams."),
        "anchor_s": {
            "type": "integer",
            "description": "Seconds after IST midnight at which bars start to count.",
        },
    },
    description="An instrument: what a row shows and what a subscription needs.",
)  # fmt: skip

_QUOTE: Final = _map(
    {
        "name": {"type": "string", "description": "As it was asked for."},
        "key": _TEXT,
        "source": {
            "enum": ["relay", "rest", None],
            "description": "The relay's last tick, the broker's answer, or none.",
        },
        "age_s": {**_AGE, "description": "Seconds since we received it."},
        "trade_age_s": {**_AGE, "description": "Seconds since the trade, by the exchange's time."},
        "time": _TIME_OR_NULL, "received": _TIME_OR_NULL,
        "sequence": _or_null("integer", description="Counts the frames of the room."),
        "epoch": _or_null("integer", description="Counts the relay's connections to the broker."),
        "last": _PRICE, "open": _PRICE, "high": _PRICE, "low": _PRICE, "previous_close": _PRICE,
        "change_percent": _or_null("number"), "bid": _PRICE, "bid_quantity": _SHARES,
        "ask": _PRICE, "ask_quantity": _SHARES, "last_quantity": _SHARES,
        "average_price": _PRICE, "volume": _SHARES, "open_interest": _SHARES,
        "message": _or_null("string", description="Why there is no price, and what to do."),
    }
)  # fmt: skip

_CANDLE: Final = _map(
    {
        "start": _TIME, "open": {"type": "number"}, "high": {"type": "number"},
        "low": {"type": "number"}, "close": {"type": "number"}, "volume": _COUNT,
        "open_interest": _SHARES,
        "complete": {"type": "boolean", "description": "False while it forms."},
        "source": {"enum": ["relay", "history"]},
    }
)  # fmt: skip

_LEASE: Final = _map(
    {
        "id": _TEXT, "client": _TEXT, "market": _MARKET,
        "state": {"enum": ["starting", "held", "waiting for the relay"]},
        "lease_s": {"type": "number", "minimum": 2, "maximum": 600},
        "left_s": {"type": "number", "minimum": 0},
        "keys": _list(_TEXT), "bars": _list(_INTERVAL),
    }
)  # fmt: skip

_RUN: Final = {
    "id": _COUNT, "job": _TEXT, "due": _TIME, "cause": _TEXT,
    "state": {"enum": ["due", "waiting", "running", *ENDS]},
    "late": _BOOL, "attempt": _COUNT, "cell": _COUNT, "cells": _COUNT, "message": _TEXT,
    "started": _or_null("number", description="Unix seconds."),
    "ended": _or_null("number", description="Unix seconds."),
    "wanted": {"type": "string", "description": "What it is being ended for."},
    "output": {"type": "string", "description": "File name of the finished notebook."},
}  # fmt: skip

SCHEMAS: Final[dict[str, Any]] = {
    "Error": _map(
        {
            "error": {"type": "string", "description": "Kind: InstrumentNotFound, Forbidden …"},
            "message": {"type": "string", "description": "What happened and what to do."},
            "nearest": {**_list(_TEXT), "description": "Keys that could have been meant."},
        }
    ),
    "Truth": _map(
        {
            "says": {
                "type": "object", "additionalProperties": _TEXT,
                "description": "Headings and their words; no upstream where no relay answered.",
            },
            "rows": _list(_map(
                {
                    "key": _TEXT,
                    "mood": {"enum": ["waiting", "live", "quiet", "silent", "closed", "off"]},
                    "joined": _BOOL,
                    "asked": _TEXT, "first": _TEXT, "last": _TEXT,
                    "ticks": {**_COUNT, "description": "Since the IST midnight."},
                    "gaps": _COUNT, "consumers": _COUNT, "age_s": _AGE,
                    "gap": {"type": "string", "description": "The cause of one that is open."},
                }
            )),
            "clients": _list(_map(
                {
                    "name": _TEXT, "keys": _COUNT, "waiting": _COUNT, "delivered": _COUNT,
                    "lost": _COUNT,
                }
            )),
            "mood": {"enum": ["live", "waiting", "off"]},
            "market": {"type": "string", "description": "Empty before a login."},
            "now_ms": {"type": "integer", "description": "When it was read, Unix milliseconds."},
        }
    ),
    "Status": _map(
        {
            "relay": {
                "type": "object", "required": ["running"],
                "properties": {
                    "running": _BOOL, "pid": {"type": "integer"}, "error": _TEXT,
                    "version": _TEXT, "uptime_s": {"type": "number"}, "rooms": _list(_TEXT),
                    "frames": _COUNT, "ticks": _COUNT, "malformed": _COUNT, "unasked": _COUNT,
                    "last_tick_age_s": _or_null("number"), "consumers": _COUNT,
                    "clients": _list({"type": "object"}), "instruments": _list({"type": "object"}),
                },
                "description": "What the relay says of itself; more fields may come.",
            },
            "upstream": {
                "type": ["object", "null"],
                "required": ["state", "endpoints", "account", "since", "until", "error", "epoch"],
                "properties": {
                    "state": {"enum": ["offline", "connecting", "connected", "refused"]},
                    "epoch": _COUNT,
                },
                "description": "The connection to the broker; null when no relay runs.",
            },
            "browsers": {"type": "integer", "description": "Open websockets."},
        }
    ),
    "Quotes": _map({"market": _MARKET, "now": _TIME, "quotes": _list(_QUOTE)}),
    "Candles": _map(
        {
            "key": _TEXT, "interval": _INTERVAL, "market": _MARKET, "start": _TIME, "end": _TIME,
            "now": _TIME,
            "calls": {**_COUNT, "description": "What it cost of the call budget."},
            "candles": _list(_CANDLE),
        }
    ),
    "Instruments": _map(
        {
            "groups": _list(_map({"title": _TEXT, "items": _list(_ROW)})),
            "note": {"type": "string", "description": "Why the nearest are shown; often empty."},
            "market": _MARKET,
            "master": _map({"day": {"type": "string", "format": "date"}, "age_s": _AGE}),
        }
    ),
    "Subscription": _LEASE,
    "Subscriptions": _map({"subscriptions": _list(ref("Subscription"))}),
    "NewSubscription": _map(
        {
            "names": {**_list(_TEXT), "maxItems": 200},
            "bars": _list(_INTERVAL), "client": _TEXT, "lease_s": {"type": "number"},
            "id": {"type": "string", "description": "Renews this one; then names are not needed."},
        },
        optional=("names", "bars", "client", "lease_s", "id"),
    ),
    "Ended": _map({"ended": _TEXT}),
    "Catalogue": _map({"indicators": _list(_map({
        "name": _TEXT, "title": _TEXT, "category": _TEXT,
        "overlay": {"type": "boolean", "description": "Over the candles, not in a pane."},
        "parameters": _list({
            "type": "array", "minItems": 3, "maxItems": 3,
            "description": "Name, kind (int, float, bool, str or nothing), usual value.",
        }),
    }))}),
    "Watchlist": _map(
        {
            "keys": _list(_TEXT),
            "items": _list(
                {"anyOf": [_ROW, _map({"key": _TEXT, "gone": {"const": True}})]}
            ),
            "market": _MARKET, "message": _TEXT,
        },
        optional=("message",),
    ),
    "NewWatchlist": _map({"keys": {**_list(_TEXT), "maxItems": 100}}),
    "Session": {
        "type": "object",
        "required": ["state", "broker", "practice", "until", "left_s", "now", "pending"],
        "properties": {
            "state": {"enum": ["none", "good", "ended"]}, "broker": _MARKET, "practice": _BOOL,
            "until": _TIME_OR_NULL, "left_s": _or_null("number"), "now": _TIME,
            "pending": _BOOL, "error": _or_null("string"),
        },
        "description": "Who is logged in, until when, and what a login needs; docs/login.md.",
    },
    "Credentials": _map(
        {"app_key": _TEXT, "secret": _TEXT, "broker": _MARKET}, optional=("broker",)
    ),
    "Paste": _map({"text": _TEXT, "broker": _MARKET}, optional=("broker",)),
    "Serial": _map({"serial": _TEXT}),
    "Form": {"type": "object"},
    "Jobs": _map(
        {
            "now": _TIME, "service": {"type": "boolean", "description": "Whether it runs."},
            "jobs": _list(
                _map(
                    {
                        "name": _TEXT, "notebook": _TEXT, "phrase": _TEXT,
                        "parameters": {"type": "object"}, "market": _MARKET, "session": _TEXT,
                        "catch_up": _TEXT, "alert": _TEXT, "retries": _COUNT,
                        "timeout_s": {"type": "number"}, "active": _BOOL, "next": _list(_TIME),
                    }
                )
            ),
            "runs": _list(_map(_RUN)),
        }
    ),
    "RunWithLog": _map({**_RUN, "log": _TEXT}),
    "Do": _map(
        {
            "do": {"enum": ["cancel", "retry", "run", "pause", "resume", "remove"]},
            "run": {"type": "integer"}, "job": _TEXT,
        },
        optional=("run", "job"),
    ),
    "Did": _map({"run": _or_null("integer")}),
    "Serving": _map(
        {
            "running": {"type": "boolean"}, "starting": {"type": "boolean"},
            "error": _or_null("string"),
        }
    ),
    "Shares": _map({"shares": _list(ref("Share"))}),
    "Share": _map(
        {
            "name": _TEXT, "title": _TEXT, "source": _TEXT, "kind": {"enum": ["chart", "document"]},
            "data": {"enum": list(CLASSES)}, "key": _TEXT, "made": _TIME, "expires": _TIME,
            "opened": _COUNT,
        }
    ),
    "Shared": _map({"share": ref("Share"), "path": _TEXT}),
    "NewShare": _map(
        {
            "config": {"type": "object"}, "figure": {"type": "object"},
            "bars": {**_list(_list({"type": "number"})), "minItems": 6, "maxItems": 6},
            "base": {"type": ["array", "null"], "items": {"type": "number"}},
            "indicators": _list(_TEXT), "data": {"enum": ["auto", *CLASSES]},
            "expires": {"type": "string", "description": "`30m`, `12h`, `7d`; at most 90 days."},
        },
        optional=("base", "indicators", "data", "expires"),
    ),
    "Revoked": _map({"revoked": _TEXT}),
}  # fmt: skip
