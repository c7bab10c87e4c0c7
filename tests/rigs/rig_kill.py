"""kill -9 of fieldgate over and over, under load and with a bad link upwards: what was acknowledged arrives upstream.

Publishers at QoS 1 and 2 (3.1.1 and 5, with sessions: what was not acknowledged is sent again) and a device whose register
counts, into fieldgate; Mosquitto as its upstream, behind a link that stalls, swallows, is reset, is closed by half, or is cut.
Each round: the link goes wrong or is mended, there are some acknowledgements, kill -9 at a random moment, sometimes again
while it starts, and everyone resumes. Now and then the link stays whole until all has arrived. Then, of what a subscriber at
the upstream saw:

- every acknowledged message arrived; at QoS 2 once; on each topic the first copies are in order; nothing is invented;
- of the device's readings none is missing but those that it gave within LOST_BEFORE_KILL_MS before a kill, or from there
  to the next connection: to a request that was on its way when who had asked died. The device itself writes down
  when it gave which count, and when it was connected to.

The rig is tried, too: its judges with planted faults, and Mosquitto with a bridge of its own in fieldgate's place, which is
caught losing.

RIG_SEED=N repeats a run; its seed is part of its name.
"""

import json
import os
import random
import signal
import time
from collections import Counter

from bad_link import BadLink
from harness import (
    COUNTING,
    LONG,
    Authority,
    Device,
    Failed,
    Gateway,
    Mosquitto,
    add_case,
    bridge,
    case,
    check,
    device,
    equal,
    free_port,
    main,
    wait_until,
)
from load import Publisher, Tally, faults, wait_for_all
from mqtt_client import V5, V311, Client

# For each protocol of the bridge.
ROUNDS = 500 if LONG else 20
# Of one publisher in one round: enough to be cut off in, and no more than the subscriber can read.
MOST = 60
HOLD_MS, COMMIT_MS = 500, 30
# What is promised, and what a busy disk and scheduler may take on top.
LOST_BEFORE_KILL_MS = HOLD_MS + COMMIT_MS + 400
STORE = f"hold_for_upstream: {HOLD_MS}ms\ncommit_interval: {COMMIT_MS}ms\n"
READINGS = "site/g1/g1/dev1/counter"


def now_ms():
    return time.time_ns() // 1_000_000


def lost_readings(given, opened, arrived, kills):
    """{count: ms from its reading to the next kill} of those that did not arrive; None: there was no kill after it. A kill has
    two stamps: when it was sent, and when the next process was started; a process dies when its disk has answered, which takes
    seconds where others write too. From the first one on to the first connection after the second nobody reads what the
    device gives: a busy device also sees the connection of a process, and answers it, when that is dead."""
    downs = [(sent, min((at for at in opened if at >= started), default=started)) for sent, started in kills]
    missing = given.keys() - arrived
    return {n: min((max(0, sent - given[n]) for sent, end in downs if end >= given[n]), default=None) for n in missing}


def is_excused(age):
    return age is not None and age <= LOST_BEFORE_KILL_MS


class Upstream:
    """Mosquitto and the subscriber that looks: what came of each publisher, and which readings."""

    def __init__(self, site, authority):
        self.broker = Mosquitto(site, authority)
        self.tallies = {}
        self.readings = set()
        self.observer = Client(site, self.broker.port, "observer", V5, clean=False, take=self._take).accepted()
        self.observer.subscribe("site/#", 2)

    def tally(self, name):
        return self.tallies.setdefault(f"site/g1/plant/{name}", Tally())

    def _take(self, message):
        if message.topic == READINGS:
            values = json.loads(message.payload).get("values")
            self.readings |= {values["n"]} if values else set()
        elif message.topic in self.tallies:
            self.tallies[message.topic].add(int(message.payload))
        return True


class Run:
    """All rounds of one case; see the head of this file. `crash` ends the gateway."""

    def __init__(self, site, gateway, crash, link, upstream, chance):
        self.gateway, self.crash, self.link, self.upstream, self.chance = gateway, crash, link, upstream, chance
        self.kills = []  # (sent, next process started), in ms
        self.faults = Counter()
        self.cut_off = 0  # kills that met messages without their acknowledgement
        self.publishers = []
        for name, qos, version in [("q1-v3", 1, V311), ("q1-v5", 1, V5), ("q2-v3", 2, V311), ("q2-v5", 2, V5)]:
            upstream.tally(name)
            topic = f"plant/{name}"
            self.publishers.append(Publisher(site, gateway.port, name, qos, version, lambda _, t=topic: t, MOST))

    def rounds(self, count):
        for number in range(count):
            if number % 6 == 5:
                self.link.mend()
                self.wait_for_the_rest()
            self.one_round()
        for publisher in self.publishers:
            publisher.finish()
        self.link.mend()
        self.wait_for_the_rest()
        self.judge()

    def one_round(self):
        self.change_link()
        for publisher in self.publishers:
            publisher.until_acknowledged(self.chance.randrange(10, 40))
        if self.chance.random() < 0.4:
            self.change_link()
        time.sleep(self.chance.uniform(0, 0.15))
        self.kill()
        for publisher in self.publishers:
            publisher.pause()
        self.cut_off += any(publisher.waiting for publisher in self.publishers)
        if self.chance.random() < 0.2:
            # Again, while it starts.
            self.begin(self.gateway.process.start)
            time.sleep(self.chance.uniform(0, 0.05))
            self.kill()
        self.begin(self.gateway.restart)
        for publisher in self.publishers:
            publisher.resume()

    def change_link(self):
        """Where it was wrong it is mended first: what waited in it goes through, or is lost with its connection."""
        if self.chance.random() < 0.7:
            self.link.mend()
        if self.chance.random() < 0.6:
            self.faults[self.link.go_wrong(self.chance)] += 1

    def kill(self):
        sent = now_ms()
        self.crash()
        self.kills.append((sent, now_ms()))

    def begin(self, start):
        sent, _ = self.kills.pop()
        self.kills.append((sent, now_ms()))
        start()

    def wait_for_the_rest(self):
        waits = [(self.upstream.tally(publisher.name), list(publisher.acknowledged)) for publisher in self.publishers]
        wait_for_all(waits, lambda: sum(len(tally.numbers) for tally in self.upstream.tallies.values()))

    def judge(self):
        found = []
        for publisher in self.publishers:
            received = self.upstream.tally(publisher.name).numbers
            wrong = faults(publisher.acknowledged, range(publisher.next), received, publisher.qos == 2)
            found += [f"{publisher.name}: {what}" for what in wrong]
        check(not found, "\n".join(found))
        check(self.cut_off, "no kill met a message on its way")
        total = sum(len(publisher.acknowledged) for publisher in self.publishers)
        again = Counter()
        for publisher in self.publishers:
            numbers = self.upstream.tally(publisher.name).numbers
            again[publisher.qos] += len(numbers) - len(set(numbers))
        print(f"    {len(self.kills)} kills, {self.cut_off} of them met messages on their way; the link: {dict(self.faults)}")
        print(f"    {total} acknowledged: lost 0; at QoS 2 duplicated {again[2]}, at QoS 1 {again[1]} came again")

    def judge_readings(self, field):
        """Of the readings; they come as long as the device is asked, so those of the last moment are waited for."""
        given, opened = field.reads(), field.opens()

        def lost():
            return lost_readings(given, opened, self.upstream.readings, self.kills)

        def wrong():
            return {n: age for n, age in lost().items() if not is_excused(age)}

        try:
            wait_until(lambda: not wrong(), "all readings but the last before a kill arrive")
        except Failed:
            raise Failed(f"missing readings, and ms from each to the next kill: {wrong()}") from None
        ages = lost().values()
        oldest = max(ages, default=0)
        print(f"    {len(ages)} of {len(given)} readings lost, the oldest {oldest} ms before its kill")


def killed(site, protocol, seed):
    chance = random.Random(f"{seed}, {protocol}")
    authority = Authority(site)
    upstream = Upstream(site, authority)
    link = BadLink(site, upstream.broker.tls_port)
    field = Device(site)
    rest = device(field.port, COUNTING, more="response_timeout: 10s\n")
    rest += bridge(authority, link.port, filters=["plant/#", "g1/#"], protocol=protocol)
    gateway = Gateway(site, rest, store=STORE)
    run = Run(site, gateway, gateway.process.kill, link, upstream, chance)
    run.rounds(ROUNDS)
    run.judge_readings(field)


class MosquittoBridge:
    """Mosquitto with a bridge to the same upstream, in fieldgate's place. It keeps its sessions when it is told to save."""

    def __init__(self, site, link):
        self.port = free_port()
        self.saved = site.folder / "bridge"
        self.saved.mkdir()
        config = site.write(
            "bridge.conf",
            f"user root\npersistence true\npersistence_location {self.saved}/\nallow_anonymous true\n"
            f"max_queued_messages 0\nlistener {self.port} 127.0.0.1\n"
            f"connection cloud\naddress 127.0.0.1:{link.port}\ncleansession false\nrestart_timeout 1\n"
            'topic plant/# out 2 "" site/g1/\n',
        )
        self.process = site.process("bridge", ["mosquitto", "-c", config]).wait_for_port(self.port)

    def save(self):
        self.process.child.send_signal(signal.SIGUSR1)
        wait_until((self.saved / "mosquitto.db").exists, "Mosquitto saves its sessions")

    def restart(self):
        self.process.start()
        self.process.wait_for_port(self.port)


@case
def the_judges_notice_what_is_lost_twice_out_of_order_or_invented(_site):
    whole = list(range(10))
    equal(faults(whole, whole, [0, 1, 2, 1, 2, *whole[3:]], False), [], "at QoS 1 what came twice")
    for received, word in [
        ([0, *whole[2:]], "lost"),
        ([*whole, 9], "twice"),
        ([0, 2, 1, *whole[3:]], "order"),
        ([*whole, 10], "never sent"),
    ]:
        check(any(word in fault for fault in faults(whole, whole, received, True)), f"{word} was not noticed")
    given = {1: 1000, 2: 5000, 3: 9000, 4: 7000, 5: 7050, 6: 7101}
    kills = [(at, at + 10) for at in (1000 + LOST_BEFORE_KILL_MS, 5001 + LOST_BEFORE_KILL_MS, 6995)]
    # The one that died at 6995 had begun, and the device saw its connection when it was dead.
    opened = [2000, 6000, 7000, 7100]
    lost = lost_readings(given, opened, set(), kills)
    equal([lost[n] for n in (4, 5, 6)], [0, 0, None], "while the process died, before the next one was there, by that one")
    equal([is_excused(lost[n]) for n in (1, 2, 3)], [True, False, False], "excused: just before a kill, longer, after all")
    equal(lost_readings(given, opened, set(given), kills), {}, "none is missing")


@case
def mosquitto_in_its_place_is_caught_losing(site):
    upstream = Upstream(site, Authority(site))
    link = BadLink(site, upstream.broker.port)
    gateway = MosquittoBridge(site, link)
    run = Run(site, gateway, gateway.process.kill, link, upstream, random.Random(1))
    gateway.save()
    link.cut()
    run.change_link = lambda: None
    try:
        run.rounds(1)
    except Failed as failed:
        check("lost" in str(failed), f"not for what it lost: {failed}")
        print(f"    as it should be: {failed}")
        return
    raise Failed("Mosquitto without a commit lost nothing: this rig notices nothing")


seed = int(os.environ.get("RIG_SEED") or random.SystemRandom().randrange(1_000_000))
for protocol in ["5", "3.1.1"]:
    add_case(
        f"kill -9 with a bad link, bridge with MQTT {protocol}, {ROUNDS} rounds, seed {seed}",
        lambda site, protocol=protocol: killed(site, f'"{protocol}"' if "." in protocol else protocol, seed),
    )

main()
