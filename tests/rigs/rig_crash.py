"""kill -9 of fieldgate in the middle of an outage, over and over, at random moments: what was acknowledged arrives.

One repetition: a device whose register counts, publishers at QoS 1 and 2, Mosquitto behind a link that can be cut. The
link is cut, fieldgate is killed and started again, once or twice, perhaps once more while the backlog drains, and the
link is mended. Then:

- every message that a publisher had acknowledged arrived; at QoS 2 nothing arrived twice;
- of the device's readings none is missing but those that it gave within LOST_BEFORE_KILL_MS before a kill. The device
  itself writes down when it gave which count, and while fieldgate is down nobody reads it, so nothing else can be
  missing.

RIG_SEED=N repeats a repetition; its seed is part of its name.
"""

import json
import os
import random
import threading
import time

from harness import (
    COUNTING,
    DEADLINE,
    LONG,
    Authority,
    Device,
    Gateway,
    Mosquitto,
    Proxy,
    add_case,
    bridge,
    check,
    device,
    equal,
    main,
    wait_until,
)
from mqtt_client import V5, V311, Client

REPETITIONS = 50 if LONG else 3
# hold_for_upstream + commit_interval, as configured below, and what a busy disk and scheduler may take on top.
LOST_BEFORE_KILL_MS = 500 + 100 + 400
STORE = "hold_for_upstream: 500ms\ncommit_interval: 100ms\n"
READINGS = "site/g1/g1/dev1/counter"


class Publisher:
    """Publishes numbers to a topic of its own, as fast as its window lets it, until its broker is gone."""

    WINDOW = 20

    def __init__(self, site, name, qos, version):
        self.site, self.name, self.qos, self.version = site, name, qos, version
        self.acknowledged = []
        self.next = 0

    def start(self, port):
        """A new connection; what the old one left unacknowledged is not sent again."""
        self.running = True
        client = Client(self.site, port, self.name, self.version).accepted()
        self.thread = threading.Thread(target=self._run, args=(client,), daemon=True)
        self.thread.start()

    def stop(self):
        """Waits until the last acknowledgement is noted."""
        self.running = False
        self.thread.join(DEADLINE)
        check(not self.thread.is_alive(), f"{self.name}: the last acknowledgements do not come")

    def _run(self, client):
        waiting = {}
        while client.closed is None and (self.running or waiting):
            while self.running and len(waiting) < self.WINDOW:
                handle = client.publish(f"plant/{self.name}", str(self.next), self.qos, wait=False)
                waiting[handle.mid] = self.next
                self.next += 1
            self._note(client, waiting)
            time.sleep(0.001)
        self._note(client, waiting)

    def _note(self, client, waiting):
        for mid in client.acknowledged() & waiting.keys():
            self.acknowledged.append(waiting.pop(mid))
            client.forget(mid)


class Repetition:
    """One repetition; see the head of this file."""

    def __init__(self, site, seed):
        self.chance = random.Random(seed)
        self.kills = []  # stamps in ms
        authority = Authority(site)
        self.upstream = Mosquitto(site, authority)
        self.link = Proxy(site, self.upstream.tls_port)
        self.field = Device(site)
        protocol = self.chance.choice(["5", '"3.1.1"'])
        rest = device(self.field.port, COUNTING, more="response_timeout: 10s\n")
        rest += bridge(authority, self.link.port, filters=["plant/#", "g1/#"], protocol=protocol)
        self.gateway = Gateway(site, rest, store=STORE)
        self.observer = Client(site, self.upstream.port, "observer", clean=False).accepted()
        self.observer.subscribe("site/#", 2)
        self.publishers = [Publisher(site, "q1", 1, V311), Publisher(site, "q2", 2, V5)]
        self.site = site

    def run(self):
        self.publish()
        self.observer.wait_for(5, READINGS)
        self.until_acknowledged(self.chance.randrange(20, 100))
        self.link.cut()
        for _ in range(self.chance.choice([1, 1, 2])):
            self.until_acknowledged(self.chance.randrange(50, 150))
            self.kill_and_restart()
        self.until_acknowledged(self.chance.randrange(20, 100))
        self.link.mend()
        if self.chance.random() < 0.5:
            self.observer.wait_for(len(self.observer.received()) + self.chance.randrange(1, 50))
            self.kill_and_restart()
        self.until_acknowledged(20)
        for publisher in self.publishers:
            publisher.stop()
        self.judge()

    def publish(self):
        for publisher in self.publishers:
            publisher.start(self.gateway.port)

    def until_acknowledged(self, more):
        """Each publisher gets so many more acknowledgements."""
        for publisher in self.publishers:
            wanted = len(publisher.acknowledged) + more
            wait_until(lambda p=publisher, w=wanted: len(p.acknowledged) >= w, f"{publisher.name}: acknowledgements")

    def kill_and_restart(self):
        """At a moment between two acknowledgements, two commits, two readings: anywhere."""
        time.sleep(self.chance.uniform(0, 0.3))
        self.gateway.process.kill()
        self.kills.append(time.time_ns() // 1_000_000)
        for publisher in self.publishers:
            publisher.stop()
        self.gateway.restart()
        self.publish()

    def judge(self):
        for publisher in self.publishers:
            wanted = set(publisher.acknowledged)
            check(wanted, f"{publisher.name}: nothing was acknowledged")
            try:
                wait_until(lambda p=publisher, w=wanted: w <= self.arrived(p), "all that was acknowledged arrives")
            except AssertionError:
                lost = sorted(wanted - self.arrived(publisher))
                raise AssertionError(f"{publisher.name}: lost {len(lost)} of {len(wanted)}: {lost[:20]}") from None
        twice = self.observer.payloads("site/g1/plant/q2")
        equal(len(twice), len(set(twice)), "messages at QoS 2, and without those that came twice")
        self.judge_readings()

    def arrived(self, publisher):
        return {int(payload) for payload in self.observer.payloads(f"site/g1/plant/{publisher.name}")}

    def judge_readings(self):
        given = self.field.reads()
        excused = {
            count
            for count, stamp in given.items()
            if any(kill - LOST_BEFORE_KILL_MS <= stamp <= kill for kill in self.kills)
        }

        def missing():
            bodies = [json.loads(body) for body in self.observer.payloads(READINGS)]
            return given.keys() - {body["values"]["n"] for body in bodies if body.get("values")}

        try:
            wait_until(lambda: missing() <= excused, "all readings but the last before a kill arrive")
        except AssertionError:
            ages = {n: min((k - given[n] for k in self.kills if k >= given[n]), default=None) for n in missing()}
            raise AssertionError(f"missing readings, and ms from each to the next kill: {ages}") from None
        lost = missing()
        oldest = max((min(k - given[n] for k in self.kills if k >= given[n]) for n in lost), default=0)
        total = sum(len(publisher.acknowledged) for publisher in self.publishers)
        print(
            f"    {total} acknowledged, {len(self.kills)} kills; {len(lost)} of {len(given)} readings lost, "
            f"the oldest {oldest} ms before its kill"
        )


seeds = random.SystemRandom().sample(range(1_000_000), REPETITIONS)
if os.environ.get("RIG_SEED"):
    seeds = [int(os.environ["RIG_SEED"])]
for seed in seeds:
    add_case(f"kill -9 in an outage, seed {seed}", lambda site, seed=seed: Repetition(site, seed).run())

main()
