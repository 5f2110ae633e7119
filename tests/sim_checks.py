"""What must hold at the end of a simulated day, whatever happened in it.

The project's promises, and what holds each of them here; what says "elsewhere" has nothing to do
with the order of events, and tests of its own.

==  ===================================  =====================================================
1   trouble is loud                      a tick that does not come is told (`Kernel.faults`);
                                         what is not recorded is told, and its end
                                         (`truth_rows`). Names, masters, sessions: elsewhere
2   every instrument has a truth row     `truth_rows`: holders, joined, gap, last sequence, times
3   acknowledged ticks survive           `acknowledged_once`: log or recording, exactly once,
                                         after every recovery; `unfinished`: days are recorded
    gaps have bounds, cause and state    `_wrong_gaps` of `sim_kernel`; `_outside_gaps`: what was
                                         not heard was sent within one
    bars say what they miss              `_wrong_bars` of `sim_kernel`, against what was traded
4   one upstream connection              `faults`, at every moment, counted at the broker
    the union of the living              `faults`: joined at the broker is what is wanted
    notebooks come back                  `came_back`: the day's bars and the last tick
5   calls stay within their budget       elsewhere (`test_limits`): nothing here calls
6   no secret in any sink                `_secrets`: the token is in no file
7   the same seed, the same day          `test_a_seed_tells_the_same_story_twice`; the practice
                                         market's own: elsewhere
==  ===================================  =====================================================
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sim_kernel import TOKEN, key_of, number_of
from sim_recorder import kept

from breeze_lab.feed import FeedTick, Gap
from breeze_lab.relay import days

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sim_kernel import Kernel, Wish
    from sim_world import World

__all__ = ["acknowledged_once", "came_back", "faults", "truth_rows", "unfinished"]

#: A bar that nobody wants is forgotten after this long, so a notebook must be back sooner.
BACK_SOON_S = 4.0
#: Rounding, and the way through the network.
HAIR_S = 0.01
#: The slowest network of a simulation.
SLOWEST_S = 3.1


def faults(world: World) -> Iterator[str]:
    """Yield what was wrong in a day that is over."""
    for kernel in world.kernels:
        yield from kernel.faults()
        for wish in kernel.wishes:
            for fault in (*_not_up_to_date(world, kernel, wish), *_outside_gaps(world, wish)):
                yield f"{kernel.name} {wish.room}: {fault}"
    if world.broker.most > 1:
        yield f"{world.broker.most} connections upstream at once"
    if world.broker.joined != world.wanted:
        yield f"joined {sorted(world.broker.joined)}, wanted {sorted(world.wanted)}"
    yield from acknowledged_once(world)
    yield from _secrets(world)


def _not_up_to_date(world: World, kernel: Kernel, wish: Wish) -> Iterator[str]:
    """Yield what a living notebook does not know although all is well again."""
    if not kernel.alive or wish.released:
        return
    ticks = wish.ticks
    newest = ticks[-1] if ticks else wish.snapshot and wish.snapshot.ticks.get(key_of(wish.room))
    number = number_of(newest) if newest else 0
    if number not in _newest(world, wish.room):
        yield f"knows {number} of {world.broker.numbers[wish.room]}"


def _newest(world: World, room: str) -> set[int]:
    """Return the numbers that the last frame of a room may have: of wild ones, the late one's."""
    newest = world.broker.numbers[room]
    return {newest, newest - 1} if (room, newest - 1) in world.broker.late else {newest}


def _outside_gaps(world: World, wish: Wish) -> Iterator[str]:
    """Yield frames that the relay did not hear, and that were sent outside of all gaps told."""
    if world.jumped or wish.delivery != "every" or wish.room in world.broker.wild:
        return
    gaps = [
        (event.start.timestamp(), event.end.timestamp())
        for _, event in wish.heard
        if isinstance(event, Gap) and event.end is not None
    ]
    slowest_s = SLOWEST_S if world.slowed else 0.0
    last: FeedTick | None = None
    for tick in wish.ticks:
        before, last = last, tick
        if before is None or tick.sequence != before.sequence + 1:
            continue
        for number in range(number_of(before) + 1, number_of(tick)):
            sent = world.true_wall(world.broker.sent_at[wish.room, number])
            if not any(start - HAIR_S - slowest_s <= sent <= end + HAIR_S for start, end in gaps):
                yield f"{number} was sent at {sent:.3f}, in no gap of {gaps}"


def acknowledged_once(world: World) -> Iterator[str]:
    """Yield ticks that a notebook was told and that are not on the disk exactly once."""
    found = kept("practice")
    told: Counter[Any] = Counter()
    for kernel in world.kernels:
        for wish in kernel.wishes:
            if wish.delivery == "every":
                told.update(
                    (wish.room, tick.epoch, tick.sequence, tick.received_ms, number_of(tick))
                    for tick in wish.ticks
                )
    for frame in told:
        if found[frame] != 1 and frame not in world.unrecorded:
            yield f"{frame} was told and is {found[frame]} times on the disk"


def came_back(world: World) -> Iterator[str]:
    """Yield what notebooks that were killed and came back soon were not given again."""
    if world.filled or world.jumped or world.night:
        return
    for kernel, former, died_at in world.returned:
        held = [wish for wish in former.wishes if not wish.released]
        for new, old in zip(kernel.wishes, held, strict=False):
            if (
                new.snapshot is None
                or old.snapshot is None
                or new.attached_at > died_at + BACK_SOON_S
            ):
                continue
            key = key_of(new.room)
            heard = max((tick.sequence for tick in old.ticks), default=0)
            last = new.snapshot.ticks.get(key)
            if heard and (last is None or last.sequence < heard):
                yield f"{kernel.name} heard {heard} of {key} and came back to {last}"
            given = {
                (one.bar.interval, one.bar.start): one
                for some in new.snapshot.bars.values()
                for one in some
            }
            for one in old.closed_bars().values():
                again = given.get((one.bar.interval, one.bar.start))
                if again is None or again.bar != one.bar:
                    yield f"{kernel.name} had {one} and came back to {again}"


def truth_rows(world: World, status: dict[str, Any]) -> Iterator[str]:
    """Yield what the relay's status tells that is not so."""
    rows = {row["room"]: row for row in status["instruments"] if row["consumers"]}
    if rows.keys() != world.wanted:
        yield f"rows of {sorted(rows)}, wanted {sorted(world.wanted)}"
    for room, row in rows.items():
        yield from _wrong_row(world, room, row)
    if status["consumers"] != len(world.living):
        yield f"{len(world.living)} notebooks live, the relay counts {status['consumers']}"
    if not status["wal"]["recording"]:
        yield f"nothing is recorded: {status['wal']['error']}"
    for kernel in world.living:
        if kernel.feed.unrecorded:
            yield f"{kernel.name} believes that nothing is recorded: {kernel.feed.unrecorded}"


def _wrong_row(world: World, room: str, row: dict[str, Any]) -> Iterator[str]:
    """Yield what the truth row of a room tells that is not so."""
    holders = sum(room in kernel.rooms for kernel in world.living)
    # What has not ticked since the last connection may still be silent.
    over = row["gap"] is not None and row["last_ms"] > row["gap"][1]
    if row["consumers"] != holders or not row["joined"] or over:
        yield f"{room} has {holders} holders and is joined without a gap, the row says {row}"
    heard = {
        wish.ticks[-1].sequence
        for kernel in world.living
        for wish in kernel.wishes
        if wish.room == room and not wish.released and wish.ticks
    }
    if heard - {row["sequence"]}:
        yield f"{room} ended with {heard}, the row says {row['sequence']}"
    if world.jumped:
        return
    if not row["asked_ms"] or (row["ticks"] and not row["first_ms"] <= row["last_ms"]):
        yield f"{room} has times that cannot be: {row}"


def _secrets(world: World) -> Iterator[str]:
    """Yield files that hold the token; the practice login is remembered on purpose."""
    for path in world.home.rglob("*"):
        if (
            path.is_file()
            and path.name != "relay-login.json"
            and TOKEN.encode() in path.read_bytes()
        ):
            yield f"{path.name} holds the token"


def unfinished(world: World) -> Iterator[str]:
    """Yield days that are over, whose recorder was let be, and that are not recorded."""
    for place in days.places("practice"):
        if place.day < world.today and not place.ticks.exists():
            yield f"{place.day} is not recorded"
