"""What comes down: Mosquitto as the upstream of bridges with `receive` routes, in MQTT 5 and 3.1.1.

For kill -9 the messages make a round: published at Mosquitto, received by the bridge `cloud`, forwarded by the bridge
`archive` to the same Mosquitto, where an observer that nobody kills counts them. Every other time the link of `cloud` is cut
before the kill: then messages are on disk here that Mosquitto knows nothing of, and sends again.
"""

import random
import re
import time

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from harness import (
    BRIDGE_STATUS,
    LONG,
    Authority,
    Gateway,
    Mosquitto,
    Proxy,
    add_case,
    bridge,
    case,
    equal,
    main,
    newest,
    wait_until,
)
from mqtt_client import V5, V311, Client

PROTOCOLS = {"MQTT 5": "5", "MQTT 3.1.1": '"3.1.1"'}
KILLS = 40 if LONG else 6


def in_each_protocol(function):
    """A case for each version that a bridge may speak."""
    for name, protocol in PROTOCOLS.items():
        title = f"{function.__name__.replace('_', ' ')}, {name}"
        add_case(title, lambda site, protocol=protocol: function(site, protocol))
    return function


def receiving(authority, upstream, routes, name="cloud", forward='{ filter: "up/#" }', port=None, **options):
    """A bridge that receives by these routes."""
    text = bridge(authority, port or upstream.tls_port, filters=(), **options)
    text = text.replace("name: cloud", f"name: {name}").replace('"{gateway}"', f'"{{gateway}}-{name}"')
    text = text.rstrip() + f" [{forward}]\n"
    return text + (f"    receive: [{', '.join(routes)}]\n" if routes else "")


def without_head(text):
    return text.removeprefix("bridges:\n")


def watch_status(site, gateway, name="cloud"):
    watcher = Client(site, gateway.port, f"watcher-{name}").accepted()
    topic = BRIDGE_STATUS.replace("cloud", name)
    watcher.subscribe(topic, 1)
    return lambda: newest(watcher, topic) or {}


def subscribed(upstream, client_id, text):
    """Waits until Mosquitto has taken the bridge's subscription."""
    wait_until(lambda: f"{client_id} 0 {text}" in upstream.process.log() or f"{client_id} 1 {text}" in upstream.process.log()
               or f"{client_id} 2 {text}" in upstream.process.log(), f"{client_id} subscribes to {text}")


def order_of_sending(upstream, client, topic):
    """How Mosquitto first sent a topic's messages, by their numbers: with a full window 2.0.11 lets a new one overtake.

    It gives packet ids in the order in which messages came.
    """
    sent = re.findall(rf"Sending PUBLISH to {client} \(d\d, q\d, r\d, m(\d+), '{topic}'", upstream.process.log())
    ids = list(dict.fromkeys(int(packet_id) for packet_id in sent))
    numbers = {packet_id: number for number, packet_id in enumerate(sorted(ids))}
    return [numbers[packet_id] for packet_id in ids]


@in_each_protocol
def messages_come_down_with_mapped_topics_at_their_qos(site, protocol):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    routes = ['{ filter: "site/{gateway}/low/+", topic: "low/{4}", qos: 0 }', '{ filter: "site/{gateway}/#", topic: "{3..}" }']
    gateway = Gateway(site, receiving(authority, upstream, routes, protocol=protocol))
    subscribed(upstream, "g1-cloud", "site/g1/#")
    for version in (V5, V311):
        local = Client(site, gateway.port, f"local-{version}", version).accepted()
        local.subscribe("plant/#", 2)
        local.subscribe("low/#", 2)
        publisher = Client(site, upstream.port, f"pub-{version}", version).accepted()
        for qos in (0, 1, 2):
            publisher.publish(f"site/g1/plant/{qos}", f"at {qos}", qos=qos)
        publisher.publish("site/g1/low/x", "lowered", qos=2)
        publisher.publish("site/g2/plant/1", "for another", qos=1)
        local.wait_for(4)
        found = {message.topic: (message.qos, message.payload.decode()) for message in local.received()}
        wanted = {f"plant/{qos}": (qos, f"at {qos}") for qos in (0, 1, 2)} | {"low/x": (0, "lowered")}
        equal(found, wanted, "what came down")
        local.end()


@in_each_protocol
def qos_2_comes_once_and_qos_1_is_not_lost_over_kills(site, protocol):
    chance = random.Random(int(time.time()))
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    observer = Client(site, upstream.port, "observer", clean=False).accepted()
    observer.subscribe("round/#", 2)
    link = Proxy(site, upstream.tls_port)
    routes = ['{ filter: "down/#", topic: "plant/{2..}" }']
    down = receiving(authority, upstream, routes, port=link.port, protocol=protocol)
    archive = receiving(authority, upstream, [], "archive", '{ filter: "plant/#", topic: "round/{2..}" }', protocol=protocol)
    gateway = Gateway(site, down + without_head(archive), store="commit_interval: 50ms\n")
    subscribed(upstream, "g1-cloud", "down/#")
    publishers = {qos: Client(site, upstream.port, f"pub{qos}").accepted() for qos in (1, 2)}
    sent = 0
    for kill in range(KILLS):
        for _ in range(15):  # no more at a time than Mosquitto's window: it refuses what is beyond
            waiting = [client.publish(f"down/q{qos}", str(sent + number), qos=qos, wait=False)
                       for number in range(10) for qos, client in publishers.items()]
            wait_until(lambda w=waiting: all(handle.is_published() for handle in w), "Mosquitto has them")
            sent += 10
        arrived = len(observer.payloads("round/q2"))
        wait_until(lambda a=arrived: len(observer.payloads("round/q2")) > a, "messages make the round")
        if kill % 2:
            link.cut()
        time.sleep(chance.uniform(0, 0.2))  # any moment between two commits
        gateway.process.kill()
        link.cut()
        link.mend()
        gateway.restart()
    wanted = [str(number) for number in range(sent)]
    for qos in (1, 2):
        topic = f"round/q{qos}"
        wait_until(lambda t=topic: set(wanted) <= set(observer.payloads(t)), f"everything makes the round at QoS {qos}", 120)
        firsts = list(dict.fromkeys(observer.payloads(topic)))
        to_observer = order_of_sending(upstream, "observer", topic)
        if to_observer == sorted(to_observer):
            due = [wanted[number] for number in order_of_sending(upstream, "g1-cloud", f"down/q{qos}")]
            equal([pair for pair in zip(firsts, due) if pair[0] != pair[1]], [], f"first arrivals at QoS {qos} out of order")
    equal(len(observer.payloads("round/q2")), sent, "messages at QoS 2, none lost and none twice")


@in_each_protocol
def commands_with_retain_set_stay_out_and_retained_values_stay_retained(site, protocol):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    publisher = Client(site, upstream.port, "pub").accepted()
    publisher.publish("site/g1/pump/set/speed", "remembered", qos=1, retain=True)
    publisher.publish("site/g1/plan", "kept", qos=1, retain=True)
    routes = ['{ filter: "site/{gateway}/#", topic: "{2..}" }']
    gateway = Gateway(site, receiving(authority, upstream, routes, protocol=protocol))
    status = watch_status(site, gateway)
    local = Client(site, gateway.port, "local").accepted()
    local.subscribe("g1/plan", 1)
    local.subscribe("g1/pump/#", 1)
    local.wait_for(1)
    publisher.publish("site/g1/pump/set/speed", "now", qos=1)
    local.wait_for(2)
    equal([message.payload for message in local.received()], [b"kept", b"now"], "what came down")
    late = Client(site, gateway.port, "late").accepted()
    late.subscribe("g1/#", 1)
    late.wait_for(1, "g1/plan")
    equal(late.received()[0].retain, True, "the plan is retained here")
    # Figures alone are told once a minute: a change of the link tells them at once.
    upstream.stop()
    upstream.start()
    wait_until(lambda: status().get("not_received") == 1, "the command is counted")


@case
def what_an_older_configuration_subscribed_to_is_ended(site):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    old = receiving(authority, upstream, ['{ filter: "old/#" }', '{ filter: "both/#" }'])
    gateway = Gateway(site, old)
    subscribed(upstream, "g1-cloud", "both/#")
    gateway.process.kill()
    publisher = Client(site, upstream.port, "pub").accepted()
    publisher.publish("both/1", "while away", qos=2)
    gateway.config.write_text(gateway.config.read_text().replace('{ filter: "old/#" }, ', ""))
    gateway.restart()
    wait_until(lambda: "Received UNSUBSCRIBE from g1-cloud" in upstream.process.log(), "it is ended")
    local = Client(site, gateway.port, "local").accepted()
    local.subscribe("#", 2)
    publisher.publish("old/1", "x", qos=1)
    publisher.publish("both/2", "x", qos=1)
    local.wait_for(1, "both/2")
    equal(local.payloads("old"), [], "what came down of the old topic")


@case
def a_loop_of_two_routes_ends(site):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    routes = ['{ filter: "loop/#" }']
    gateway = Gateway(site, receiving(authority, upstream, routes, forward='{ filter: "loop/#" }'))
    subscribed(upstream, "g1-cloud", "loop/#")
    there = Client(site, upstream.port, "there").accepted()
    here = Client(site, gateway.port, "here").accepted()
    for client in (there, here):
        client.subscribe("loop/#", 2)
    for name in ("a", "end"):
        here.publish(f"loop/here/{name}", "x", qos=1)
        there.publish(f"loop/there/{name}", "x", qos=1)
    for client in (there, here):
        client.wait_for(1, "loop/here/end")
        client.wait_for(1, "loop/there/end")
        for topic in ("loop/here/a", "loop/there/a"):
            equal(len(client.payloads(topic)), 1, f"copies of {topic}")


@case
def a_circle_of_two_bridges_ends_after_four_rounds(site):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    down = receiving(authority, upstream, ['{ filter: "ring/#" }'])
    up = receiving(authority, upstream, [], "archive", '{ filter: "ring/#" }')
    gateway = Gateway(site, down + without_head(up))
    subscribed(upstream, "g1-cloud", "ring/#")
    there = Client(site, upstream.port, "there").accepted()
    there.subscribe("ring/#", 2)
    there.publish("ring/x", "x", qos=1)
    there.wait_for(5, "ring/x")
    wait_until(lambda: "in a circle" in gateway.process.log(), "it is told")
    there.barrier()
    equal(len(there.payloads("ring/x")), 5, "the message and its four rounds")


@case
def a_request_is_answered_through_the_bridge(site):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    forward = '{ filter: "{gateway}/#", except: ["{gateway}/ask"], topic: "site/{topic}" }'
    routes = ['{ filter: "site/{gateway}/ask", topic: "{2..}" }']
    gateway = Gateway(site, receiving(authority, upstream, routes, forward=forward))
    subscribed(upstream, "g1-cloud", "site/g1/ask")
    asker = Client(site, upstream.port, "asker", V5).accepted()
    asker.subscribe("site/g1/answers/7", 1)
    responder = Client(site, gateway.port, "responder", V5).accepted()
    responder.subscribe("g1/ask", 1)
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = "site/g1/answers/7"
    properties.CorrelationData = b"42"
    asker.publish("site/g1/ask", "?", qos=1, properties=properties)
    responder.wait_for(1)
    asked = responder.received()[0].properties
    equal((asked.ResponseTopic, asked.CorrelationData), ("g1/answers/7", b"42"), "the request here")
    responder.publish(asked.ResponseTopic, "!", qos=1)
    asker.wait_for(1)
    equal(asker.payloads(), ["!"], "the answer")


main()
