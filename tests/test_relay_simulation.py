"""Days of trouble in virtual time: every tick arrives once, or its absence is told.

``BREEZE_LAB_SEED=17`` runs that one again, ``BREEZE_LAB_SEEDS=5000`` more than the usual 500.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os

import pytest
from sim_world import Kernel, World

from breeze_lab.feed import FeedTick
from breeze_lab.relay.intake import Intake

SEEDS = int(os.environ.get("BREEZE_LAB_SEEDS", "500"))
ONLY = os.environ.get("BREEZE_LAB_SEED")
DAY_S = 10.0


async def trouble(world: World) -> None:
    """Do something bad every few seconds."""
    while True:
        await asyncio.sleep(world.dice.expovariate(0.4))
        await world.dice.choice(TROUBLES)(world)


async def kill(world):
    """SIGKILL the relay."""
    world.kill_relay()


async def cut(world):
    """Break the stream."""
    for socket in world.upstream:
        socket.abort()


async def end_politely(world):
    """Send one of Socket.IO's goodbyes, and close."""
    for socket in world.upstream:
        await socket.send(world.dice.choice(["41", "1"]))
        await socket.close()


async def go_down(world):
    """Refuse every connection for a while."""
    world.broker.up = False
    await cut(world)
    await asyncio.sleep(world.dice.uniform(0.5, 5))
    world.broker.up = True


async def swallow(world):
    """Lose what is sent from here on, in one direction or both."""
    for socket in world.upstream:
        ends = [[socket], [socket.peer], [socket, socket.peer]]
        socket.wire.holes.update(world.dice.choice(ends))


async def slow_down(world):
    """Delay everything by seconds."""
    for socket in world.upstream:
        socket.wire.delay_s = (0.5, 3.0)


async def jump(world):
    """Set the machine's clock."""
    world.jump_s += world.dice.uniform(-3600, 3600)


async def fill_the_disk(world):
    """Leave no room for the log for a while."""
    world.full = True
    await asyncio.sleep(world.dice.uniform(0.5, 5))
    world.full = False


TROUBLES = [fill_the_disk, kill, cut, end_politely, go_down, swallow, slow_down, jump]


def live(seed: int, home, monkeypatch) -> str:
    """Live through one day; return its story, which the seed alone decides."""
    world = World(seed, home, monkeypatch)
    story = []

    async def day() -> None:
        kernels = [Kernel(world, f"kernel {number}") for number in range(3)]
        await kernels[0].login()
        for kernel in kernels:
            for room in world.dice.sample(world.rooms, 2):
                await kernel.subscribe(room)
        ticking = asyncio.create_task(world.broker.tick(world.wall, 30.0))
        troubling = asyncio.create_task(trouble(world))
        await asyncio.sleep(DAY_S)
        troubling.cancel()
        world.broker.up = True
        await asyncio.sleep(12)
        ticking.cancel()
        await asyncio.sleep(3)
        for kernel in kernels:
            assert kernel.faults() == []
            for key, heard in kernel.heard.items():
                story.append((key, [(round(at, 6), repr(event)) for at, event in heard]))
                newest = [event for _, event in heard if isinstance(event, FeedTick)][-1]
                assert newest.tick.volume == world.broker.numbers[key.partition("#")[0]]
        assert world.broker.most == 1
        for process in (world.relay, *(kernel.process for kernel in kernels)):
            process.kill()
        await asyncio.sleep(1)

    try:
        world.loop.run_until_complete(asyncio.wait_for(day(), 10 * DAY_S))
    finally:
        for task in asyncio.all_tasks(world.loop):
            task.cancel()
        with contextlib.suppress(RuntimeError):
            world.loop.run_until_complete(asyncio.sleep(0))
        world.loop.close()
    return repr(story)


@pytest.mark.parametrize("seed", [int(ONLY)] if ONLY else range(SEEDS))
def test_whatever_happens_nothing_is_missing_in_silence(seed, tmp_path, monkeypatch):
    """Sequences ascend, one connection at a time, and after the trouble all are live again."""
    live(seed, tmp_path, monkeypatch)


def test_swallowed_tick_is_noticed(tmp_path, monkeypatch):
    """A relay that skips one frame in a hundred without a word does not pass."""
    take, count = Intake.take, itertools.count(1)

    def forgetful(self, raws, **options):
        take(self, [raw for raw in raws if next(count) % 100], **options)

    monkeypatch.setattr(Intake, "take", forgetful)
    with pytest.raises(AssertionError, match="and nothing said"):
        live(1, tmp_path, monkeypatch)


def test_a_seed_tells_the_same_story_twice(tmp_path, monkeypatch):
    """Any failure can be watched again."""
    stories = set()
    for name in ("a", "b"):
        with monkeypatch.context() as patch:
            stories.add(live(3, tmp_path / name, patch))
    assert len(stories) == 1
