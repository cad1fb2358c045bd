"""I7, exhaustively: every order of the steps of opening a checkout in a small world. Who could pay twice?

The steps are those of `commands/open_checkout.py`, one for each thing that happens at once: a transaction, or a call of
Stripe's. The world has one customer, two plans of a group, some tabs that each ask for one, may be cut off anywhere and
ask again, a worker that ends what was cut short, Stripe, which loses answers, refuses to close a page, or is late, and
a person who pays on any page they were shown, whenever it is open. Webhooks come whenever they like, or never.

The protocol must be clean, in each world; each variant that leaves something out must be seen to be dirty.

What is asked: a live subscription and a page that somebody was shown and could pay on are never two, nor are two such
pages. So there never are two subscriptions, whatever the person does next.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from reliability.every_order import every_order, try_protocols
from reliability.figures import Figures, Scale

OPENING, OPEN, COMPLETE, EXPIRED, PAID = "opening", "open", "complete", "expired", "paid"


@dataclass(frozen=True)
class Protocol:
    """What is done, and what can happen. Each weaker variant is one that somebody might take for good enough."""

    intents: bool = True
    """A row is there before Stripe hears of it."""
    locked: bool = True
    """Looking at the rows and adding one is one transaction under the customer's lock."""
    closes: bool = True
    looks_again: bool = True
    """Where a page could not be closed, none is opened."""
    one_key: bool = True
    """A second try asks Stripe under the key of the first."""
    rereads: bool = True
    shows_ended: bool = False
    """A page is shown though its intent was ended while Stripe made it."""
    tabs: tuple[int, ...] = (0, 1)
    """The plan that each asks for."""
    tries: int = 1
    """How often each asks again."""
    crashes: int = 0
    faults: int = 0
    """Calls of Stripe's that fail: not carried out, carried out with the answer lost, or carried out later."""
    looks: int = 1
    """How often the worker looks for an opening that was cut short, whoever may still be at it."""


class Intent(NamedTuple):
    plan: int
    state: str = OPENING
    session: int | None = None


class Session(NamedTuple):
    intent: int
    plan: int
    status: str = OPEN
    shown: bool = False


class Tab(NamedTuple):
    step: str = "decide"
    again: bool = False
    """It looks for the second time, after it closed the others' pages and read Stripe."""
    intent: int | None = None
    rivals: tuple[int, ...] = ()
    session: int | None = None
    seen: tuple[Any, ...] = ()
    tries: int = 0


class World(NamedTuple):
    tabs: tuple[Tab, ...]
    intents: tuple[Intent, ...] = ()
    sessions: tuple[Session, ...] = ()
    known: int | None = None
    """The plan of the subscription that we know of."""
    late: tuple[int, ...] = ()
    """The intents whose request for a page is still on its way to Stripe, from somebody who waits no more."""
    looked: tuple[int, int | None] | None = None
    """The worker's: an intent, and what Stripe has of it."""
    looks: int = 0
    crashes: int = 0
    faults: int = 0

    def with_intent(self, index: int, intent: Intent) -> "World":
        return self._replace(intents=put(self.intents, index, intent))

    def with_session(self, index: int, session: Session) -> "World":
        return self._replace(sessions=put(self.sessions, index, session))


def put(of: tuple[Any, ...], index: int, value: object) -> Any:
    return (*of[:index], value, *of[index + 1 :])


class Twice(Exception):
    """Somebody has paid twice, or could."""


TWO_TABS = Protocol(tries=0)
CLEAN = {
    "two tabs, one cut off, Stripe fails": replace(TWO_TABS, crashes=1, faults=1),
    "two tabs ask again, one cut off": replace(TWO_TABS, tries=1, crashes=1, looks=0),
    "two tabs ask again, Stripe fails": replace(TWO_TABS, tries=1, faults=1, looks=0),
    "the same twice, cut off, Stripe fails": replace(TWO_TABS, tabs=(0, 0), crashes=1, faults=1),
    "three tabs": replace(TWO_TABS, tabs=(0, 1, 0)),
}
AT_NIGHT = {
    "two tabs ask again, one cut off, Stripe fails": replace(TWO_TABS, tries=1, crashes=1, faults=1, looks=0),
    "two tabs ask again, the worker beside them": replace(TWO_TABS, tries=1, crashes=1),
    "two tabs ask again, Stripe fails, the worker beside them": replace(TWO_TABS, tries=1, faults=1),
    "two tabs, everything twice": replace(TWO_TABS, crashes=2, faults=2, looks=2),
    "three tabs, one is cut off": replace(TWO_TABS, tabs=(0, 1, 0), crashes=1),
    "three tabs, Stripe fails": replace(TWO_TABS, tabs=(0, 1, 0), faults=1, looks=0),
}
DIRTY = {
    "no intent row": replace(TWO_TABS, intents=False),
    "no lock": replace(TWO_TABS, locked=False, tabs=(0, 0)),
    "the other page stays open": replace(TWO_TABS, closes=False, looks_again=False),
    "a page that cannot be closed is ignored": replace(TWO_TABS, looks_again=False, faults=1),
    "each try has a key of its own": replace(TWO_TABS, one_key=False, tries=1, crashes=1),
    "Stripe is not read again": replace(TWO_TABS, rereads=False, looks_again=False),
    "a page is shown though its intent was ended": replace(TWO_TABS, shows_ended=True),
}


def run(scale: Scale, seed: int) -> Figures:
    figures = Figures("I7", "checkout protocol, every order", seed)
    sound = CLEAN | AT_NIGHT if scale.long else CLEAN
    with figures.timed():
        try_protocols(figures, sound, DIRTY, explored, Twice, found="", unseen="nobody could pay twice")
    return figures


def explored(protocol: Protocol) -> int:
    """How many states there are. Raises Twice, with the way there, at the first in which somebody could pay twice."""

    def check(world: World, way: Callable[[], list[World]]) -> None:
        if payable(world) > 1:
            raise Twice(" > ".join(f"{[tab.step for tab in at.tabs]} {[*map(tuple, at.sessions)]}" for at in way()))

    start = World(tuple(Tab(tries=protocol.tries) for _ in protocol.tabs))
    return every_order(start, lambda world: steps(protocol, world), check)


def payable(world: World) -> int:
    """Subscriptions there are, and there could be."""
    return sum(one.status == PAID or (one.status == OPEN and one.shown) for one in world.sessions)


def steps(protocol: Protocol, world: World) -> Iterator[World]:
    for index, tab in enumerate(world.tabs):
        yield from asking(protocol, world, index, tab)
        if tab.step != "done" and world.crashes < protocol.crashes:
            yield over(world._replace(crashes=world.crashes + 1), index)
        if tab.step == "done" and tab.tries:
            yield world._replace(tabs=put(world.tabs, index, Tab(tries=tab.tries - 1)))
    for index, session in enumerate(world.sessions):
        if session.shown and session.status == OPEN:
            yield world.with_session(index, session._replace(status=PAID))
    yield written(world, seen_at_stripe(world))  # a webhook
    for index in world.late:
        yield made(protocol, world._replace(late=tuple(one for one in world.late if one != index)), index)[0]
    yield from finishing(protocol, world)


def over(world: World, index: int) -> World:
    """The request has ended, answered or not."""
    return world._replace(tabs=put(world.tabs, index, Tab("done", tries=world.tabs[index].tries)))


def moved(world: World, index: int, step: str, **more: Any) -> World:
    """The request does its next step."""
    return world._replace(tabs=put(world.tabs, index, world.tabs[index]._replace(step=step, **more)))


def shown(world: World, index: int, session: int) -> World:
    return over(world.with_session(session, world.sessions[session]._replace(shown=True)), index)


# --- What Stripe does, and what is written of it


def made(protocol: Protocol, world: World, intent: int) -> tuple[World, int]:
    """`create_checkout`: under a key that Stripe knows it answers with what it made first."""
    if protocol.one_key:
        for number, one in enumerate(world.sessions):
            if one.intent == intent:
                return world, number
    session = Session(intent, world.intents[intent].plan)
    return world._replace(sessions=(*world.sessions, session)), len(world.sessions)


def closed(world: World, session: int) -> World:
    one = world.sessions[session]
    return world.with_session(session, one._replace(status=EXPIRED)) if one.status == OPEN else world


def seen_at_stripe(world: World) -> tuple[Any, ...]:
    return tuple(one.status for one in world.sessions)


def written(world: World, seen: tuple[Any, ...]) -> World:
    """`projection.write`. What ends at Stripe never begins again, so an older read says nothing that a newer denies."""
    known, intents = world.known, world.intents
    for number, status in enumerate(seen):
        if status == PAID and known is None:
            known = world.sessions[number].plan
        for index, intent in enumerate(intents):
            if intent.session == number and status != OPEN:
                ended = intent._replace(state=COMPLETE if status == PAID else EXPIRED)
                intents = put(intents, index, ended)
    return world._replace(known=known, intents=intents)


def noted(world: World, intent: int, session: int) -> World:
    """The row of an opening gets its page; one that was ended meanwhile stays so."""
    row = world.intents[intent]
    return world.with_intent(intent, Intent(row.plan, OPEN, session)) if row.state == OPENING else world


def ended(world: World, intent: int | None) -> World:
    if intent is None or world.intents[intent].state != OPENING:
        return world
    return world.with_intent(intent, world.intents[intent]._replace(state=EXPIRED))


# --- A request


def asking(protocol: Protocol, world: World, index: int, tab: Tab) -> Iterator[World]:
    """`CheckoutDesk.open`."""

    fails = world._replace(faults=world.faults + 1) if world.faults < protocol.faults else None
    plan = protocol.tabs[index]
    match tab.step:
        case "decide" if protocol.locked:
            yield decided(protocol, world, index, tab, world.intents, plan)
        case "decide":
            yield moved(world, index, "insert", seen=world.intents)
        case "insert":
            yield decided(protocol, world, index, tab, tab.seen, plan)
        case "close":
            yield from closing(protocol, world, index, tab, fails)
        case "read" if not protocol.rereads:
            yield moved(world, index, "decide", again=True)
        case "read":
            yield moved(world, index, "write", seen=seen_at_stripe(world))
            if fails:
                yield over(fails, index)
        case "write":
            yield moved(written(world, tab.seen), index, "decide", again=True, seen=())
        case "create" | "note" | "unsure":
            yield from opening(protocol, world, index, tab, fails)
        case "resume" | "sync" | "answer":
            yield from resuming(protocol, world, index, tab, fails)
        case _:
            return


def number_of(found: int | None) -> int:
    assert found is not None
    return found


def decided(protocol: Protocol, world: World, index: int, tab: Tab, intents: tuple[Intent, ...], plan: int) -> World:
    """`_decide`, by the rows that were seen, and what follows from it."""

    running = [number for number, one in enumerate(intents) if one.state in (OPENING, OPEN)]
    if world.known == plan:
        for one in running:
            world = ended(world, one)
        return over(world, index)
    if world.known is not None:  # the plan is changed in the portal
        world = ended(world, tab.intent) if tab.again else world
        return (
            over(world, index)
            if tab.again
            else moved(world, index, "close", intent=None, seen=(), rivals=tuple(running))
        )
    same = next((one for one in running if intents[one].plan == plan), None) if protocol.intents else None
    rivals = tuple(one for one in running if one != same) if protocol.intents else ()
    if same is None:
        same = len(world.intents)
        world = world._replace(intents=(*world.intents, Intent(plan)))
    is_open = world.intents[same].state == OPEN
    if not tab.again and (rivals or is_open):
        return moved(world, index, "close", intent=same, seen=(), rivals=rivals if protocol.closes else ())
    if rivals and protocol.looks_again:
        return over(world, index)
    if is_open:
        return shown(world, index, number_of(world.intents[same].session))
    return moved(world, index, "create", intent=same, seen=())


def closing(protocol: Protocol, world: World, index: int, tab: Tab, fails: World | None) -> Iterator[World]:
    """`_close`: each rival's page, which is made first where it is not known whether there is one."""

    if tab.session is not None:
        yield moved(closed(world, tab.session), index, "close", rivals=tab.rivals[1:], session=None)
        if fails:
            yield moved(fails, index, "close", rivals=tab.rivals[1:], session=None)  # refused, which is passed over
            yield over(closed(fails, tab.session), index)
    elif not tab.rivals:
        yield moved(world, index, "read")
    elif (row := world.intents[tab.rivals[0]]).session is not None:
        yield moved(world, index, "close", session=row.session)
    elif tab.seen:
        yield moved(noted(world, tab.rivals[0], tab.seen[0]), index, "close", session=tab.seen[0], seen=())
    else:
        there, session = made(protocol, world, tab.rivals[0])
        yield moved(there, index, "close", seen=(session,))
        if fails:
            yield over(fails, index)
            yield over(made(protocol, fails, tab.rivals[0])[0], index)


def opening(protocol: Protocol, world: World, index: int, tab: Tab, fails: World | None) -> Iterator[World]:
    """The page is made, noted, and shown if it is still its intent's."""

    intent = number_of(tab.intent)
    match tab.step:
        case "create":
            there, session = made(protocol, world, intent)
            yield moved(there, index, "note", session=session)
            for failed in unknown(protocol, fails, intent):
                yield moved(failed, index, "unsure")
        case "note":
            session = number_of(tab.session)
            there = noted(world, intent, session)
            row = there.intents[intent]
            if protocol.shows_ended or not protocol.one_key or (row.state, row.session) == (OPEN, session):
                yield shown(there, index, session)
                return
            yield over(closed(there, session), index)
            if fails:
                yield over(there._replace(faults=fails.faults), index)
        case "unsure":
            yield moved(world, index, "resume")
            yield over(world, index)


def unknown(protocol: Protocol, fails: World | None, intent: int) -> Iterator[World]:
    """What may have become of a request for a page that nobody knows the outcome of."""
    if fails:
        yield fails
        yield made(protocol, fails, intent)[0]
        yield fails._replace(late=tuple(sorted({*fails.late, intent})))


def resuming(protocol: Protocol, world: World, index: int, tab: Tab, fails: World | None) -> Iterator[World]:
    """`CheckoutDesk.resume`, for who was told that it is not known yet; then the row says what is shown."""

    intent = number_of(tab.intent)
    match tab.step:
        case "resume":
            there, session = made(protocol, world, intent)
            yield moved(there, index, "sync", session=session)
            for failed in unknown(protocol, fails, intent):
                yield over(failed, index)
        case "sync":
            there = noted(world, intent, number_of(tab.session))
            yield moved(written(there, seen_at_stripe(there)), index, "answer")
        case "answer":
            row = world.intents[intent]
            is_open = row.state == OPEN and row.session is not None
            yield shown(world, index, number_of(row.session)) if is_open else over(world, index)


# --- The worker


def finishing(protocol: Protocol, world: World) -> Iterator[World]:
    """`finish_checkouts`, at any time: also while somebody is still at it."""
    if world.looked is None:
        if world.looks == protocol.looks:
            return
        for intent, row in enumerate(world.intents):
            if row.state == OPENING:
                found = next((number for number, one in enumerate(world.sessions) if one.intent == intent), None)
                yield world._replace(looked=(intent, found), looks=world.looks + 1)
        return
    intent, found = world.looked
    free = world._replace(looked=None)
    yield ended(free, intent) if found is None else noted(free, intent, found)
