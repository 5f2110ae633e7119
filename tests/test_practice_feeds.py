"""The order stream: notifications without a room, and rooms of recommendations."""

import pytest
from test_practice_desk_rest import ITC, below, good, token, v1
from test_practice_streams import Bare, start, stop

from breeze_lab.practice.wire import layouts

__all__ = ["below", "good", "token", "v1"]

#: The SDK's names of the 28 and the 19 elements, by what they say of a frame.
LENGTHS = {"one_click_fno": 28, "i_click_2_gain": 19}

MORNING = "2026-11-20T10:00"


def orders_of(client, order_id, last):
    """Return the frames of an order until one has a status in `last`."""
    found = []
    while not found or found[-1]["status"] not in last:
        event, frame = client.event()
        assert event == "order"
        names = layouts.CASH_ORDER if len(frame) == 47 else layouts.DERIVATIVE_ORDER
        values = layouts.named(frame, names)
        if values["reference"] == order_id:
            found.append(values)
    return found


def until_silent(client):
    """Return the events until none has come for a while in which several would."""
    found = []
    while True:
        try:
            found.append(client.event(1.5))
        except TimeoutError:
            return found


def test_every_socket_of_the_owner_hears_every_change(practice, good, below):
    """Two sockets that joined nothing hear an order placed, modified and cancelled, in order."""
    with Bare(practice, "feeds_url") as one, Bare(practice, "feeds_url") as two:
        placed = good("POST", "order", ITC | {"price": below})["order_id"]
        wanted = {"exchange_code": "NSE", "order_id": placed}
        good("PUT", "order", {**wanted, "quantity": "4"})
        good("DELETE", "order", wanted)
        heard = [orders_of(client, placed, {"C"}) for client in (one, two)]
    assert heard[0] == heard[1]
    states = [values["status"] for values in heard[0]]
    assert states[:2] == ["R", "O"]
    assert states[-1] == "C"
    sequence = [values["message_sequence"] for values in heard[0]]
    assert sequence == sorted(set(sequence))
    assert {values["quantity"] for values in heard[0]} == {"3", "4"}
    final = heard[0][-1]
    assert (final["open_quantity"], final["cancelled_quantity"]) == ("0", "4")
    assert final["limit_rate"] == f"{float(below) * 100:.0f}"
    assert final["message_type"] == "4"


def test_an_execution_is_told_with_its_average(practice, good, below):
    """Type 5 with the executed quantity and the average rate in rupees."""
    last = good("GET", "quotes", {"stock_code": "ITC", "exchange_code": "NSE"})[0]["ltp"]
    with Bare(practice, "feeds_url") as client:
        placed = good("POST", "order", ITC | {"price": f"{last * 1.03 // 1:.2f}"})["order_id"]
        done = orders_of(client, placed, {"E"})[-1]
    assert (done["message_type"], done["executed_quantity"], done["open_quantity"]) == (
        "5",
        "3",
        "0",
    )
    (row,) = good("GET", "order", {"exchange_code": "NSE", "order_id": placed})
    assert float(done["average_rate"]) == pytest.approx(float(row["average_price"]), abs=1e-4)


def test_the_quote_stream_hears_no_orders(practice, good, below):
    """Orders go to the feeds sockets alone."""
    with Bare(practice, "stream_url") as quotes, Bare(practice, "feeds_url") as feeds:
        placed = good("POST", "order", ITC | {"price": below})["order_id"]
        orders_of(feeds, placed, {"O"})
        with pytest.raises(TimeoutError):
            quotes.event(0.3)
    good("DELETE", "order", {"exchange_code": "NSE", "order_id": placed})


@pytest.mark.parametrize("room", LENGTHS)
def test_a_recommendation_comes_on_joining(practice, room):
    """An initiated call at once, to each who joins, and the same to both."""
    heard = []
    for _ in range(2):
        with Bare(practice, "feeds_url") as client:
            client.emit("join", room)
            event, frame = client.event()
            assert event == "stock"
            assert len(frame) == LENGTHS[room]
            assert all(isinstance(item, str) for item in frame)
            heard.append(frame)
    assert heard[0] == heard[1] or heard[0][0] != heard[1][0]
    if room == "one_click_fno":
        assert heard[0][3] == "Call Initiated"


@pytest.fixture
def fast(tmp_path):
    """A market whose quarter of an hour lasts four seconds."""
    process, record = start(
        "--speed", "225", "--keep-sessions", "--no-limits", "--at", MORNING, home=tmp_path
    )
    yield record
    stop(process)


def test_calls_are_updated_and_replaced_as_time_passes(fast):
    """Updates of one call, then another call; after leaving, silence."""
    with Bare(fast, "feeds_url") as client:
        client.emit("join", ["one_click_fno"])
        frames = []
        while len({frame[2] for frame in frames}) < 2 or len(frames) < 5:
            frames.append(client.event(30)[1])
        newer = [frame for frame in frames if frame[2] != frames[0][2]]
        assert newer[0][:2] == [newer[0][0]] * 2  # first as it was made, then as it stands
        assert newer[0][3] == "Call Initiated"
        first = [frame for frame in frames if frame[2] == frames[0][2]]
        assert len({frame[1] for frame in first}) == len(first) or len(first) == 1
        assert {frame[0] for frame in first} == {frames[0][0]}
        assert all(frame[:1] + frame[4:17] == first[0][:1] + first[0][4:17] for frame in first)
        client.emit("leave", "one_click_fno")
        client.emit("join", "nonsense")
        assert len(until_silent(client)) <= 2  # what was on its way


def test_the_same_seed_recommends_the_same(tmp_path):
    """Two processes of one seed say the same call of the same quarter of an hour."""
    processes = [start("--seed", "7", home=tmp_path) for _ in range(2)]
    try:
        frames = []
        for _, record in processes:
            with Bare(record, "feeds_url") as client:
                client.emit("join", "i_click_2_gain")
                frames.append(client.event()[1])
        same_quarter = frames[0][10] == frames[1][10]
        assert frames[0] == frames[1] or not same_quarter
    finally:
        for process, _ in processes:
            stop(process)


def test_order_frames_reach_a_reconnected_socket(practice, good, below):
    """Nothing must be joined again: a new socket hears the next change."""
    with Bare(practice, "feeds_url") as gone:
        gone.emit("disconnect", "transport close")
    with Bare(practice, "feeds_url") as client:
        placed = good("POST", "order", ITC | {"price": below})["order_id"]
        assert orders_of(client, placed, {"O"})
        good("DELETE", "order", {"exchange_code": "NSE", "order_id": placed})
