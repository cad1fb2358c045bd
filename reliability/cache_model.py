"""I4, exhaustively: every order of the steps of the cache's protocol in a small world. Who is served something stale?

The steps are those of the code, one for each thing that happens at once: a script in Redis, a call of `Local`, a
statement of PostgreSQL, a message taken off a subscription. A `tick` is more than a second in which nobody does
anything: cells whose read began before are over, and so is what is brought of such a read. The world has one customer,
two writers (one in a process that serves, one in a worker) and readers in two processes that serve, of which the second
begins to listen at some time.

The protocol must be clean, with each fault; each variant that leaves something out must be seen to be dirty.

What is asked: a read that began after a commit and is answered with less is *stale*. Without a fault there must be
none. With one, none may be left after a tick: neither served to who began after it, nor kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from reliability.every_order import every_order, try_protocols
from reliability.figures import Figures, Scale

Version = int
Born = int
"""How many ticks there had been when the read of it began."""
Held = tuple[Version, Born] | None

WRITER_PROCESSES = (0, None)
"""Of each writer: the serving process whose own tier it floors; None for a worker, which keeps nothing."""


@dataclass(frozen=True)
class Protocol:
    """What is done, and what can happen. Each weaker variant is one that somebody might take for good enough."""

    redis: bool = True
    local: bool = True
    write_ahead: bool = True
    floors: bool = True
    acknowledged: bool = True
    aged_from_read: bool = True
    floor_outlives_commit: bool = True
    keeps_refused: bool = False
    keeps_unheard: bool = False
    readers: tuple[int, ...] = (0, 1, 1)
    """The process of each."""
    writers: int = 2
    ticks: int = 0
    wipes: int = 0
    crashes: int = 0
    losses: int = 0
    cuts: int = 0
    """Commands that Redis does not carry out, for writers and readers alike."""


class Writer(NamedTuple):
    step: str = "begin"
    version: Version = 0


class Reader(NamedTuple):
    step: str = "begin"
    born: Born = 0
    must: Version = 0
    """What was committed when it began."""
    due: Version = 0
    """What was committed a tick before it began."""
    has: Version = 0
    deadline: bool = False
    """Whether Redis gave it one."""
    heard: bool = False
    """Whether its process listened when it began."""


class World(NamedTuple):
    committed: Version = 0
    due: Version = 0
    """What was committed when the last tick came."""
    locked: int | None = None
    tick: int = 0
    cell: Held = None
    floor: Held = None
    cells: tuple[Held, ...] = (None, None)
    floors: tuple[Version, ...] = (0, 0)
    listening: tuple[bool, ...] = (True, False)
    queues: tuple[tuple[tuple[Version, int | None], ...], ...] = ((), ())
    """What each process has still to hear, and which writer waits for it."""
    writers: tuple[Writer, ...] = ()
    readers: tuple[Reader, ...] = ()
    wipes: int = 0
    crashes: int = 0
    losses: int = 0
    cuts: int = 0

    @property
    def at_fault(self) -> bool:
        return bool(self.wipes or self.losses or self.cuts)


def put(of: tuple[Any, ...], index: int, value: object) -> Any:
    return (*of[:index], value, *of[index + 1 :])


class Found(Exception):
    """Something stale was served, or is left; the message says what."""


ONE_WRITER = Protocol(writers=1, readers=(0, 1))
CLEAN = {
    "no fault": replace(ONE_WRITER, writers=2),
    "writers die": replace(ONE_WRITER, crashes=1, ticks=1),
    "writers die, three readers": replace(ONE_WRITER, readers=(0, 1, 1), crashes=1),
    "Redis is emptied": replace(ONE_WRITER, wipes=1, ticks=1),
    "a message is lost or late": replace(ONE_WRITER, losses=1, ticks=1),
    "Redis does not answer": replace(ONE_WRITER, cuts=1, ticks=1),
    "Redis alone": replace(ONE_WRITER, local=False, wipes=1, crashes=1, cuts=1, ticks=1),
    "the process alone": replace(ONE_WRITER, redis=False, crashes=1, losses=1, ticks=1),
}
AT_NIGHT = {
    "no fault, readers beside each other": replace(ONE_WRITER, writers=2, readers=(1, 1)),
    "two writers die": replace(ONE_WRITER, writers=2, readers=(1, 1), crashes=1),
    "everything at once": replace(ONE_WRITER, wipes=1, crashes=1, losses=1, cuts=1, ticks=1),
    "Redis alone, two writers": Protocol(local=False, readers=(0, 0), wipes=1, crashes=1, ticks=1),
    "the process alone, two writers": Protocol(redis=False, crashes=1, losses=1, ticks=1),
}
ON_ONE_SIDE = replace(ONE_WRITER, readers=(1, 1))
DIRTY = {
    "no floor before the commit": replace(ONE_WRITER, write_ahead=False),
    "no floor at all": replace(ONE_WRITER, floors=False),
    "nobody says that he heard": replace(ON_ONE_SIDE, acknowledged=False),
    "age counted from the fill": replace(ONE_WRITER, aged_from_read=False, wipes=1, ticks=1),
    "a floor shorter than a transaction": replace(ONE_WRITER, floor_outlives_commit=False, ticks=1),
    "kept though Redis refused it": replace(ON_ONE_SIDE, keeps_refused=True),
    "kept though read before listening": replace(ONE_WRITER, readers=(0, 1, 1), keeps_unheard=True),
}


def run(scale: Scale, seed: int) -> Figures:
    figures = Figures("I4", "cache protocol, every order", seed)
    sound = CLEAN | AT_NIGHT if scale.long else CLEAN
    with figures.timed():
        try_protocols(
            figures, sound, DIRTY, explored, Found, found="something stale is ", unseen="nothing stale is found"
        )
    return figures


def explored(protocol: Protocol) -> int:
    """How many states there are. Raises Found at the first in which something is stale that must not be."""
    start = World(
        writers=(Writer(),) * protocol.writers,
        readers=tuple(Reader() for _ in protocol.readers),
        listening=(True, not (protocol.redis and protocol.local)),
    )
    return every_order(start, lambda world: steps(protocol, world), lambda world, _: check_left(world))


def check_left(world: World) -> None:
    kept = [world.cell, *world.cells]
    if any(one is not None and one[0] < world.due for one in kept):
        raise Found("left after a tick")


def served(protocol: Protocol, world: World, reader: Reader, version: Version) -> None:
    if version < reader.due:
        raise Found("served after a tick")
    exact = protocol.redis or not protocol.local
    if version < reader.must and exact and not world.at_fault:
        raise Found("served without a fault")


def steps(protocol: Protocol, world: World) -> Iterator[World]:
    for index, writer in enumerate(world.writers):
        yield from write(protocol, world, index, writer)
    for index, reader in enumerate(world.readers):
        yield from read(protocol, world, index, reader)
    for process, queue in enumerate(world.queues):
        if queue:
            (version, _), *rest = queue
            heard = world._replace(queues=put(world.queues, process, tuple(rest)))
            yield floored(heard, process, version)
            if world.losses < protocol.losses:
                yield heard._replace(losses=world.losses + 1)
    if not world.listening[1]:
        yield world._replace(listening=(True, True))
    if world.wipes < protocol.wipes:
        yield world._replace(cell=None, floor=None, wipes=world.wipes + 1)
    if world.tick < protocol.ticks:
        yield ticked(protocol, world)


def ticked(protocol: Protocol, world: World) -> World:
    """More than a second goes by; every cell ends whose read began before, or is said to have."""
    tick = world.tick + 1
    floor = world.floor if protocol.floor_outlives_commit else None
    return world._replace(
        tick=tick,
        due=world.committed,
        cell=world.cell if world.cell is not None and world.cell[1] >= tick else None,
        cells=tuple(one if one is not None and one[1] >= tick else None for one in world.cells),
        floor=floor,
    )


def floored(world: World, process: int | None, version: Version) -> World:
    """`Local.floor`."""
    if process is None:
        return world
    held = world.cells[process]
    return world._replace(
        floors=put(world.floors, process, max(version, world.floors[process])),
        cells=put(world.cells, process, held if held is not None and held[0] >= version else None),
    )


def kept(protocol: Protocol, world: World, process: int, reader: Reader, born: Born) -> World:
    """`Local.fill`."""
    version, over = reader.has, born < world.tick
    listens = reader.heard or (protocol.keeps_unheard and world.listening[process])
    if not protocol.local or not listens or over or version < world.floors[process]:
        return world
    held = world.cells[process]
    if held is not None and held[0] > version:
        return world
    return world._replace(cells=put(world.cells, process, (version, born)))


def write(protocol: Protocol, world: World, index: int, writer: Writer) -> Iterator[World]:
    """`Database.transaction` with `Announcements.before` and `after`."""

    def then(step: str, of: World = world, version: Version = writer.version) -> World:
        return of._replace(writers=put(of.writers, index, Writer(step, version)))

    own = WRITER_PROCESSES[index]
    match writer.step:
        case "begin" if world.locked is None:
            version = world.committed + 1
            locked = world._replace(locked=index)
            yield then("floor" if protocol.write_ahead and protocol.floors else "commit", locked, version)
        case "floor" | "floor again":
            after = writer.step == "floor again"
            here = floored(world, own, writer.version) if protocol.local else world
            if not protocol.redis:
                # PostgreSQL tells it, after the commit.
                yield then("done" if after else "commit", published(world=here, writer=writer) if after else here)
                return
            yield then("tell again" if after else "tell", redis_floored(here, writer.version))
            if world.cuts < protocol.cuts:
                yield then("done" if after else "commit", here._replace(cuts=world.cuts + 1))
        case "tell" | "tell again":
            after = writer.step == "tell again"
            following = "done" if after else "wait" if protocol.acknowledged else "commit"
            told = published(world, writer, waits=None if after else index) if protocol.local else world
            yield then(following, told)
        case "wait" if not any(one[1] == index for queue in world.queues for one in queue):
            yield then("commit")
        case "wait" if world.losses < protocol.losses:
            yield then("commit", world._replace(losses=world.losses + 1))  # waited long enough
        case "commit":
            committed = world._replace(committed=writer.version, locked=None)
            yield then("floor again" if protocol.floors else "forget", committed)
            yield then("done", world._replace(locked=None))  # rolled back
            if world.crashes < protocol.crashes:
                yield then("done", committed._replace(crashes=world.crashes + 1))
        case "forget":  # without floors: what is cached is deleted, as most do
            own_cells = put(world.cells, own, None) if own is not None else world.cells
            yield then("done", world._replace(cell=None, cells=own_cells))
        case _:
            return


def redis_floored(world: World, version: Version) -> World:
    """`_FLOOR`."""
    floor = world.floor[0] if world.floor is not None else -1
    if floor > version:
        return world
    return world._replace(cell=world.cell if floor == version else None, floor=(version, world.tick))


def published(world: World, writer: Writer, waits: int | None = None) -> World:
    """`_TELL`, or PostgreSQL's NOTIFY: to all who listen."""
    queues = tuple(
        (*queue, (writer.version, waits)) if listens else queue
        for queue, listens in zip(world.queues, world.listening, strict=True)
    )
    return world._replace(queues=queues)


def read(protocol: Protocol, world: World, index: int, reader: Reader) -> Iterator[World]:
    """`Cache.read`."""
    process = protocol.readers[index]

    def then(reader: Reader, of: World = world) -> World:
        return of._replace(readers=put(of.readers, index, reader))

    def answered(of: World, version: Version) -> World:
        served(protocol, of, reader, version)
        return of._replace(readers=put(of.readers, index, Reader("done")))

    match reader.step:
        case "begin":
            begun = reader._replace(
                must=world.committed, due=world.due, born=world.tick, heard=world.listening[process]
            )
            held = world.cells[process] if protocol.local and world.listening[process] else None
            if held is not None:
                reader = begun
                yield answered(world, held[0])
            else:
                yield then(begun._replace(step="redis" if protocol.redis else "postgresql"))
        case "redis":
            if world.cell is not None:
                version, born = world.cell
                yield then(
                    reader._replace(step="hit", has=version, born=born if protocol.aged_from_read else world.tick)
                )
            else:
                yield then(reader._replace(step="postgresql", deadline=True, born=world.tick))
            if world.cuts < protocol.cuts:
                cut = world._replace(cuts=world.cuts + 1)
                yield then(reader._replace(step="postgresql", born=world.tick), cut)
        case "hit":
            yield answered(kept(protocol, world, process, reader, reader.born), reader.has)
        case "postgresql":
            following = "fill" if reader.deadline else "keep"
            yield then(reader._replace(step=following, has=world.committed))
        case "fill":
            yield from fill(protocol, world, reader, then)
        case "keep" | "refused":
            born = reader.born if protocol.aged_from_read else world.tick
            keeps = reader.step == "keep" or protocol.keeps_refused
            keeping = kept(protocol, world, process, reader, born) if keeps else world
            yield answered(keeping, reader.has)
        case _:
            return


def fill(protocol: Protocol, world: World, reader: Reader, then: Callable[..., World]) -> Iterator[World]:
    """`_FILL`: refused after its deadline, or below the floor."""
    born = reader.born if protocol.aged_from_read else world.tick
    floor = world.floor[0] if world.floor is not None else -1
    late = protocol.aged_from_read and reader.born < world.tick
    if late or (protocol.floors and floor > reader.has):
        yield then(reader._replace(step="refused"))
    else:
        floors = (max(floor, reader.has), world.tick) if protocol.floors else None
        yield then(reader._replace(step="keep"), world._replace(cell=(reader.has, born), floor=floors))
    if world.cuts < protocol.cuts:
        yield then(reader._replace(step="keep"), world._replace(cuts=world.cuts + 1))
