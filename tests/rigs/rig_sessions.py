"""kill -9 of fieldgate over and over, under load, with persistent sessions: what was acknowledged reaches every one of them.

Publishers at QoS 1 and 2 (3.1.1 and 5, sessions of their own: what was not acknowledged is sent again), sessions that are
there, sessions that are mostly away, and one that is away from its first subscription to the end; retained messages; new
subscriptions and sessions in every round. Each round: some acknowledgements, kill -9 at a random moment, start, everyone
resumes. Then:

- every broker-side session that was answered is still there (session present), and so is every subscription;
- every acknowledged message was received by every session that had subscribed before it was published; at QoS 2 once,
  and in order; at QoS 1 the first copies are in order;
- after each start every retained topic has the last acknowledged value, or a later one that was sent.

The rig is tried, too: Mosquitto 2.0, ended in order, loses nothing (order and once only are not asked of it: with sessions
that are behind it breaks both over a restart); killed, it is caught losing.

RIG_SEED=N repeats a run; its seed is part of its name.
"""

import os
import random
import time

from harness import (
    LONG,
    Failed,
    Gateway,
    add_case,
    case,
    check,
    equal,
    free_port,
    main,
    wait_until,
)
from load import FOR_EVER, Publisher, Tally, faults, wait_for_all
from mqtt_client import V5, V311, Client

ROUNDS = 200 if LONG else 40
# Of one publisher in one round: enough to be cut off in. The clients together read a few thousand messages a second, and all
# that was published must have been read at the end.
MOST = 100 if LONG else 300
# From some acknowledgements to the kill, in seconds: at most about as long as the publishers have something to send.
LONGEST_LIFE = MOST / 1500
LATE_SESSIONS = 5
KEPT_TOPICS = 8
# The clients are threads of one Python: under load one may take long between connecting and its CONNECT.
LIMITS = "limits: { connect_timeout: 60s, queued_messages: 1000000, queued_bytes: 512MiB, queued_bytes_total: 512MiB }\n"


class Session:
    """A persistent session that wants all of the load from when it subscribed."""

    def __init__(self, run, name, qos, version, chance_away=0.0):
        self.name, self.qos, self.chance_away = name, qos, chance_away
        self.tallies = {f"load/{publisher.name}": Tally() for publisher in run.load}
        self.client = Client(
            run.site, run.broker.port, name, version, clean=False, expiry=FOR_EVER, take=self._count
        ).accepted()
        equal(self.client.subscribe("load/#", qos), qos, f"{name}: granted")
        # What is published from here on is wanted; what is on its way already may come.
        self.wanted_from = {publisher.name: publisher.next for publisher in run.load}
        self.extras = []

    def subscribe_more(self, topic):
        self.client.subscribe(topic, self.qos)
        self.extras.append(topic)

    def is_there(self):
        return self.client.closed is None

    def leave(self, chance):
        if chance.random() < 0.5:
            self.client.drop()
        else:
            self.client.end()
            wait_until(lambda: self.client.closed is not None, f"{self.name} has left")

    def _count(self, message):
        tally = self.tallies.get(message.topic)
        if tally is not None:
            tally.add(int(message.payload))
        return tally is not None

    def tally(self, publisher):
        return self.tallies[f"load/{publisher.name}"]

    def received(self):
        return sum(len(tally.numbers) for tally in self.tallies.values())

    def wanted(self, publisher):
        return [number for number in publisher.acknowledged if number >= self.wanted_from[publisher.name]]


class Run:
    """All rounds of one case; see the head of this file. `crash` ends the broker, in whatever way."""

    def __init__(self, site, broker, crash, chance, only=""):
        self.site, self.broker, self.crash, self.chance, self.only = site, broker, crash, chance, only
        self.load = [
            self.publisher("q1-v3", 1, V311),
            self.publisher("q1-v5", 1, V5),
            self.publisher("q2-v3", 2, V311),
            self.publisher("q2-v5", 2, V5),
        ]
        self.keeper = Publisher(
            site, broker.port, "keeper", 1, V5, lambda number: f"keep/{number % KEPT_TOPICS}", MOST, retain=True
        )
        self.publishers = [*self.load, self.keeper]
        self.sessions = [
            Session(self, "there-v3", 2, V311),
            Session(self, "there-v5", 2, V5),
            Session(self, "there-at-qos-1", 1, V5),
            Session(self, "often-away-v3", 2, V311, chance_away=0.7),
            Session(self, "often-away-v5", 2, V5, chance_away=0.7),
            Session(self, "away-v3", 2, V311, chance_away=1.0),
            Session(self, "away-v5", 1, V5, chance_away=1.0),
        ]
        self.gone = []  # (session, topic): unsubscribed
        self.cut_off = 0  # ends that met messages without their acknowledgement

    def publisher(self, name, qos, version):
        return Publisher(self.site, self.broker.port, name, qos, version, lambda _: f"load/{name}", MOST)

    def rounds(self, count):
        for number in range(count):
            self.one_round(number)
        self.end()

    def one_round(self, number):
        for session in self.sessions:
            if session.is_there() and self.chance.random() < session.chance_away:
                session.leave(self.chance)
        self.change_subscriptions(number)
        for publisher in self.publishers:
            publisher.until_acknowledged(self.chance.randrange(10, 40))
        time.sleep(self.chance.uniform(0, LONGEST_LIFE))
        self.crash()
        for publisher in self.publishers:
            publisher.pause()
        self.cut_off += any(publisher.waiting for publisher in self.publishers)
        self.broker.restart()
        self.check_retained()
        for publisher in self.publishers:
            publisher.resume()
        for session in self.sessions:
            if session.chance_away < 1 and self.chance.random() >= session.chance_away / 2:
                # One that left just before may be offline still.
                session.client.resume()

    def change_subscriptions(self, number):
        """One more subscription, one less, sometimes a session that begins."""
        session = self.chance.choice([session for session in self.sessions if session.is_there()])
        session.subscribe_more(f"extra/{number}")
        if len(session.extras) > 3 and self.chance.random() < 0.5:
            topic = session.extras.pop(0)
            session.client.unsubscribe(topic)
            self.gone.append((session, topic))
        if number % (ROUNDS // LATE_SESSIONS) == 5:
            version = self.chance.choice([V311, V5])
            self.sessions.append(Session(self, f"late-{number}", 2, version, chance_away=0.5))

    def check_retained(self):
        """Of each topic the last acknowledged value, or a later one."""
        last = {}
        for number in sorted(self.keeper.acknowledged):
            last[self.keeper.topic(number)] = number
        reader = Client(self.site, self.broker.port, "reader", V311).accepted()
        reader.subscribe("keep/#", 1)
        reader.barrier("reader/barrier")
        found = {message.topic: int(message.payload) for message in reader.received() if message.retain}
        reader.end()
        for topic, number in last.items():
            value = found.get(topic)
            right = value is not None and number <= value < self.keeper.next and self.keeper.topic(value) == topic
            check(right, f"{topic} has {value}, but {number} was acknowledged")

    def end(self):
        for publisher in self.publishers:
            publisher.finish()
        for session in self.sessions:
            if not session.is_there():
                session.client.resume()
        # First: who was away for long has tens of thousands of messages before the first extra one.
        self.wait_for_the_rest()
        self.check_extras()
        for session in self.sessions:
            session.client.barrier(f"barrier/{session.name}")
        found = []
        for session in self.sessions:
            for publisher in self.load:
                found += self.judge(session, publisher)
        check(not found, "\n".join(found))
        total = sum(len(publisher.acknowledged) for publisher in self.publishers)
        received = sum(session.received() for session in self.sessions)
        print(f"    {total} acknowledged, {received} received by {len(self.sessions)} sessions; ", end="")
        print(f"{self.cut_off} times the end met messages on their way")
        check(self.cut_off, "no end met a message on its way")

    def wait_for_the_rest(self):
        waits = [
            (session.tally(publisher), session.wanted(publisher))
            for session in self.sessions
            for publisher in self.load
        ]
        wait_for_all(waits, lambda: sum(session.received() for session in self.sessions))

    def judge(self, session, publisher):
        once = min(session.qos, publisher.qos) == 2
        received = session.tally(publisher).numbers
        wrong = faults(session.wanted(publisher), range(publisher.next), received, once)
        return [f"{session.name}, of {publisher.name}: {what}" for what in wrong if what.startswith(self.only)]

    def check_extras(self):
        """Every subscription that was answered is there, and none that was ended."""
        sender = Client(self.site, self.broker.port, "sender", V311).accepted()
        topics = {topic for session in self.sessions for topic in session.extras}
        topics |= {topic for _, topic in self.gone}
        for topic in sorted(topics):
            sender.publish(topic, "", qos=1)
        for session in self.sessions:
            for topic in session.extras:
                session.client.wait_for(1, topic)
        for session, topic in self.gone:
            session.client.barrier(f"barrier/{session.name}")
            wrong = [message for message in session.client.received() if message.topic == topic]
            check(not wrong, f"{session.name}: {topic} came, though it was unsubscribed")


class PlainMosquitto:
    """Mosquitto that keeps its sessions when it ends in order, and not when it is killed."""

    def __init__(self, site):
        self.port = free_port()
        folder = site.folder / "mosquitto"
        folder.mkdir()
        config = site.write(
            "mosquitto.conf",
            f"user root\npersistence true\npersistence_location {folder}/\nallow_anonymous true\n"
            f"max_queued_messages 0\nlistener {self.port} 127.0.0.1\n",
        )
        self.process = site.process("mosquitto", ["mosquitto", "-c", config]).wait_for_port(self.port)

    def restart(self):
        self.process.start()
        self.process.wait_for_port(self.port)


def killed(site, seed):
    chance = random.Random(seed)
    interval = chance.choice([5, 10, 30])
    store = f"commit_interval: {interval}ms\nhold_for_upstream: {chance.choice([0, 200, 500])}ms\n"
    gateway = Gateway(site, broker=LIMITS, store=store)
    Run(site, gateway, gateway.process.kill, chance).rounds(ROUNDS)


@case
def the_judge_notices_what_is_lost_twice_out_of_order_or_invented(_site):
    whole = list(range(10))
    equal(faults(whole, whole, whole, True), [], "nothing is wrong")
    equal(faults(whole, whole, [0, 1, 2, 1, 2, *whole[3:]], False), [], "at QoS 1 what came twice")
    for received, word in [
        ([0, *whole[2:]], "lost"),
        ([*whole, 9], "twice"),
        ([0, 2, 1, *whole[3:]], "order"),
        ([*whole, 10], "never sent"),
    ]:
        check(any(word in fault for fault in faults(whole, whole, received, True)), f"{word} was not noticed")
    tally = Tally()
    for number in [2, 0, 2, 5000]:
        equal(tally.has_all([0, 2, 5000]), False, f"complete before {number}")
        tally.add(number)
    equal(tally.has_all([0, 2, 5000]), True, "complete")


@case
def mosquitto_ended_in_order_loses_nothing(site):
    broker = PlainMosquitto(site)
    Run(site, broker, broker.process.stop, random.Random(1), only="lost").rounds(4)


@case
def mosquitto_killed_is_caught_losing(site):
    broker = PlainMosquitto(site)
    try:
        Run(site, broker, broker.process.kill, random.Random(1)).rounds(2)
    except Failed as failed:
        print(f"    as it should be: {failed}")
        return
    raise Failed("Mosquitto without a commit lost nothing: this rig notices nothing")


seed = int(os.environ.get("RIG_SEED") or random.SystemRandom().randrange(1_000_000))
add_case(f"kill -9 under load, {ROUNDS} rounds, seed {seed}", lambda site: killed(site, seed))

main()
