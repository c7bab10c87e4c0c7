"""Full disks and bad media under the real program: it lives on, loses nothing that it acknowledged, and recovers by itself.

`data_dir` is a small tmpfs of its own, which only root may mount. In every case, while the medium is out of order: the broker
answers, the device is polled, the alarm is on the status topics; and when it is well again: what was acknowledged has
arrived or was counted as dropped, at QoS 2 nothing came twice, and new messages are acknowledged and arrive.

What the simulated medium shows better (a failed sync, a write error at every operation) is in `cargo test`.
"""

import contextlib
import json
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

from harness import (
    BRIDGE_STATUS,
    COUNTING,
    LONG,
    Authority,
    Device,
    Failed,
    Gateway,
    Mosquitto,
    Proxy,
    add_case,
    bridge,
    case,
    check,
    device,
    equal,
    main,
    newest,
    wait_until,
)
from mqtt_client import V5, Client

DISK_MIB = 48
SIZE = 16 << 10
QUOTA_EXCEEDED = 0x97
SERVER_UNAVAILABLE = 0x88
# Generations of 2 MiB, so that a few hundred messages fill several.
BACKLOG = "backlog: { max_bytes: 16MiB }\n"
# Little in RAM, so that a log whose files are out of use is full at once.
STORE = "commit_interval: 20ms\nhold_for_upstream: 0ms\nhold_bytes: 256KiB\nfree_space_minimum: 0B\n"
FLIPS = 8 if LONG else 2


def payload(number):
    """What can be told from anything else: its number, and bytes that follow from it."""
    return f"{number}:" + str(number % 10) * SIZE


def number_of(body):
    number, _, rest = body.partition(":")
    check(rest == str(int(number) % 10) * SIZE, f"a message that nobody sent: {body[:40]!r}")
    return int(number)


class Disk:
    """A tmpfs in place of the gateway's `data` folder."""

    def __init__(self, site):
        self.path = site.folder / "data"
        self.path.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", self.path], capture_output=True, text=True
        )
        if done.returncode:
            raise Failed(f"this rig needs root, to mount a tmpfs: {done.stderr.strip()}")
        site.on_end(lambda: subprocess.run(["umount", "-l", self.path], check=False))
        self.ballast = self.path / "ballast"

    def fill(self, left=0):
        """Takes all room but `left` bytes."""
        with self.ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        if left:
            with self.ballast.open("r+b") as file:
                file.truncate(max(self.ballast.stat().st_size - left, 0))

    def free(self):
        self.ballast.unlink()

    def remount(self, how):
        subprocess.run(["mount", "-o", f"remount,{how}", self.path], check=True)

    def files(self):
        return sorted(path for path in self.path.rglob("*.redb") if path.is_file())


class Publisher:
    """Numbered messages at one QoS on a topic of its own; knows which were acknowledged."""

    WINDOW = 20

    def __init__(self, site, port, qos):
        self.qos, self.topic = qos, f"plant/q{qos}"
        self.client = Client(site, port, f"q{qos}", V5, clean=True).accepted()
        self.waiting, self.acknowledged, self.next = {}, set(), 0

    def send(self):
        """Fills the window; returns how many are acknowledged in all."""
        check(self.client.closed is None, f"{self.topic}: closed: {self.client.closed}")
        while len(self.waiting) < self.WINDOW:
            handle = self.client.publish(self.topic, payload(self.next), self.qos, wait=False)
            self.waiting[handle.mid] = self.next
            self.next += 1
        return self.note()

    def note(self):
        for mid in self.client.acknowledged() & self.waiting.keys():
            self.acknowledged.add(self.waiting.pop(mid))
            self.client.forget(mid)
        return len(self.acknowledged)

    def until(self, more):
        """Sends until so many more are acknowledged."""
        wanted = len(self.acknowledged) + more
        wait_until(lambda: self.send() >= wanted, f"{self.topic}: {more} more acknowledgements")

    def settle(self):
        """Waits for the last acknowledgements."""
        wait_until(lambda: self.note() is not None and not self.waiting, f"{self.topic}: the last acknowledgements")


class Plant:
    """A device, a gateway, an upstream behind a link that is cut, and somebody who looks at the local topics."""

    def __init__(self, site, store=STORE, carries_readings=True):
        self.site = site
        authority = Authority(site)
        self.upstream = Mosquitto(site, authority)
        self.link = Proxy(site, self.upstream.tls_port)
        self.link.cut()
        self.field = Device(site)
        rest = device(self.field.port, COUNTING, more="response_timeout: 5s\n")
        filters = ["plant/#", "g1/$bridge/cloud/gap"] + ["g1/dev1/counter"] * carries_readings
        rest += bridge(authority, self.link.port, filters=filters, more=BACKLOG)
        self.gateway = Gateway(site, rest, store=store)
        self.observer = Client(site, self.upstream.port, "observer", clean=False).accepted()
        self.observer.subscribe("site/#", 2)
        self.looks = 0
        self.look()

    def look(self):
        """Somebody who reads the local topics, anew after each start of the gateway."""
        self.looks += 1
        self.local = Client(self.site, self.gateway.port, f"local{self.looks}").accepted()
        self.local.subscribe("g1/#")

    def publishers(self):
        return [Publisher(self.site, self.gateway.port, qos) for qos in (1, 2)]

    def until_alarm(self, text=""):
        """The bridge's status says that its files are out of use."""

        def told():
            status = newest(self.local, BRIDGE_STATUS)
            return status and status["store_error"] and text in status["store_error"]

        wait_until(told, f"store_error with {text!r}")

    def until_well(self):
        wait_until(lambda: (newest(self.local, BRIDGE_STATUS) or {"store_error": 1})["store_error"] is None, "no alarm")

    def lives(self):
        """The broker answers, and the device is polled."""
        check(self.gateway.process.running(), "fieldgate ended")
        client = Client(self.site, self.gateway.port, version=V5).accepted()
        client.barrier("local/barrier")
        client.end()
        reads = len(self.field.reads())
        wait_until(lambda: len(self.field.reads()) > reads + 5, "the device is polled")
        readings = len(self.local.payloads("g1/dev1/counter"))
        wait_until(
            lambda: len(self.local.payloads("g1/dev1/counter")) > readings + 20, "readings reach local subscribers"
        )

    def dropped(self):
        return newest(self.local, BRIDGE_STATUS)["dropped"]

    def told(self):
        """How many the upstream was told of, in all holes."""
        holes = [json.loads(body) for body in self.observer.payloads("site/g1/g1/$bridge/cloud/gap")]
        return sum({hole["number"]: hole["count"] for hole in holes}.values())

    def judge_holes(self):
        """What was dropped, be it readings that nobody sends again, is known to the upstream."""
        wait_until(lambda: self.told() == self.dropped(), "the upstream is told of all that was dropped")

    def arrived(self, publisher):
        return [number_of(body) for body in self.observer.payloads(f"site/g1/{publisher.topic}")]

    def has_all(self, publisher):
        return publisher.acknowledged <= set(self.arrived(publisher))

    def judge(self, publishers, may_drop=False):
        """What was acknowledged arrived, or was counted as dropped."""
        self.link.mend()
        for publisher in publishers:
            if not may_drop:
                wait_until(lambda p=publisher: p.note() and self.has_all(p), f"{publisher.topic}: all arrives")
            publisher.until(5)
            publisher.settle()
            last = max(publisher.acknowledged)
            wait_until(lambda p=publisher, n=last: n in self.arrived(p), f"{publisher.topic}: the last one arrives")
        lost = sum(len(publisher.acknowledged - set(self.arrived(publisher))) for publisher in publishers)
        if may_drop:
            dropped = self.dropped()
            check(0 < lost <= dropped, f"{lost} did not arrive, and {dropped} were counted as dropped")
        else:
            equal(lost, 0, "acknowledged and lost")
        for publisher in publishers:
            if publisher.qos == 2:
                numbers = self.arrived(publisher)
                equal(len(numbers), len(set(numbers)), "messages at QoS 2, and without those that came twice")
        total = sum(len(publisher.acknowledged) for publisher in publishers)
        print(f"    {total} acknowledged, {lost} dropped and counted")


# ----------------------------------------------------------------------------------------------------------------------
# A disk that fills up
# ----------------------------------------------------------------------------------------------------------------------


@case
def a_disk_that_fills_up_and_is_freed(site):
    disk = Disk(site)
    plant = Plant(site)
    publishers = plant.publishers()
    for publisher in publishers:
        publisher.until(10)  # less than a generation: nothing older can be dropped
    disk.fill()
    wait_until(lambda: [p.send() for p in publishers] and newest(plant.local, BRIDGE_STATUS)["store_error"], "the alarm")
    plant.lives()
    disk.free()
    plant.until_well()
    plant.judge(publishers)
    plant.judge_holes()


@case
def a_full_disk_is_drained_and_that_makes_room(site):
    disk = Disk(site)
    # Nothing waits to be written, so nothing is dropped; the link comes back while the disk is full.
    plant = Plant(site, carries_readings=False)
    publishers = plant.publishers()
    for publisher in publishers:
        publisher.until(160)
        publisher.settle()
    disk.fill()
    plant.lives()
    plant.judge(publishers)
    equal(plant.dropped(), 0, "dropped")
    check(disk.ballast.exists(), "the disk was full until the end")


@case
def the_oldest_gives_way_on_a_full_disk_and_is_counted(site):
    disk = Disk(site)
    plant = Plant(site)
    publishers = plant.publishers()
    for publisher in publishers:
        publisher.until(160)
    disk.fill()
    for publisher in publishers:
        publisher.until(60)
        publisher.settle()
    plant.lives()
    plant.judge(publishers, may_drop=True)
    plant.judge_holes()


@case
def the_free_space_minimum_is_kept(site):
    disk = Disk(site)
    plant = Plant(site, store=STORE.replace("0B", "16MiB"))
    publishers = plant.publishers()
    for publisher in publishers:
        publisher.until(10)
    disk.fill(left=8 << 20)
    before = shutil.disk_usage(disk.path).free
    wait_until(
        lambda: [p.send() for p in publishers] and newest(plant.local, BRIDGE_STATUS)["store_error"], "the alarm"
    )
    plant.until_alarm("free_space_minimum")
    plant.lives()
    check(shutil.disk_usage(disk.path).free > before - (2 << 20), "what shall stay free does")
    disk.free()
    plant.until_well()
    plant.judge(publishers)
    plant.judge_holes()


# ----------------------------------------------------------------------------------------------------------------------
# A folder that cannot be used at the start
# ----------------------------------------------------------------------------------------------------------------------


def starts_without(site, heal):
    """Starts with a folder that cannot be used, then makes it well."""
    plant = Plant(site)
    plant.until_alarm()
    status = wait_until(lambda: newest(plant.local, "g1/$status"), "the gateway's status")
    check(status["store_error"], f"no alarm: {status}")
    client = Client(site, plant.gateway.port, "c", V5).accepted()
    codes = []
    client.paho.on_publish = lambda client, data, mid, code, properties: codes.append(code.value)
    client.publish("plant/refused", "1", 1, wait=False)
    wait_until(lambda: codes, "PUBACK")
    equal(codes, [QUOTA_EXCEEDED], "PUBACK")
    kept = Client(site, plant.gateway.port, "kept", V5, clean=False, expiry=60).connect()
    equal(kept.connack[0].value, SERVER_UNAVAILABLE, "CONNACK")
    plant.lives()
    heal()
    client.wait_closed()  # it starts anew

    def accepted():
        try:
            return Client(site, plant.gateway.port, "kept", V5, clean=False, expiry=60).accepted()
        except (AssertionError, OSError):
            return None

    wait_until(accepted, "a session that lasts is accepted")
    plant.look()
    plant.until_well()
    plant.lives()
    publishers = plant.publishers()
    for publisher in publishers:
        publisher.until(20)
    plant.judge(publishers)


@case
def a_start_on_a_full_disk(site):
    disk = Disk(site)
    disk.fill()
    starts_without(site, disk.free)


@case
def a_start_on_a_read_only_disk(site):
    disk = Disk(site)
    disk.remount("ro")
    starts_without(site, lambda: disk.remount("rw"))


@case
def a_start_with_a_file_in_place_of_the_folder(site):
    data = site.folder / "data"
    data.write_text("in the way")
    starts_without(site, data.unlink)


@case
def a_start_without_the_disk_that_the_folder_is_on(site):
    disk = site.folder / "disk"
    (site.folder / "data").symlink_to(disk)
    starts_without(site, disk.mkdir)


# ----------------------------------------------------------------------------------------------------------------------
# Bits that flip
# ----------------------------------------------------------------------------------------------------------------------


def flip(chance, path):
    """Turns a bit of what is in a file over; not of a hole, which nobody reads."""
    data = bytearray(path.read_bytes())
    pages = [page for page in range(0, len(data), 4096) if any(data[page : page + 4096])]
    place = chance.choice(pages) + chance.randrange(4096)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes([data[place] ^ (1 << chance.randrange(8))]))


def bits_flip(site, seed, running):
    """In every file in turn. Nothing is invented (`number_of`), and all goes on."""
    chance = random.Random(seed)
    disk = Disk(site)
    plant = Plant(site)
    session = Client(site, plant.gateway.port, "session", clean=False).accepted()
    session.subscribe("kept/#", 1)
    session.end()
    publishers = plant.publishers()
    for publisher in publishers:
        publisher.until(60)
        publisher.settle()
        publisher.client.publish("kept/1", "x" * 1000, 1, retain=True)
    for path in disk.files() * FLIPS:
        if not path.exists():
            continue
        if running:
            flip(chance, path)
        else:
            plant.gateway.process.stop()
            flip(chance, path)
            plant.gateway.restart()
        client = Client(site, plant.gateway.port, "session", clean=False).accepted()
        client.publish("plant/q1", payload(0), 1)
        client.end()
    plant.look()
    plant.lives()
    plant.link.mend()
    fresh = [Publisher(site, plant.gateway.port, qos) for qos in (1, 2)]
    for publisher in fresh:
        publisher.next = 10_000
        publisher.until(20)
        publisher.settle()
        wait_until(lambda p=publisher: plant.has_all(p), "what is acknowledged arrives")
    found = sum(len(publisher.acknowledged & set(plant.arrived(publisher))) for publisher in publishers)
    total = sum(len(publisher.acknowledged) for publisher in publishers)
    aside = len(list(disk.path.rglob("*.bad-*")))
    print(f"    {found} of {total} survived; {aside} files were put aside")
    check(found > 0, "not everything is gone")


for seed in random.SystemRandom().sample(range(1_000_000), 3 if LONG else 1):
    add_case(f"bits flip in every file before a start, seed {seed}", lambda s, n=seed: bits_flip(s, n, False))
    add_case(f"bits flip in every file while it runs, seed {seed}", lambda s, n=seed: bits_flip(s, n, True))

main()
