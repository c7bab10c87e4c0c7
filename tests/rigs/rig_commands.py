"""Commands to a device: MQTT clients of both versions and Mosquitto as the upstream ask, a device of pymodbus is written to.

What the device did is told by the device: it lists each write (see device.py), and another Modbus client reads it. A
command is carried out once at most, so whatever is refused has written nothing, and nothing is ever written twice.
"""

import itertools
import json
import subprocess
import time
from collections import Counter

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pymodbus.client import ModbusTcpClient

from harness import (
    BRIDGE_STATUS,
    DEVICE_STATUS,
    LONG,
    Authority,
    Device,
    Gateway,
    Mosquitto,
    bridge,
    case,
    check,
    device,
    equal,
    main,
    newest,
    wait_until,
)
from mqtt_client import V5, V311, Client

NOT_AUTHORIZED = 0x87
PASSWORD = "secret"
SETPOINTS = 200
LOG_LINES = 20
KILLS = 20 if LONG else 4
# Of device.py; `speed` holds 1234 at first and `level` 21.7.
SPEED, LEVEL, RUN = 1, 30, 0
MAX_AGE_MS = 3000
GROUPS = f"""\
- name: drive
  interval: 100ms
  tags:
    - {{ name: run, register: coil, address: {RUN}, write: {{ verify: true }} }}
    - name: speed
      register: holding
      address: {SPEED}
      type: uint16
      write: {{ min: 0, max: 5000, verify: true, max_age: {MAX_AGE_MS}ms }}
    - {{ name: level, register: holding, address: {LEVEL}, type: float32, write: {{ min: 0, max: 100, verify: true }} }}
    - {{ name: total, register: holding, address: 12, type: uint32 }}
"""
# Users may do everything, one anonymous panel may give commands, others only what is allowed to anonymous clients.
ACCESS = """\
users_file: users
access:
  - { user: "*", publish: ["#"], subscribe: ["#"] }
  - { client_id: panel, publish: ["{gateway}/+/set/#"], subscribe: ["{gateway}/#"] }
"""


def now_ms():
    return time.time_ns() // 1_000_000


def topic(name):
    return f"g1/dev1/set/{name}"


class Plant:
    """A device, the gateway before it, and what became of the commands that were given."""

    def __init__(self, site, more="", store=""):
        self.site = site
        self.device = Device(site)
        users = site.write("users", "")
        subprocess.run(["mosquitto_passwd", "-b", users, "operator", PASSWORD], check=True, capture_output=True)
        options = "response_timeout: 2s\nretries: 0\noffline_after: 3\nprobe_backoff: { min: 1s, max: 1s }\n"
        rest = device(self.device.port, GROUPS, options)
        self.gateway = Gateway(site, rest + more, broker=ACCESS, store=store)
        self.outcomes = Counter()
        self.watcher = Client(site, self.gateway.port, "watcher", user=("operator", PASSWORD)).accepted()
        self.watcher.subscribe("g1/#", 1)
        self.wait_for_reading()

    def wait_for_state(self, state):
        wait_until(lambda: (newest(self.watcher, DEVICE_STATUS) or {}).get("state") == state, f"the device is {state}")

    def wait_for_reading(self):
        """A good one that comes from now on."""
        before = len(self.watcher.payloads("g1/dev1/drive"))
        wait_until(lambda: any('"bad"' not in one for one in self.watcher.payloads("g1/dev1/drive")[before:]), "a good reading")

    def count(self, answer):
        self.outcomes["ok" if answer["ok"] else answer["error"]] += 1
        return answer

    def reads(self, address, count=1):
        """Registers, by another Modbus client."""
        with ModbusTcpClient("127.0.0.1", port=self.device.port) as client:
            return client.read_holding_registers(address, count=count, device_id=1).registers

    def reads_coil(self, address):
        with ModbusTcpClient("127.0.0.1", port=self.device.port) as client:
            return client.read_coils(address, count=1, device_id=1).bits[0]

    def tell(self):
        """Fails where something was written twice."""
        twice = [write for write, times in Counter(self.device.writes()).items() if times > 1]
        equal(twice, [], "written twice")
        refused = {kind: count for kind, count in self.outcomes.items() if kind != "ok"}
        print(
            f"    {self.outcomes.total()} commands: {self.outcomes['ok']} ok, refused {refused}; "
            f"{len(self.device.writes())} writes, {len(twice)} twice"
        )


class Operator:
    """A client of MQTT 5 that gives commands, each with an id, a response topic and correlation data."""

    def __init__(self, plant, port=None, client_id="hmi", user=("operator", PASSWORD), under=""):
        self.plant, self.under = plant, under
        self.replies = f"{under}g1/replies/{client_id}"
        self.numbers = itertools.count()
        self.client = Client(plant.site, port or plant.gateway.port, client_id, V5, user=user).accepted()
        self.client.subscribe(f"{under}g1/dev1/set/+/result", 1)

    def send(self, name, payload, retain=False, expiry=None):
        """Gives it; returns its correlation data."""
        number = str(next(self.numbers)).encode()
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = self.replies
        properties.CorrelationData = number
        if expiry is not None:
            properties.MessageExpiryInterval = expiry
        self.client.publish(self.under + topic(name), payload, qos=1, retain=retain, properties=properties)
        return number

    def answer(self, name, number):
        """What became of it, which is told to the result topic and to the response topic alike."""

        def on(where):
            for message in self.client.received():
                if message.topic == where and getattr(message.properties, "CorrelationData", None) == number:
                    return message.payload
            return None

        places = [self.under + topic(name) + "/result", self.replies]
        told = [wait_until(lambda place=place: on(place), f"the answer on {place}") for place in places]
        equal(told[0], told[1], "the two answers")
        return self.plant.count(json.loads(told[0]))

    def ask(self, name, payload, **options):
        return self.answer(name, self.send(name, payload, **options))


def operator(plant):
    one = Operator(plant)
    one.client.subscribe(one.replies, 1)
    return one


def refused(answer, error):
    equal((answer["ok"], answer.get("error")), (False, error), f"the answer {answer}")


@case
def what_is_asked_for_is_written_read_back_and_answered_in_both_versions(site):
    plant = Plant(site)
    hmi = operator(plant)
    asked = {"value": 1500, "id": "abc", "ts": now_ms()}
    answer = hmi.ask("speed", json.dumps(asked))
    told = {key: answer.get(key) for key in ("id", "ok", "value", "read_back")}
    equal(told, {"id": "abc", "ok": True, "value": 1500, "read_back": 1500}, "the answer")
    equal(plant.reads(SPEED), [1500], "the speed that the device holds")
    check(hmi.ask("run", "false")["ok"], "the coil was refused")
    equal(plant.reads_coil(RUN), False, "the coil that the device holds")

    panel = Client(site, plant.gateway.port, "panel", V311).accepted()
    panel.subscribe(topic("level") + "/result", 1)
    panel.publish(topic("level"), json.dumps({"value": 55.5, "id": 7}), qos=1)
    answer = plant.count(json.loads(panel.wait_for(1)[0]))
    equal((answer["id"], answer["ok"], answer["read_back"]), (7, True, 55.5), "the answer in MQTT 3.1.1")
    equal(plant.reads(LEVEL, 2), [0x425E, 0], "the level that the device holds")
    equal(plant.device.writes(), [(SPEED, 1500), (RUN, 0), (LEVEL, 0x425E, 0)], "the writes")
    lines = [line for line in plant.gateway.process.log().splitlines() if "command carried out" in line]
    for line, words in zip(lines, [("speed", "hmi", "operator"), ("run", "hmi", "operator"), ("level", "panel")], strict=True):
        check(all(word in line for word in words), f"{words} are not in the log: {line}")
    plant.tell()


@case
def what_must_not_be_is_refused_by_name_and_writes_nothing(site):
    plant = Plant(site)
    hmi = operator(plant)
    old = json.dumps({"value": 9, "ts": now_ms() - 60_000})
    commands = [
        ("speed", "9", {"retain": True}, "retained"),
        ("speed", "5001", {}, "out_of_range"),
        ("level", "-0.5", {}, "out_of_range"),
        ("speed", "fast", {}, "bad_value"),
        ("speed", "1.5", {}, "bad_value"),
        ("run", "7", {}, "bad_value"),
        ("total", "9", {}, "read_only"),
        ("torque", "9", {}, "unknown"),
        ("speed", old, {}, "expired"),
        ("speed", "9", {"expiry": 0}, "expired"),
    ]
    for name, payload, options, error in commands:
        refused(hmi.ask(name, payload, **options), error)
        line = plant.gateway.process.log().splitlines()[-1]
        for word in ("command not carried out", error, "hmi", "operator", name):
            check(word in line, f"{word} is not in the log: {line}")
    plant.device.process.kill()
    plant.wait_for_state("offline")
    refused(hmi.ask("speed", "9"), "offline")
    equal(plant.device.writes(), [], "the writes")
    plant.tell()


@case
def who_has_no_right_gives_no_command(site):
    plant = Plant(site)
    stranger = Client(site, plant.gateway.port, "stranger", V5).accepted()
    handle = stranger.publish(topic("speed"), "9", qos=1)
    equal(stranger.refused(handle.mid), NOT_AUTHORIZED, "the reason code of PUBACK")
    old_stranger = Client(site, plant.gateway.port, "old-stranger", V311).accepted()
    old_stranger.publish(topic("speed"), "9", qos=1)
    check(operator(plant).ask("speed", "10")["ok"], "the operator was refused")
    equal(plant.device.writes(), [(SPEED, 10)], "the writes")
    plant.outcomes["no right"] += 2
    plant.tell()


@case
def a_command_that_was_retained_before_the_gateway_started_writes_nothing(site):
    plant = Plant(site)
    refused(operator(plant).ask("speed", "9", retain=True), "retained")
    plant.gateway.process.stop()
    plant.gateway.restart()
    hmi = operator(plant)
    hmi.client.subscribe(topic("speed"), 1)
    hmi.client.wait_for(1, topic("speed"))
    check(hmi.ask("speed", "10")["ok"], "the command was refused")
    equal(plant.device.writes(), [(SPEED, 10)], "the writes")
    plant.tell()


@case
def a_command_without_a_reply_is_not_repeated_and_one_that_waited_too_long_is_not_done(site):
    plant = Plant(site)
    hmi = operator(plant)
    plant.device.mode("silent")
    first = hmi.send("speed", "10")
    second = hmi.send("speed", "20", expiry=1)  # the first takes the 2 s in which it is not answered
    refused(hmi.answer("speed", first), "timeout")
    refused(hmi.answer("speed", second), "expired")
    plant.device.mode("ok")
    plant.wait_for_reading()
    check(hmi.ask("speed", "30")["ok"], "the command was refused")
    equal(plant.device.writes(), [(SPEED, 10), (SPEED, 30)], "the writes: the device had taken the first")
    plant.tell()


class Cloud:
    """Mosquitto as the upstream, and the bridge through which its commands come and the answers go."""

    def __init__(self, site):
        self.broker = Mosquitto(site, Authority(site))
        text = bridge(self.broker.authority, self.broker.tls_port, filters=())
        forward = '{ filter: "{gateway}/#", except: ["{gateway}/+/set/+"], topic: "site/{topic}" }'
        self.bridge = f"{text.rstrip()} [{forward}]\n"
        self.bridge += '    receive: [{ filter: "site/{gateway}/+/set/+", topic: "{2..}" }]\n'

    def operator(self, plant):
        """One that is upstream, and so is its response topic."""
        one = Operator(plant, self.broker.port, "cloud-hmi", user=None, under="site/")
        one.client.subscribe(one.replies, 1)
        return one

    def wait_for_bridge(self):
        wait_until(lambda: "site/g1/+/set/+" in self.broker.process.log(), "the bridge subscribes")


@case
def a_command_from_the_cloud_is_carried_out_and_answered_there_but_not_one_that_is_retained(site):
    cloud = Cloud(site)
    remembered = Client(site, cloud.broker.port, "remembered").accepted()
    remembered.publish("site/" + topic("level"), "9", qos=1, retain=True)
    plant = Plant(site, cloud.bridge)
    cloud.wait_for_bridge()
    hmi = cloud.operator(plant)
    answer = hmi.ask("speed", json.dumps({"value": 1500, "ts": now_ms()}))
    equal((answer["ok"], answer.get("read_back")), (True, 1500), "the answer")
    hmi.send("speed", "9", retain=True)
    check(hmi.ask("speed", "10")["ok"], "the command behind the retained one was refused")
    equal(plant.device.writes(), [(SPEED, 1500), (SPEED, 10)], "the writes")
    told = plant.gateway.process.log().count("a command with RETAIN set is not carried out")
    equal(told, 2, "what the log says of retained commands")
    plant.outcomes["retained"] += told
    plant.tell()


@case
def commands_that_were_given_while_the_gateway_was_down_are_too_old_when_it_is_back(site):
    cloud = Cloud(site)
    plant = Plant(site, cloud.bridge)
    cloud.wait_for_bridge()
    hmi = cloud.operator(plant)
    check(hmi.ask("speed", "10")["ok"], "the command was refused")
    plant.gateway.process.kill()
    given = now_ms()
    numbers = [hmi.send("speed", json.dumps({"value": value, "ts": given})) for value in range(20, 25)]
    wait_until(lambda: now_ms() > given + MAX_AGE_MS, "they are too old")
    plant.gateway.restart()
    for number in numbers:
        refused(hmi.answer("speed", number), "expired")
    check(hmi.ask("speed", json.dumps({"value": 30, "ts": now_ms()}))["ok"], "the command was refused")
    equal(plant.device.writes(), [(SPEED, 10), (SPEED, 30)], "the writes")
    plant.tell()


@case
def no_setpoint_of_a_stream_is_written_twice_over_kills(site):
    """Somebody whose session is kept listens, too, so that a command is acknowledged only when it is on disk for him: after it
    was carried out. What a kill leaves without an acknowledgement its sender sends again."""
    plant = Plant(site, store="commit_interval: 500ms\n")
    login = ("operator", PASSWORD)
    archive = Client(site, plant.gateway.port, "archive", clean=False, user=login).accepted()
    archive.subscribe("g1/+/set/+", 1)
    archive.end()
    sender = Client(site, plant.gateway.port, "sender", clean=False, user=login).accepted()
    handles, again = [], []
    for number in range(SETPOINTS):
        written = len(plant.device.writes())
        handles.append(sender.publish(topic("speed"), str(number), qos=1, wait=False))
        wait_until(lambda w=written: len(plant.device.writes()) > w, f"setpoint {number} is written")
        if number % (SETPOINTS // KILLS) == SETPOINTS // KILLS // 2:
            plant.gateway.process.kill()
            again.append(sum(not handle.is_published() for handle in handles))
            plant.gateway.restart()
            sender.resume()
    wait_until(lambda: all(handle.is_published() for handle in handles), "all are acknowledged")
    check(sum(again), "no kill left a command without its acknowledgement")
    # What one start says of one device has room for so many lines a minute.
    told = sum(min(count, LOG_LINES) for count in again)
    equal(plant.gateway.process.log().count("error=sent_again"), told, "refused because they came again")
    values = [value for address, value in plant.device.writes()]
    equal([value for value, times in Counter(values).items() if times > 1], [], "written twice")
    equal(values, sorted(values), "the setpoints in the order of their writes")
    equal(values[-1], SETPOINTS - 1, "the last one")
    print(f"    {SETPOINTS} setpoints, {KILLS} kills: {len(values)} written, 0 twice; {sum(again)} sent again and refused")


main()
