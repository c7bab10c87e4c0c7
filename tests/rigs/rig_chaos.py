"""Random clients against the real program: those who keep the rules see what a small model says, whatever others do.

For a minute (`long`: ten) publishers publish at every QoS and vanish in between, observers come and go with their
sessions and are taken over, wills are left behind or revoked, messages retained and removed, sessions run out; and
beside them troublemakers flood, break rules, send garbage and half packets, take each other over and do not read. The
model knows only what the standard promises. At the end nothing is missing, nothing came that should not, and the
program's memory is what it was.

RIG_SEED=N repeats what each of them does; when it does it, only the machine knows.
"""

import asyncio
import contextlib
import os
import random
import time
from collections import defaultdict

from chaos_client import (
    PUBACK,
    PUBCOMP,
    PUBREC,
    V5,
    V311,
    Closed,
    Link,
    Session,
    acknowledge,
    connect,
    frame,
    publish,
    subscribe,
)
from harness import LONG, Gateway, case, check, equal, main

SEED = int(os.environ.get("RIG_SEED") or random.SystemRandom().randrange(1 << 32))
SECONDS = 600 if LONG else 60
# Memory that the program may hold at the end beyond what it held when all had been under way for a while.
GROWTH_MAX = 12 << 20
LIMITS = """\
limits:
  connections: 400
  queued_messages: 20000
  queued_bytes: 8MiB
  session_expiry_maximum: 1d
"""


def hand(name):
    """Each has random numbers of its own, so that what one does depends on nobody else."""
    return random.Random(f"{SEED} {name}")


class Model:
    """What was published by those who keep the rules, and what each observer saw of it."""

    def __init__(self):
        self.sent = {}  # (publisher, number): [topic, qos, acknowledged, sent again]
        self.faults = []
        self.wills = {}  # payload: "due", "revoked" or "open"

    def fault(self, what):
        if len(self.faults) < 20:
            print(f"    disagreement: {what}", flush=True)
        self.faults.append(what)


class Observer:
    """Subscribed from the start to the end, with a session that lasts."""

    def __init__(self, world, number):
        self.world, self.random = world, hand(f"observer {number}")
        self.qos = number % 3
        version = (V5, V311)[number % 2]
        self.session = Session(world.port, f"observer-{number}", version, self.take)
        self.seen = defaultdict(int)
        self.last = {}  # (publisher, topic, qos): the highest number
        self.wills = defaultdict(int)

    def take(self, session, topic, payload, qos, retain, dup):
        model, name = self.world.model, self.session.client_id
        if retain:
            model.fault(f"{name}: {topic} arrives as retained")
        if topic.startswith("w/will/"):
            self.wills[payload.decode()] += 1
            return
        publisher, number, filling = payload.split(b" ", 2)
        key = (publisher.decode(), int(number))
        entry = model.sent.get(key)
        if entry is None or entry[0] != topic or filling != filler(key[1]):
            model.fault(f"{name}: {key} on {topic} was never published like that")
            return
        if qos != min(self.qos, entry[1]):
            model.fault(f"{name}: {key} comes at QoS {qos}")
        again = self.seen[key]
        self.seen[key] += 1
        if again and (qos == 2 or not (dup or entry[3])):
            model.fault(f"{name}: {key} comes {again + 1} times at QoS {qos}, DUP {dup}")
        stream = (key[0], topic, entry[1])
        if not again and not entry[3]:
            if self.last.get(stream, -1) > key[1]:
                model.fault(f"{name}: {key} comes after {self.last[stream]} on {topic}")
            self.last[stream] = key[1]

    async def run(self):
        """Stays a while, goes in some way, stays away a while."""
        while self.world.running():
            await self.world.pause(self.random, 0.2, 3)
            if not self.session.alive():
                self.world.model.fault(f"{self.session.client_id} was closed")
                await self.session.connect()
                continue
            end = self.random.choice(["leave", "vanish", "take over", "stay"])
            if end == "take over":
                await self.session.connect(take_over=True)
            elif end != "stay":
                await getattr(self.session, end)()
                await self.world.pause(self.random, 0, 2)
                await self.session.connect()

    def missing(self):
        """What is due and did not come."""
        sent = self.world.model.sent.items()
        return [
            key for key, (_, qos, acknowledged, _) in sent if acknowledged and min(qos, self.qos) > 0 and key not in self.seen
        ]

    def missing_wills(self):
        wills = self.world.model.wills.items()
        return [will for will, state in wills if state == "due" and self.qos and will not in self.wills]


def filler(number):
    """The rest of a payload: of any size, and known from its number."""
    return bytes([97 + number % 26]) * (number * 37 % 700)


async def publisher(world, number):
    """Publishes at all QoS; vanishes with messages unacknowledged and sends them again."""
    mine, name = hand(f"publisher {number}"), f"publisher-{number}"
    session = await Session(world.port, name, (V5, V311)[number % 2]).connect()
    count = 0

    def acknowledged(key):
        return lambda _: world.model.sent[key].__setitem__(2, True)

    while world.running():
        with contextlib.suppress(Closed):
            for _ in range(mine.randint(1, 60)):
                count += 1
                key, topic, qos = (name, count), f"w/{number}/{mine.randrange(4)}", mine.randrange(3)
                world.model.sent[key] = [topic, qos, False, False]
                payload = f"{name} {count} ".encode() + filler(count)
                done = await asyncio.wait_for(session.publish(topic, payload, qos), 30)
                if qos:
                    done.add_done_callback(acknowledged(key))
                    done.key = key
        if mine.random() < 0.2:
            await session.vanish()
            for _, _, done in session.unacknowledged.values():
                world.model.sent[done.key][3] = world.model.sent[done.key][1] == 1
            await world.pause(mine, 0, 0.5)
            await session.connect()
        await world.pause(mine, 0, 0.3)
    waiting = [done for _, _, done in session.unacknowledged.values()]
    if waiting:
        await asyncio.wait_for(asyncio.wait(waiting), 30)
    await session.leave()


async def will_maker(world, number):
    """Comes with a will that nobody else has, and leaves it or takes it back."""
    mine, count = hand(f"will {number}"), 0
    while world.running():
        count += 1
        payload = f"will {number} {count}"
        world.model.wills[payload] = "open"
        session = Session(world.port, f"will-{number}", mine.choice((V5, V311)), lasting=False)
        await session.connect(will=(f"w/will/{number}", payload, 2, False))
        await world.pause(mine, 0, 0.5)
        end = mine.choice(["leave", "vanish", "take over"])
        world.model.wills[payload] = "revoked" if end == "leave" else "due"
        if end == "take over":
            other = await Session(world.port, f"will-{number}", V5, lasting=False).connect()
            await session.ended()
            await other.leave()
        else:
            await getattr(session, end)()
        await world.pause(mine, 0, 0.5)


async def retainer(world, number):
    """The owner of a topic sets, replaces and removes what is retained; who subscribes gets just that."""
    mine, topic, count = hand(f"retainer {number}"), f"r/{number}", 0
    session = await Session(world.port, f"retainer-{number}", mine.choice((V5, V311))).connect()
    while world.running():
        count += 1
        kept = b"" if mine.random() < 0.3 else f"kept {count}".encode()
        await asyncio.wait_for(await session.publish(topic, kept, mine.choice((1, 2)), retain=True), 30)
        got = []
        late = Session(
            world.port,
            f"late-{number}",
            mine.choice((V5, V311)),
            lambda _, topic, payload, qos, retain, dup: got.append((topic, payload, retain)),
            lasting=False,
        )
        await late.connect()
        await late.subscribe([(topic, mine.randrange(3))])
        # A message to itself, later than what is retained.
        await late.subscribe([(f"r-end/{number}", 1)])
        await asyncio.wait_for(await late.publish(f"r-end/{number}", b"end", 1), 30)
        await world.until(lambda: any(payload == b"end" for _, payload, _ in got), "the message to itself")
        wanted = ([(topic, kept, True)] if kept else []) + [(f"r-end/{number}", b"end", False)]
        if got != wanted:
            world.model.fault(f"retained: {got} and not {wanted}")
        await late.leave()
        await world.pause(mine, 0, 0.2)
    await session.leave()


async def expirer(world, number):
    """Sessions of one second and of a minute, after two and a half seconds."""
    mine, count = hand(f"expirer {number}"), 0
    while world.running():
        count += 1
        for expiry, wanted in ((1, False), (60, True)):
            link = await Link.open(world.port)
            client_id = f"expirer-{number}-{expiry}"
            present, code = await link.greet(connect(V5, client_id, clean=True, expiry=expiry))
            check(code == 0 and not present, f"{client_id}: {code} {present}")
            await (link.leave() if mine.random() < 0.5 else vanish(link))
        await asyncio.sleep(2.5)
        for expiry, wanted in ((1, False), (60, True)):
            link = await Link.open(world.port)
            present, _ = await link.greet(connect(V5, f"expirer-{number}-{expiry}", clean=False))
            if present != wanted:
                world.model.fault(f"a session of {expiry} s after 2.5 s: present is {present}")
            await link.leave()


async def vanish(link):
    link.abort()


# ----------------------------------------------------------------------------------------------------------------------
# Those who break the rules
# ----------------------------------------------------------------------------------------------------------------------


async def garbage(mine, link):
    await link.send(mine.randbytes(mine.randrange(1, 2000)))


async def half_a_packet(mine, link):
    whole = connect(V5, "half", clean=True)
    await link.send(whole[: mine.randrange(1, len(whole))])


async def a_great_claim(mine, link):
    await link.send(connect(V5, f"claim-{mine.randrange(5)}") + b"\x30\xff\xff\xff\x7f" + mine.randbytes(100))


async def an_oversized_packet(mine, link):
    await link.send(connect(V311, f"big-{mine.randrange(5)}") + publish(V311, "t/big", b"x" * 300_000, 1, 1))


async def flood(mine, link):
    """QoS 0 to 2 without a look at the answers."""
    version = mine.choice((V311, V5))
    link.version = version
    await link.send(connect(version, f"flood-{mine.randrange(5)}", keep_alive=5))
    for number in range(1, mine.randrange(2, 3000)):
        topic = f"t/{mine.randrange(50)}"
        await link.send(publish(version, topic, b"x" * mine.randrange(200), mine.randrange(3), number % 60_000 + 1))


async def deaf(mine, link):
    """Wants everything and reads nothing."""
    await link.send(connect(V311, f"deaf-{mine.randrange(3)}", clean=mine.random() < 0.5))
    await link.send(subscribe(V311, 1, [("t/#", mine.randrange(3))]))
    await asyncio.sleep(mine.uniform(0, 2))


async def wrong_acknowledgements(mine, link):
    await link.send(connect(V5, f"wrong-{mine.randrange(3)}", clean=False, expiry=mine.randrange(4)))
    await link.send(subscribe(V5, 1, [("t/#", 2)]))
    for _ in range(mine.randrange(100)):
        await link.send(acknowledge(mine.choice((PUBACK, PUBREC, 6, PUBCOMP)), mine.randrange(1, 30)))


async def nonsense_in_order(mine, link):
    """Well-formed packets, wrong in their place."""
    await link.send(connect(V5, f"nonsense-{mine.randrange(3)}"))
    await link.send(
        mine.choice(
            (
                connect(V5, "again"),
                frame(0x20, b"\0\0\0"),
                frame(0xD0),
                frame(0xF0, b"\x18\0"),
                frame(0x82, b"\0\1\0"),
                publish(V5, "a/#", b"x"),
                publish(V5, "", b"x"),
                frame(0xC1),
                frame(0x36, b"\0\1t\0\1\0"),
            )
        )
    )


async def many_subscriptions(mine, link):
    await link.send(connect(V5, f"many-{mine.randrange(3)}", clean=False, expiry=2))
    for number in range(mine.randrange(30)):
        filters = [(f"t/{mine.randrange(1000)}/{mine.choice('+#ab')}", mine.randrange(3)) for _ in range(20)]
        await link.send(subscribe(V5, number + 1, filters))


async def retained_mess(mine, link):
    await link.send(connect(V311, f"mess-{mine.randrange(3)}"))
    for _ in range(mine.randrange(50)):
        await link.send(publish(V311, f"t/r/{mine.randrange(30)}", b"x" * mine.randrange(2000), 0, retain=True))


async def will_storm(mine, link):
    will = (f"t/will/{mine.randrange(10)}", "x" * mine.randrange(1000), mine.randrange(3), mine.random() < 0.2)
    await link.send(connect(mine.choice((V311, V5)), f"storm-{mine.randrange(4)}", will=will))


async def silence(mine, link):
    await asyncio.sleep(mine.uniform(0, 3))


TROUBLE = (
    garbage,
    half_a_packet,
    a_great_claim,
    an_oversized_packet,
    flood,
    deaf,
    wrong_acknowledgements,
    nonsense_in_order,
    many_subscriptions,
    retained_mess,
    will_storm,
    silence,
)


async def troublemaker(world, number):
    mine = hand(f"trouble {number}")
    while world.running():
        with contextlib.suppress(Closed, OSError):
            link = await Link.open(world.port)
            with contextlib.suppress(Closed):
                await mine.choice(TROUBLE)(mine, link)
                if mine.random() < 0.3:
                    await asyncio.wait_for(link.packet(), mine.uniform(0.01, 0.3))
            link.abort()
            world.trouble += 1
        await world.pause(mine, 0, 0.1)


# ----------------------------------------------------------------------------------------------------------------------
# The whole
# ----------------------------------------------------------------------------------------------------------------------


class World:
    def __init__(self, gateway):
        self.port, self.process = gateway.port, gateway.process.child.pid
        self.model = Model()
        self.end = time.monotonic() + SECONDS
        self.trouble = 0

    def running(self):
        return time.monotonic() < self.end

    async def pause(self, mine, low, high):
        await asyncio.sleep(mine.uniform(low, high))

    async def until(self, question, what, seconds=60):
        """Asks until it is so."""
        deadline = time.monotonic() + seconds
        while not question():
            check(time.monotonic() < deadline, f"not within {seconds} s: {what}")
            await asyncio.sleep(0.02)

    def memory(self):
        with open(f"/proc/{self.process}/status") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))

    async def watch_memory(self):
        """Resident bytes when all have been under way for a while, in the middle, at the end."""
        samples = []
        for share in (0.15, 0.5, 0.97):
            await asyncio.sleep(max(0, self.end - (1 - share) * SECONDS - time.monotonic()))
            samples.append(self.memory())
        return samples


async def play(gateway):
    world = World(gateway)
    observers = [Observer(world, number) for number in range(6)]
    for observer in observers:
        await observer.session.connect()
        await observer.session.subscribe([("w/#", observer.qos)])
    actors = [observer.run() for observer in observers]
    actors += [publisher(world, number) for number in range(4)]
    actors += [will_maker(world, number) for number in range(2)]
    actors += [retainer(world, number) for number in range(2)]
    actors += [expirer(world, 0)]
    actors += [troublemaker(world, number) for number in range(8)]
    *_, memory = await asyncio.gather(*actors, world.watch_memory())
    for observer in observers:
        if not observer.session.alive():
            await observer.session.connect()
    for observer in observers:
        await world.until(
            lambda: not observer.missing() and not observer.missing_wills(),
            f"what {observer.session.client_id} still gets: {observer.missing()[:5]} {observer.missing_wills()[:5]}",
        )
    for observer in observers:
        await observer.session.leave()
        for will, times in observer.wills.items():
            state = world.model.wills.get(will)
            if state != "due" or (times > 1 and observer.qos == 2):
                world.model.fault(f"{observer.session.client_id}: {will} came {times} times, and is {state}")
    memory.append(world.memory())
    return world, observers, memory


@case
def who_keeps_the_rules_sees_what_the_model_says(site):
    print(f"RIG_SEED={SEED}", flush=True)
    gateway = Gateway(site, broker=LIMITS)
    world, observers, memory = asyncio.run(play(gateway))
    seen = sum(sum(observer.seen.values()) for observer in observers)
    sizes = ", ".join(f"{size / (1 << 20):.1f}" for size in memory)
    print(
        f"    {len(world.model.sent)} published, {seen} seen, {len(world.model.wills)} wills, {world.trouble} times "
        f"trouble; resident MiB early, middle, late, after: {sizes}",
        flush=True,
    )
    equal(world.model.faults, [], f"disagreements (RIG_SEED={SEED})")
    check(gateway.process.running(), "the program still runs")
    check("panicked" not in gateway.process.log(), "the program has panicked")
    growth = max(memory[2], memory[3]) - memory[0]
    check(growth < GROWTH_MAX, f"resident memory has grown by {growth >> 20} MiB: {sizes}")


if __name__ == "__main__":
    main()
