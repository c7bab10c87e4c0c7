"""fieldgate's bridge and Mosquitto as its upstream, over mutual TLS, in MQTT 5 and 3.1.1."""

import json

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from harness import (
    BRIDGE_STATUS,
    COUNTING,
    Authority,
    Device,
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
    newest,
    wait_until,
)
from mqtt_client import V5, V311, Client

PROTOCOLS = {"MQTT 5": "5", "MQTT 3.1.1": '"3.1.1"'}


def in_each_protocol(function):
    """A case for each version that a bridge may speak."""
    for name, protocol in PROTOCOLS.items():
        title = f"{function.__name__.replace('_', ' ')}, {name}"
        add_case(title, lambda site, protocol=protocol: function(site, protocol))
    return function


def observe(site, upstream, **options):
    """Who looks at what arrives at the upstream; Mosquitto keeps its session over a restart."""
    observer = Client(site, upstream.port, "observer", **{"clean": False, **options}).accepted()
    observer.subscribe("site/#", 2)
    return observer


def watch(site, gateway, topic=BRIDGE_STATUS):
    """Who reads the gateway's own topics."""
    watcher = Client(site, gateway.port, "watcher").accepted()
    watcher.subscribe(topic, 1)
    return watcher


def wait_for_status(watcher, question, what):
    """Waits until the bridge's status is as asked, and returns it."""

    def answer():
        status = newest(watcher, BRIDGE_STATUS)
        return status if status and question(status) else None

    try:
        return wait_until(answer, what)
    except AssertionError as failed:
        raise AssertionError(f"{failed}; the last status was {newest(watcher, BRIDGE_STATUS)}") from None


def is_up(status):
    return status["link"] == "up"


def publish_both(publisher, numbers):
    """Each number at QoS 1 and at QoS 2, and waits for every acknowledgement."""
    handles = []
    for number in numbers:
        handles.append(publisher.publish("plant/q1", str(number), qos=1, wait=False))
        handles.append(publisher.publish("plant/q2", str(number), qos=2, wait=False))
    wait_until(lambda: all(handle.is_published() for handle in handles), "every acknowledgement")


def all_arrive(observers, numbers, once=True):
    """Everything arrived, in order; at QoS 2 exactly once, if `once`."""

    def arrived(under):
        return [int(payload) for observer in observers for payload in observer.payloads(under)]

    wanted = list(numbers)
    for topic in ("site/g1/plant/q1", "site/g1/plant/q2"):
        wait_until(lambda topic=topic: set(wanted) <= set(arrived(topic)), f"everything arrives on {topic}")
        equal(list(dict.fromkeys(arrived(topic))), wanted, f"order of first arrivals on {topic}")
    if once:
        equal(arrived("site/g1/plant/q2"), wanted, "what arrived at QoS 2")


# --- delivery


@in_each_protocol
def messages_arrive_with_mapped_topics_at_their_qos(site, protocol):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    observer = observe(site, upstream)
    routes = bridge(authority, upstream.tls_port, protocol=protocol)
    routes += '      - { filter: "hall/+/temp", topic: "temps/{2}", qos: 1 }\n'
    routes += '      - { filter: "hall/#", except: ["hall/secret/#"], topic: "site/{2..}" }\n'
    gateway = Gateway(site, routes)
    observer.subscribe("temps/#", 2)
    wait_for_status(watch(site, gateway), is_up, "the link is up")
    publisher = Client(site, gateway.port, "pub").accepted()
    for qos in (0, 1, 2):
        publisher.publish(f"plant/a{qos}", f"at {qos}", qos=qos)
    publisher.publish("hall/7/temp", "21.5", qos=2)
    publisher.publish("hall/secret/x", "stays here", qos=1)
    publisher.publish("other/x", "stays here", qos=1)
    publisher.publish("hall/7/door", "open", qos=1)
    observer.wait_for(5)
    found = {message.topic: (message.qos, message.payload.decode()) for message in observer.received()}
    wanted = {f"site/g1/plant/a{qos}": (qos, f"at {qos}") for qos in (0, 1, 2)}
    wanted |= {"temps/7": (1, "21.5"), "site/7/door": (1, "open")}
    equal(found, wanted, "what arrived at the upstream")


@in_each_protocol
def the_retain_flag_goes_up(site, protocol):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    gateway = Gateway(site, bridge(authority, upstream.tls_port, protocol=protocol))
    observer = observe(site, upstream)
    publisher = Client(site, gateway.port, "pub").accepted()
    publisher.publish("plant/state", "kept", qos=1, retain=True)
    observer.wait_for(1)
    late = Client(site, upstream.port, "late").accepted()
    late.subscribe("site/#", 1)
    equal(late.wait_for(1), ["kept"], "what the upstream retained")


@case
def mqtt_5_properties_go_up_and_every_message_has_an_id(site):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    gateway = Gateway(site, bridge(authority, upstream.tls_port))
    observer = observe(site, upstream, version=V5, expiry=3600)
    publisher = Client(site, gateway.port, "pub", V5).accepted()
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "text/plain"
    properties.CorrelationData = b"42"
    properties.UserProperty = ("shift", "early")
    for number in range(3):
        publisher.publish("plant/x", str(number), qos=1, properties=properties)
    observer.wait_for(3)
    ids = set()
    for message in observer.received():
        users = dict(message.properties.UserProperty)
        equal(message.properties.ContentType, "text/plain", "Content Type")
        equal(message.properties.CorrelationData, b"42", "Correlation Data")
        equal(users.get("shift"), "early", "the publisher's User Property")
        ids.add(users.get("fieldgate-id"))
    check(len(ids) == 3 and None not in ids, f"fieldgate-id of three messages: {ids}")
    check(all(one.startswith("g1/cloud/") for one in ids), f"fieldgate-id is gateway/bridge/epoch/seq: {ids}")


@case
def the_gateway_says_at_the_upstream_that_it_is_gone(site):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    gateway = Gateway(site, bridge(authority, upstream.tls_port, filters=["g1/#"]))
    observer = observe(site, upstream)
    topic = "site/g1/g1/$status"
    wait_until(lambda: newest(observer, topic), "the gateway's status at the upstream")
    gateway.process.kill()
    wait_until(lambda: "offline" in observer.payloads(topic)[-1], "the will says offline")


# --- outages


@in_each_protocol
def an_outage_of_the_upstream_loses_nothing(site, protocol):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    gateway = Gateway(site, bridge(authority, upstream.tls_port, protocol=protocol))
    observer, watcher = observe(site, upstream), watch(site, gateway)
    wait_for_status(watcher, is_up, "the link is up")
    publisher = Client(site, gateway.port, "pub").accepted()
    publish_both(publisher, range(50))
    upstream.stop()
    publish_both(publisher, range(50, 200))
    status = wait_for_status(watcher, lambda s: s["backlog_messages"] >= 300, "the backlog holds 300 messages")
    check(not is_up(status), f"the status still says that the link is up: {status}")
    upstream.start()
    again = observe(site, upstream)
    publish_both(publisher, range(200, 220))
    all_arrive([observer, again], range(220))


@in_each_protocol
def a_restart_in_an_outage_loses_nothing(site, protocol):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    gateway = Gateway(site, bridge(authority, upstream.tls_port, protocol=protocol))
    observer = observe(site, upstream)
    publish_both(Client(site, gateway.port, "pub").accepted(), range(20))
    upstream.stop()
    publish_both(Client(site, gateway.port, "pub").accepted(), range(20, 60))
    equal(gateway.process.stop(), 0, "status of fieldgate after SIGTERM")
    gateway.restart()
    publish_both(Client(site, gateway.port, "pub").accepted(), range(60, 80))
    gateway.process.kill()
    gateway.restart()
    publish_both(Client(site, gateway.port, "pub").accepted(), range(80, 100))
    upstream.start()
    all_arrive([observer, observe(site, upstream)], range(100))


@case
def a_backlog_of_four_thousand_messages_drains_in_order(site):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    gateway = Gateway(site, bridge(authority, upstream.tls_port))
    observer = observe(site, upstream)
    upstream.stop()
    publish_both(Client(site, gateway.port, "pub").accepted(), range(2000))
    upstream.start()
    all_arrive([observer, observe(site, upstream)], range(2000))


# --- faults: the status names the stage, the backlog grows, polling goes on, and after the remedy all arrives


def fault(site, words, begin, mend, **options):
    """`begin` starts the faulty upstream (or none) and returns it, `mend` puts it right."""
    authority = Authority(site)
    upstream = begin(site, authority)
    field = Device(site)
    port = upstream.tls_port
    gateway = Gateway(site, device(field.port, COUNTING) + bridge(authority, port, **options))
    watcher = watch(site, gateway)
    watcher.subscribe("g1/dev1/counter", 1)
    publish_both(Client(site, gateway.port, "pub").accepted(), range(20))

    def says_why(status):
        text = (status["error"] or "").lower()
        return status["link"] != "up" and any(all(word in text for word in choice) for choice in words)

    wait_for_status(watcher, says_why, f"the status says {' or '.join(' '.join(choice) for choice in words)}")
    wait_for_status(watcher, lambda status: status["backlog_messages"] >= 40, "the backlog grows")
    before = len(watcher.payloads("g1/dev1/counter"))
    readings = watcher.wait_for(before + 5, "g1/dev1/counter")
    check(all("bad" not in json.loads(reading) for reading in readings), "polling suffered")
    mend(upstream, authority)
    observer = observe(site, upstream)
    wait_for_status(watcher, lambda s: is_up(s) and s["error"] is None, "the link is up after the remedy")
    all_arrive([observer], range(20), once=False)


class Absent(Mosquitto):
    """Nobody there yet."""

    def __init__(self, site, authority):
        self.site, self.authority, self.process = site, authority, None
        self.tls_port, self.port = free_port(), free_port()


def restart(upstream, _):
    upstream.stop()
    upstream.start()


@case
def nobody_there_is_said_as_a_tcp_failure(site):
    fault(site, [["tcp"], ["connection refused"]], Absent, lambda upstream, _: upstream.start())


@case
def a_certificate_of_an_unknown_authority_is_said_as_a_tls_failure(site):
    def begin(site, authority):
        return Mosquitto(site, authority, signed_by=Authority(site, "stranger"))

    fault(site, [["tls", "issuer"], ["tls", "authority"], ["tls", "sign"], ["tls", "ca"]], begin, restart)


@case
def a_certificate_for_another_name_is_said_as_a_tls_failure(site):
    fault(
        site,
        [["tls", "name"]],
        lambda site, authority: Mosquitto(site, authority, host="elsewhere.example"),
        restart,
    )


@in_each_protocol
def refused_credentials_are_said_as_a_refusal_in_connack(site, protocol):
    def begin(site, authority):
        users = site.write("upstream-users", "")
        users.chmod(0o600)
        return Mosquitto(site, authority, access=f"allow_anonymous false\npassword_file {users}")

    fault(site, [["refused"], ["connack"]], begin, restart, protocol=protocol)


@case
def a_client_certificate_that_the_upstream_does_not_know_is_said(site):
    authority, stranger = Authority(site), Authority(site, "stranger")
    upstream = Mosquitto(site, authority)
    gateway = Gateway(site, bridge(authority, upstream.tls_port, client_authority=stranger))
    watcher = watch(site, gateway)
    status = wait_for_status(watcher, lambda status: status["error"], "the status has an error")
    check(not is_up(status), f"the link is up: {status}")
    check("certificate" in status["error"].lower() or "tls" in status["error"].lower(), f"the error: {status['error']}")


@in_each_protocol
def another_client_with_the_bridge_s_client_id_is_named(site, protocol):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    gateway = Gateway(site, bridge(authority, upstream.tls_port, protocol=protocol))
    watcher = watch(site, gateway)
    for connects in range(1, 4):
        up = f"connection {connects} is up"
        wait_for_status(watcher, lambda status, n=connects: is_up(status) and status["connects"] >= n, up)
        Client(site, upstream.port, "g1", V5 if protocol == "5" else V311).accepted()
    named = "the other client is named"
    wait_for_status(watcher, lambda status: 'client_id "g1"' in (status["error"] or ""), named)


main()
