"""fieldgate's Modbus adapter over each wire, between real peers and faults: pymodbus over Modbus TCP, over RTU on a line of
socat's, and over RTU through TCP. Whatever happens, no value is published that the device did not give to the request for it.

Each reading is judged by what the device says of itself: which count it gave when (see device.py). A value is right where
all of the registers are of one count, which is new, the device gave that before the reading was stamped, and it was not
asked again before; so neither a torn value nor an old one passes. libmodbus (mbpoll) reads the same device beside fieldgate.
"""

import contextlib
import json
import os
import random
import subprocess
from collections import Counter

from harness import (
    LONG,
    Device,
    Failed,
    Gateway,
    Proxy,
    add_case,
    check,
    equal,
    free_port,
    main,
    newest,
    wait_until,
)
from mqtt_client import Client

ROUNDS = 40 if LONG else 3
# Good readings between two faults.
BETWEEN = 5
NOISE_MAX = 60
# Of device.py.
MULTIPLIERS = (1, 3, 7919, 40503)
TAGS = {"n", *(f"w{number}" for number in range(len(MULTIPLIERS)))}

GROUP = """\
      - name: counter
        interval: 50ms
        tags:
          - { name: n, register: input, address: 1000, type: uint32 }
          - { name: w0, register: input, address: 1002, type: uint16 }
          - { name: w1, register: input, address: 1003, type: uint16 }
          - { name: w2, register: input, address: 1004, type: uint16 }
          - { name: w3, register: input, address: 1005, type: uint16 }
"""


def devices(wire):
    """Unit 1, which is there, and unit 2, which never is, on one wire."""
    return f"""\
connections:
  - name: line1
    {wire}
devices:
  - name: dev1
    connection: line1
    unit_id: 1
    response_timeout: 200ms
    retries: 1
    offline_after: 3
    probe_backoff: {{ min: 1s, max: 1s }}
    groups:
{GROUP}
  - name: dead
    connection: line1
    unit_id: 2
    response_timeout: 100ms
    retries: 0
    offline_after: 3
    probe_backoff: {{ min: 1s, max: 1s }}
    groups:
{GROUP}"""


class Cable(Proxy):
    """A link over TCP that also has noise on it."""

    def __init__(self, site, target):
        super().__init__(site, target)
        self.place = self.port

    def noise(self, data):
        with self._lock:
            for near, _ in self._open:
                with contextlib.suppress(OSError):
                    near.sendall(data)


class SocatLine:
    """Two pseudo terminals that socat connects: `place` is the gateway's, `far` the device's."""

    def __init__(self, site):
        self.place, self.far = site.folder / "line", site.folder / "far"
        ends = [f"pty,raw,echo=0,link={end}" for end in (self.place, self.far)]
        self.socat = site.process("socat", ["socat", *ends])
        self._wait()

    def cut(self):
        """Pulls it out: both ends are gone."""
        self.socat.kill()
        for end in (self.place, self.far):
            end.unlink(missing_ok=True)

    def mend(self):
        self.socat.start()
        self._wait()

    def noise(self, data):
        end = os.open(self.far, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            os.write(end, data)
        finally:
            os.close(end)

    def _wait(self):
        wait_until(lambda: self.place.exists() and self.far.exists(), "socat has made the line")


class Field:
    """A device behind a link, the gateway that reads it, and what it published."""

    def __init__(self, site, way):
        if way == "rtu":
            self.link = SocatLine(site)
            self.device = Device(site, way, line=self.link.far)
            wire = f"modbus_rtu: {{ port: {self.link.place}, baud_rate: 115200, parity: none }}"
        else:
            self.device = Device(site, way)
            self.link = Cable(site, self.device.port)
            wire = f"modbus_{way}: {{ host: 127.0.0.1, port: {self.link.place}, connect_timeout: 2s }}"
        self.gateway = Gateway(site, devices(wire))
        self.watcher = Client(site, self.gateway.port, "watcher").accepted()
        self.watcher.subscribe("g1/#", 1)
        self.faults = Counter()
        self.random = random.Random(seed())

    def readings(self):
        return [json.loads(body) for body in self.watcher.payloads("g1/dev1/counter")]

    def wait_for_good(self):
        """A few good readings of what the device is asked from now on."""
        since = max(self.device.reads(), default=0)

        def are_there():
            good = [one for one in self.readings() if one["values"].get("n", 0) > since]
            return len(good) >= BETWEEN

        wait_until(are_there, f"{BETWEEN} good readings after {dict(self.faults)}")

    def wait_for_bad(self, since):
        wait_until(lambda: any("bad" in one for one in self.readings()[since:]), "a bad reading")

    def fault(self, kind):
        """Lets it happen, waits until it is seen, and puts all right again."""
        since = len(self.readings())
        self.faults[kind] += 1
        match kind:
            case "pulled":
                self.link.cut()
                self.wait_for_bad(since)
                self.link.mend()
                if isinstance(self.link, SocatLine):
                    self.device.process.kill()
                    self.device.start()
            case "killed":
                self.device.process.kill()
                self.wait_for_bad(since)
                self.device.start()
            case "noise":
                # May hit nothing; what is hit is bad.
                for _ in range(20):
                    self.link.noise(self.random.randbytes(self.random.randint(1, NOISE_MAX)))
                    seen = len(self.readings())
                    wait_until(lambda: len(self.readings()) > seen, "the next reading")
            case mode:
                self.device.mode(mode)
                self.wait_for_bad(since)
                self.device.mode("ok")
        self.wait_for_good()

    def judge(self):
        """Fails where a value is wrong; returns how many readings were good, and the reasons of the others."""
        reads = self.device.reads()
        good, reasons, newest_count = 0, Counter(), 0
        asked = sorted((stamp, count) for count, stamp in reads.items())
        for one in self.readings():
            values, bad = one.get("values", {}), one.get("bad", {})
            equal(sorted([*values, *bad]), sorted(TAGS), f"the tags of {one}")
            check(all(bad.values()), f"bad without a reason: {one}")
            reasons.update(set(bad.values()))
            if not values:
                continue
            good += 1
            count = values["n"]
            right = {"n": count} | {f"w{at}": count * by & 0xFFFF for at, by in enumerate(MULTIPLIERS)}
            equal(values, right, f"the values of one request, {one}")
            check(count > newest_count, f"{one} has come before")
            newest_count = count
            check(reads.get(count, one["ts"] + 1) <= one["ts"], f"{one} was not given before")
            later = [later for stamp, later in asked if later > count and stamp < one["ts"]]
            check(not later, f"{one} is old: the device had been asked for {later}")
        return good, reasons


def seed():
    return int(os.environ.get("RIG_SEED") or random.SystemRandom().randrange(1 << 32))


FAULTS = {
    "tcp": ["silent", "exception", "late", "short", "unit", "pulled", "killed", "noise"],
    "rtu_over_tcp": ["silent", "exception", "late", "pulled", "killed", "noise"],
    "rtu": ["silent", "exception", "late", "pulled", "killed", "noise"],
}


def no_value_is_wrong(site, way):
    field = Field(site, way)
    field.wait_for_good()
    for _ in range(ROUNDS):
        kinds = FAULTS[way].copy()
        field.random.shuffle(kinds)
        for kind in kinds:
            field.fault(kind)
    good, reasons = field.judge()
    dead = newest(field.watcher, "g1/dead/$status")
    equal(dead["state"], "offline", "the state of the unit that is not there")
    check(all(not json.loads(one)["values"] for one in field.watcher.payloads("g1/dead/counter")), "a value of nobody")
    print(
        f"    {good + sum(reasons.values())} readings over {way}: {good} good, bad {dict(reasons)}, 0 wrong; "
        f"faults {dict(field.faults)}"
    )


def an_old_value_is_found(site):
    """The device says what it said before, in a reply in which nothing is wrong: only the judge can tell."""
    field = Field(site, "tcp")
    field.wait_for_good()
    field.judge()
    asked = max(field.device.reads())
    field.device.mode("old")
    wait_until(lambda: field.readings()[-1]["values"].get("n", 0) > asked, "values that are old")
    try:
        field.judge()
    except Failed as found:
        check("has come before" in str(found), f"found is: {found}")
    else:
        raise Failed("the judge has not found an old value")


def libmodbus_reads_the_same(site, way):
    """What mbpoll reads of the device is what fieldgate publishes of it."""
    device = Device(site, way)
    groups = """\
      - name: constants
        interval: 200ms
        tags:
          - { name: u16, register: holding, address: 1, type: uint16 }
          - { name: i32, register: holding, address: 10, type: int32 }
          - { name: f32, register: holding, address: 30, type: float32 }
"""
    wire = f"modbus_{way}: {{ host: 127.0.0.1, port: {device.port} }}"
    gateway = Gateway(site, devices(wire).replace(GROUP, groups, 1))
    watcher = Client(site, gateway.port, "watcher").accepted()
    watcher.subscribe("g1/dev1/constants", 1)
    published = json.loads(watcher.wait_for(1)[0])["values"]
    for name, address, kind in [("u16", 1, "4"), ("i32", 10, "4:int"), ("f32", 30, "4:float")]:
        command = ["mbpoll", "-m", "tcp", "-p", device.port, "-a", 1, "-0", "-r", address, "-c", 1, "-B", "-1", "-q"]
        told = subprocess.run(
            [*map(str, command), "-t", kind, "127.0.0.1"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
        lines = [line.split(":")[1].split()[0] for line in told.splitlines() if line.startswith("[")]
        equal([float(line) for line in lines], [published[name]], f"{name} by mbpoll")


for way in FAULTS:
    add_case(
        f"no value over {way} is wrong, whatever happens to the device and its line",
        lambda site, way=way: no_value_is_wrong(site, way),
    )
add_case("a value that is old is found by the judge of this rig", an_old_value_is_found)
add_case("libmodbus reads what is published", lambda site: libmodbus_reads_the_same(site, "tcp"))


main()
