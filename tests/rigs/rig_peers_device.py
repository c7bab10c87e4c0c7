"""fieldgate's Modbus adapter and a device of pymodbus: every table and type, and every way a device can be bad."""

import json

from harness import (
    COUNTING,
    DEVICE_STATUS,
    Device,
    Gateway,
    add_case,
    case,
    check,
    device,
    equal,
    main,
    newest,
    wait_until,
)
from mqtt_client import Client

# What device.py holds, and what must be published of it.
TYPES = """\
- name: all
  interval: 200ms
  tags:
    - { name: coil0, register: coil, address: 0, type: bool }
    - { name: coil1, register: coil, address: 1, type: bool }
    - { name: coil6, register: coil, address: 6, type: bool }
    - { name: discrete0, register: discrete, address: 0, type: bool }
    - { name: discrete7, register: discrete, address: 7, type: bool }
    - { name: input_i16, register: input, address: 0, type: int16 }
    - { name: input_u16, register: input, reference: 30002, type: uint16 }
    - { name: i16, register: holding, address: 0, type: int16 }
    - { name: u16, register: holding, reference: 40001, type: uint16 }
    - { name: scaled, register: holding, address: 1, type: uint16, scale: 0.1, decimals: 1, unit: bar }
    - { name: i32, register: holding, address: 10, type: int32 }
    - { name: u32, register: holding, address: 12, type: uint32 }
    - { name: i64, register: holding, address: 20, type: int64 }
    - { name: u64, register: holding, address: 24, type: uint64 }
    - { name: f32, register: holding, address: 30, type: float32 }
    - { name: f64, register: holding, address: 40, type: float64 }
    - { name: text, register: holding, address: 50, type: string, length: 4 }
    - { name: cdab, register: holding, address: 60, type: float32, byte_order: CDAB }
    - { name: badc, register: holding, address: 62, type: float32, byte_order: BADC }
    - { name: dcba, register: holding, address: 64, type: float32, byte_order: DCBA }
"""
VALUES = {
    "coil0": True,
    "coil1": False,
    "coil6": True,
    "discrete0": False,
    "discrete7": True,
    "input_i16": -2,
    "input_u16": 1234,
    "i16": -2,
    "u16": 65534,
    "scaled": 123.4,
    "i32": -100_000,
    "u32": 4_000_000_000,
    "i64": -5_000_000_000,
    "u64": 18_000_000_000_000_000_000,
    "f32": 21.7,
    "f64": -0.1,
    "text": "pump 7",
    "cdab": 21.65,
    "badc": 21.65,
    "dcba": 21.65,
}
QUICK = "response_timeout: 300ms\nretries: 0\noffline_after: 3\nprobe_backoff: { min: 1s, max: 1s }\n"


def watch(site, gateway, *topics):
    watcher = Client(site, gateway.port, "watcher").accepted()
    for topic in topics:
        watcher.subscribe(topic, 1)
    return watcher


def readings(watcher, topic="g1/dev1/counter"):
    return [json.loads(body) for body in watcher.payloads(topic)]


def state(watcher):
    return (newest(watcher, DEVICE_STATUS) or {}).get("state")


@case
def every_table_and_type_is_published_with_its_value(site):
    field = Device(site)
    gateway = Gateway(site, device(field.port, TYPES, more="max_gap: 4"))
    watcher = watch(site, gateway, "g1/dev1/all")
    body = watcher.wait_for(1)[0]
    reading = json.loads(body)
    equal(reading["values"], VALUES, "values")
    check("bad" not in reading, f"bad: {reading.get('bad')}")
    for text in ('"f32":21.7', '"u64":18000000000000000000', '"scaled":123.4'):
        check(text in body.replace(" ", ""), f"{text} is not in {body}")


@case
def a_tag_may_have_a_topic_of_its_own_as_json_or_bare(site):
    field = Device(site)
    groups = """\
- name: single
  payload: json_per_tag
  interval: 200ms
  tags:
    - { name: scaled, register: holding, address: 1, type: uint16, scale: 0.1, decimals: 1, unit: bar }
- name: bare
  payload: value
  interval: 200ms
  tags:
    - { name: i16, register: holding, address: 0, type: int16 }
    - { name: text, register: holding, address: 50, type: string, length: 4 }
"""
    gateway = Gateway(site, device(field.port, groups))
    watcher = watch(site, gateway, "g1/dev1/+/+")
    body = json.loads(watcher.wait_for(1, "g1/dev1/single/scaled")[0])
    equal(
        {key: body[key] for key in ("value", "quality", "unit")},
        {"value": 123.4, "quality": "good", "unit": "bar"},
        "JSON of a tag",
    )
    equal(watcher.wait_for(1, "g1/dev1/bare/i16")[0], "-2", "bare value")
    equal(watcher.wait_for(1, "g1/dev1/bare/text")[0], "pump 7", "bare value")


@case
def an_address_that_the_device_does_not_have_is_bad_alone(site):
    field = Device(site)
    groups = """\
- name: some
  interval: 200ms
  tags:
    - { name: here, register: holding, address: 1, type: uint16 }
    - { name: nowhere, register: holding, address: 500, type: uint16 }
"""
    gateway = Gateway(site, device(field.port, groups))
    reading = json.loads(watch(site, gateway, "g1/dev1/some").wait_for(1)[0])
    equal(reading["values"], {"here": 1234}, "values")
    equal(reading["bad"], {"nowhere": "exception_02"}, "bad")


@case
def no_reading_is_missing_or_twice(site):
    field = Device(site)
    gateway = Gateway(site, device(field.port, COUNTING))
    watcher = watch(site, gateway, "g1/dev1/counter")
    watcher.wait_for(50)
    counts = [reading["values"]["n"] for reading in readings(watcher)]
    equal(counts, list(range(counts[0], counts[0] + len(counts))), "the counting register")


@case
def a_device_that_is_absent_and_comes_is_offline_and_then_online(site):
    field = Device(site)
    field.process.kill()
    gateway = Gateway(site, device(field.port, COUNTING, more=QUICK))
    watcher = watch(site, gateway, "g1/dev1/+")
    wait_until(lambda: state(watcher) == "offline", "the status says offline")
    check(all("values" not in one or one["values"] == {} for one in readings(watcher)), "a value of an absent device")
    check(all(one["bad"]["n"] for one in readings(watcher)), "a bad value without its reason")
    field.start()
    wait_until(lambda: state(watcher) == "online", "the status says online")
    wait_until(lambda: "n" in readings(watcher)[-1].get("values", {}), "values")
    late = Client(site, gateway.port, "late").accepted()
    late.subscribe(DEVICE_STATUS, 1)
    late.wait_for(1)
    check(late.received()[0].retain, "the status is not retained")


@case
def a_device_that_stops_and_comes_back_is_read_again(site):
    field = Device(site)
    gateway = Gateway(site, device(field.port, COUNTING, more=QUICK))
    watcher = watch(site, gateway, "g1/dev1/+")
    watcher.wait_for(3, "g1/dev1/counter")
    equal(state(watcher), "online", "the status")
    field.process.kill()
    wait_until(lambda: state(watcher) == "offline", "the status says offline")
    last = max(one["values"]["n"] for one in readings(watcher) if one.get("values"))
    field.start()
    wait_until(lambda: any(one.get("values", {}).get("n", 0) > last for one in readings(watcher)), "new values")
    wait_until(lambda: state(watcher) == "online", "the status says online again")


def bad_device(site, mode, reason):
    """In the mode every reading is bad, one at least for the reason; afterwards all is right again."""
    field = Device(site)
    gateway = Gateway(site, device(field.port, COUNTING, more=QUICK))
    watcher = watch(site, gateway, "g1/dev1/+")
    watcher.wait_for(3, "g1/dev1/counter")
    field.mode(mode)
    wait_until(
        lambda: any(one.get("bad", {}).get("n") == reason for one in readings(watcher)),
        f"a reading that is bad with {reason!r}",
    )
    field.mode("ok")
    since = max(field.reads())
    wait_until(lambda: any(one.get("values", {}).get("n", 0) > since for one in readings(watcher)), "values again")
    counts = [one["values"]["n"] for one in readings(watcher) if one.get("values")]
    equal(counts, sorted(set(counts)), "the counts, each of which the device gave once and in order")
    stamps = field.reads()
    for one in readings(watcher):
        if one.get("values"):
            check(one["ts"] >= stamps[one["values"]["n"]], f"{one} is older than its register")


for mode, reason in {
    "silent": "timeout",
    "short": "wrong_count",
    "unit": "wrong_unit",
    "late": "timeout",
    "exception": "exception_04",
}.items():
    add_case(
        f"a device in mode {mode!r} is bad with {reason!r}, never a value",
        lambda site, mode=mode, reason=reason: bad_device(site, mode, reason),
    )


main()
