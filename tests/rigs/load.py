"""Publishers that number what they publish, and what is wrong with the numbers that arrived: for rigs that end a broker."""

import threading
import time
from array import array
from collections import Counter

from harness import DEADLINE, check, wait_until
from mqtt_client import Client

FOR_EVER = 0xFFFF_FFFF


def faults(acknowledged, sent, received, once):
    """What is wrong with the numbers that a session received, of those of a publisher that it should have."""
    found = []
    lost = sorted(set(acknowledged) - set(received))
    if lost:
        found.append(f"lost {len(lost)} of {len(acknowledged)} acknowledged: {lost[:10]}")
    invented = sorted(set(received) - set(sent))
    if invented:
        found.append(f"never sent: {invented[:10]}")
    firsts = list(dict.fromkeys(received))
    if firsts != sorted(firsts):
        place = next(place for place in range(1, len(firsts)) if firsts[place] < firsts[place - 1])
        found.append(f"out of order: {firsts[max(0, place - 3) : place + 2]}")
    if once and len(firsts) != len(received):
        twice = sorted(number for number, times in Counter(received).items() if times > 1)
        found.append(f"{len(received) - len(firsts)} came twice: {twice[:10]}")
    return found


def wait_for_all(waits, received):
    """Waits until each tally has all that is wanted of it, or nothing has come for a long time: the judge says what is
    missing then. `received` counts all that came."""
    most, deadline = -1, 0.0
    while waits := [(tally, wanted) for tally, wanted in waits if not tally.has_all(wanted)]:
        count = received()
        if count > most:
            most, deadline = count, time.monotonic() + DEADLINE
        if time.monotonic() > deadline:
            return
        time.sleep(0.1)


class Publisher:
    """Publishes numbers, as fast as its window lets it; goes on with its session after each resumption.

    `topic` gives the topic of a number; `most` is how many it sends at most after it was asked for acknowledgements.
    """

    WINDOW = 20

    def __init__(self, site, port, name, qos, version, topic, most, retain=False):
        self.name, self.qos, self.topic, self.most, self.retain = name, qos, topic, most, retain
        self.client = Client(site, port, f"publisher-{name}", version, clean=False, expiry=FOR_EVER).accepted()
        self.acknowledged, self.waiting, self.next, self.limit = [], {}, 0, most
        self.running, self.ending = True, False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def pause(self):
        """Sends nothing new until it is resumed."""
        self.running = False

    def resume(self):
        self.client.resume()
        self.running = True

    def finish(self):
        """Waits until all that was sent is acknowledged."""
        self.ending = True
        self.thread.join(DEADLINE * 2)
        check(not self.thread.is_alive(), f"{self.name}: the last acknowledgements do not come")

    def until_acknowledged(self, more):
        self.limit = self.next + self.most
        wanted = len(self.acknowledged) + more
        wait_until(lambda: len(self.acknowledged) >= wanted, f"{self.name}: acknowledgements")

    def _may_publish(self):
        may = self.running and not self.ending and self.client.closed is None
        return may and len(self.waiting) < self.WINDOW and self.next < self.limit

    def _run(self):
        while not self.ending or self.waiting:
            while self._may_publish():
                number, self.next = self.next, self.next + 1
                handle = self.client.publish(self.topic(number), str(number), self.qos, self.retain, wait=False)
                self.waiting[handle.mid] = number
            for mid in self.client.acknowledged() & self.waiting.keys():
                self.acknowledged.append(self.waiting.pop(mid))
                self.client.forget(mid)
            time.sleep(0.001)


class Tally:
    """What a session received of one publisher; compact, because all of them together are millions of numbers."""

    def __init__(self):
        self.numbers = array("I")  # in order of arrival
        self._seen = bytearray()  # at each number's place: whether it has come
        self._whole = 0  # so many of the first wanted ones have come

    def add(self, number):
        self.numbers.append(number)
        if number >= len(self._seen):
            self._seen.extend(bytes(number + 1000 - len(self._seen)))
        self._seen[number] = 1

    def has_all(self, wanted):
        """Goes on where it stopped the last time: `wanted` must be the same, or longer."""
        while self._whole < len(wanted):
            number = wanted[self._whole]
            if number >= len(self._seen) or not self._seen[number]:
                return False
            self._whole += 1
        return True
