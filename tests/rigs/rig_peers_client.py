"""fieldgate's broker and the clients of the field: mosquitto_pub, mosquitto_sub and paho-mqtt, in MQTT 3.1.1 and 5."""

import subprocess

from harness import Gateway, add_case, case, check, equal, main, wait_until
from mqtt_client import V5, V311, Client, Raw, connect_packet

# The user `plc7` with the password `secret`, argon2id.
USERS = "plc7:$argon2id$v=19$m=19456,t=2,p=1$eJtNJevXwMdtkkQb4ja4tA$ojXBRblr4xoGn3ptrJOIN5oDSjtZa3nuhwMoZc0qZDQ\n"
VERSIONS = {"MQTT 3.1.1": V311, "MQTT 5": V5}
MOSQUITTO = {"MQTT 3.1": "mqttv31", "MQTT 3.1.1": "mqttv311", "MQTT 5": "mqttv5"}


def in_each_version(function):
    """A case for each version of the protocol."""
    for name, version in VERSIONS.items():
        title = f"{function.__name__.replace('_', ' ')}, {name}"
        add_case(title, lambda site, version=version: function(site, version))
    return function


# --- delivery


def mosquitto_to_mosquitto(site, version, qos):
    gateway = Gateway(site)
    options = ["-p", gateway.port, "-V", version, "-q", qos, "-t", "a/+/c"]
    subscriber = site.process(
        "mosquitto_sub", ["stdbuf", "-oL", "mosquitto_sub", *options, "-d", "-C", 20, "-F", "%t %q %p"]
    )
    wait_until(lambda: "Subscribed" in subscriber.log(), "mosquitto_sub has subscribed")
    lines = "".join(f"line {number}\n" for number in range(20))
    command = ["mosquitto_pub", *options[:6], "-t", "a/b/c", "-l"]
    subprocess.run([str(word) for word in command], input=lines, text=True, timeout=60, check=True)
    equal(subscriber.wait_for_end(), 0, "status of mosquitto_sub")
    found = [line for line in subscriber.log().splitlines() if line.startswith("a/b/c ")]
    equal(found, [f"a/b/c {qos} line {number}" for number in range(20)], "what mosquitto_sub printed")


for title, option in MOSQUITTO.items():
    for level in (0, 1, 2):
        add_case(
            f"mosquitto_pub -l to mosquitto_sub at QoS {level}, {title}",
            lambda site, option=option, level=level: mosquitto_to_mosquitto(site, option, level),
        )


def in_order(client, level):
    """The client got 0 to 29, each at the QoS that `level` gives; order holds within a QoS, as the standard has it."""
    found = [(message.qos, int(message.payload)) for message in client.received()]
    wanted = [(level(number), number) for number in range(30)]
    for qos in (0, 1, 2):
        equal([one for one in found if one[0] == qos], [one for one in wanted if one[0] == qos], f"at QoS {qos}")


@in_each_version
def a_subscriber_gets_the_lower_of_both_qos_in_order(site, version):
    gateway = Gateway(site)
    subscribers = [Client(site, gateway.port, f"sub{qos}", version).accepted() for qos in (0, 1, 2)]
    for qos, subscriber in enumerate(subscribers):
        equal(subscriber.subscribe("line/#", qos), qos, "granted QoS")
    publisher = Client(site, gateway.port, "pub", version).accepted()
    for number in range(30):
        publisher.publish("line/x", str(number), qos=number % 3)
    for qos, subscriber in enumerate(subscribers):
        subscriber.wait_for(30)
        in_order(subscriber, lambda number, most=qos: min(number % 3, most))


@case
def both_versions_speak_with_each_other(site):
    gateway = Gateway(site)
    old = Client(site, gateway.port, "old", V311).accepted()
    new = Client(site, gateway.port, "new", V5).accepted()
    old.subscribe("to/old", 2)
    new.subscribe("to/new", 2)
    old.publish("to/new", "from old", qos=2)
    new.publish("to/old", "from new", qos=2)
    equal(new.wait_for(1), ["from old"], "MQTT 5 subscriber")
    equal(old.wait_for(1), ["from new"], "MQTT 3.1.1 subscriber")


@in_each_version
def a_payload_just_under_the_packet_limit_arrives_whole(site, version):
    gateway = Gateway(site)
    client = Client(site, gateway.port, "big", version).accepted()
    client.subscribe("big", 1)
    payload = "0123456789abcdef" * (255 * 1024 // 16)
    client.publish("big", payload, qos=1)
    check(client.wait_for(1) == [payload], "the payload was changed on the way")


@in_each_version
def an_empty_payload_is_a_message(site, version):
    gateway = Gateway(site)
    client = Client(site, gateway.port, "empty", version).accepted()
    client.subscribe("empty", 1)
    client.publish("empty", "", qos=1)
    equal(client.wait_for(1), [""], "payloads")


# --- subscriptions


@in_each_version
def wildcards_match_as_the_standard_has_it(site, version):
    gateway = Gateway(site)
    filters = ["a/+/c", "a/#", "+", "#", "/+", "a//c"]
    clients = {one: Client(site, gateway.port, f"f{number}", version).accepted() for number, one in enumerate(filters)}
    for one, client in clients.items():
        client.subscribe(one, 1)
    publisher = Client(site, gateway.port, "pub", version).accepted()
    topics = ["a/b/c", "a", "a/b", "a//c", "/x", "b/c/d"]
    for topic in topics:
        publisher.publish(topic, topic, qos=1)
    wanted = {
        "a/+/c": ["a/b/c", "a//c"],
        "a/#": ["a/b/c", "a", "a/b", "a//c"],
        "+": ["a"],
        "#": topics,
        "/+": ["/x"],
        "a//c": ["a//c"],
    }
    for one, client in clients.items():
        client.barrier(f"barrier-{filters.index(one)}")
        got = [message.topic for message in client.received() if not message.topic.startswith(("barrier", "g1/"))]
        equal(got, wanted[one], f"what {one} got")


@in_each_version
def a_filter_with_a_wildcard_first_matches_no_dollar_topic(site, version):
    gateway = Gateway(site)
    all_topics = Client(site, gateway.port, "all", version).accepted()
    all_topics.subscribe("#", 1)
    all_topics.subscribe("+/status", 1)
    dollar = Client(site, gateway.port, "dollar", version).accepted()
    dollar.subscribe("$plant/#", 1)
    dollar.publish("$plant/status", "here", qos=1)
    equal(dollar.wait_for(1, "$plant"), ["here"], "the subscriber to $plant/#")
    all_topics.barrier()
    equal(all_topics.payloads("$"), [], "what # and +/status got of $plant")


@in_each_version
def an_unsubscribed_filter_gets_nothing_more(site, version):
    gateway = Gateway(site)
    client = Client(site, gateway.port, "c", version).accepted()
    client.subscribe("x", 1)
    client.publish("x", "first", qos=1)
    client.wait_for(1)
    done = []
    client.paho.on_unsubscribe = lambda *arguments: done.append(True)
    client.paho.unsubscribe("x")
    wait_until(lambda: done, "UNSUBACK")
    client.publish("x", "second", qos=1)
    client.barrier()
    equal(client.payloads("x"), ["first"], "payloads")


@case
def mqtt_5_no_local_keeps_own_messages_away(site):
    gateway = Gateway(site)
    client = Client(site, gateway.port, "c", V5).accepted()
    client.subscribe("x", 1, noLocal=True)
    client.publish("x", "mine", qos=1)
    other = Client(site, gateway.port, "d", V5).accepted()
    other.publish("x", "other's", qos=1)
    equal(client.wait_for(1, "x"), ["other's"], "payloads")


# --- retained messages


@in_each_version
def a_retained_message_waits_for_its_subscriber_until_it_is_cleared(site, version):
    gateway = Gateway(site)
    publisher = Client(site, gateway.port, "pub", version).accepted()
    publisher.publish("state/a", "old", qos=1, retain=True)
    publisher.publish("state/a", "new", qos=1, retain=True)
    publisher.publish("state/b", "b", qos=1, retain=True)
    late = Client(site, gateway.port, "late", version).accepted()
    late.subscribe("state/+", 1)
    equal(sorted(late.wait_for(2)), ["b", "new"], "retained messages")
    check(all(message.retain for message in late.received()), "a retained message came without its flag")
    publisher.publish("state/a", "live", qos=1, retain=True)
    late.wait_for(3)
    check(not late.received()[-1].retain, "a live message came with the retain flag")
    publisher.publish("state/a", "", qos=1, retain=True)
    last = Client(site, gateway.port, "last", version).accepted()
    last.subscribe("state/#", 1)
    last.barrier()
    equal(last.payloads("state"), ["b"], "retained messages after one was cleared")


# --- wills


def will_of_a_killed_client(site, version, options):
    gateway = Gateway(site)
    watcher = Client(site, gateway.port, "watcher", VERSIONS[version]).accepted()
    watcher.subscribe("will/#", 1)
    command = ["stdbuf", "-oL", "mosquitto_sub", "-p", gateway.port, "-t", "x", "-d", "-V", MOSQUITTO[version]]
    will = ["--will-topic", "will/a", "--will-payload", "gone", "--will-qos", "1", "--will-retain"]
    victim = site.process("mosquitto_sub", command + will + options)
    wait_until(lambda: "Subscribed" in victim.log(), "mosquitto_sub has subscribed")
    victim.kill()
    equal(watcher.wait_for(1), ["gone"], "the will")
    later = Client(site, gateway.port, "later").accepted()
    later.subscribe("will/a", 1)
    equal(later.wait_for(1), ["gone"], "the retained will")


for title in VERSIONS:
    add_case(
        f"a killed client's will is published and retained, {title}",
        lambda site, title=title: will_of_a_killed_client(site, title, []),
    )


@in_each_version
def a_client_that_says_goodbye_leaves_no_will(site, version):
    gateway = Gateway(site)
    watcher = Client(site, gateway.port, "watcher").accepted()
    watcher.subscribe("will/#", 1)
    Client(site, gateway.port, "polite", version, will=("will/a", "gone", 1)).accepted().end()
    watcher.barrier()
    equal(watcher.payloads("will"), [], "wills")


@case
def a_client_that_falls_silent_loses_its_connection_after_its_keep_alive(site):
    gateway = Gateway(site)
    raw = Raw(site, gateway.port).send(connect_packet("silent", keep_alive=1))
    equal(raw.packet(), b"\x20\x02\x00\x00", "CONNACK")
    equal(raw.closed(), b"", "what came before the end")


# --- sessions


@in_each_version
def a_kept_session_gets_what_it_missed(site, version):
    gateway = Gateway(site)
    kept = {"clean": False, "expiry": 3600}
    client = Client(site, gateway.port, "kept", version, **kept).accepted()
    equal(client.connack[1], False, "session present at first")
    client.subscribe("x", 2)
    client.end()
    publisher = Client(site, gateway.port, "pub", version).accepted()
    for number in range(30):
        publisher.publish("x", str(number), qos=1 + number % 2)
    again = Client(site, gateway.port, "kept", version, **kept).accepted()
    equal(again.connack[1], True, "session present")
    again.wait_for(30)
    in_order(again, lambda number: 1 + number % 2)
    again.end()
    clean = Client(site, gateway.port, "kept", version).accepted()
    equal(clean.connack[1], False, "session present after a clean start")
    clean.barrier()
    equal(clean.payloads("x"), [], "what a clean session got")
    clean.end()
    last = Client(site, gateway.port, "kept", version, **kept).accepted()
    equal(last.connack[1], False, "session present after a clean session")


@in_each_version
def a_second_client_of_the_same_name_takes_over(site, version):
    gateway = Gateway(site)
    first = Client(site, gateway.port, "twin", version, will=("will/twin", "taken over", 1)).accepted()
    watcher = Client(site, gateway.port, "watcher").accepted()
    watcher.subscribe("will/#", 1)
    second = Client(site, gateway.port, "twin", version).accepted()
    reason = first.wait_closed()
    if version == V5:
        equal(reason.value, 0x8E, "reason code for the first one")
    equal(watcher.wait_for(1), ["taken over"], "the will of the first one")
    second.subscribe("x", 1)
    second.publish("x", "alive", qos=1)
    equal(second.wait_for(1, "x"), ["alive"], "the second one")


# --- who may connect


@case
def an_empty_client_id_is_given_a_name_only_with_a_clean_session(site):
    gateway = Gateway(site)
    refused = Raw(site, gateway.port).send(connect_packet("", flags=0x00))
    equal(refused.packet(), b"\x20\x02\x00\x02", "CONNACK in MQTT 3.1.1 without a clean session")
    equal(refused.closed(), b"", "what came after it")
    Client(site, gateway.port, "", V311).accepted()
    named = Client(site, gateway.port, "", V5).accepted()
    check(getattr(named.connack_properties, "AssignedClientIdentifier", ""), "no name was assigned in MQTT 5")


def with_users(site):
    site.write("users", USERS)
    return Gateway(site, broker="users_file: users", listener="anonymous: false")


@in_each_version
def only_the_right_password_lets_a_user_in(site, version):
    gateway = with_users(site)
    Client(site, gateway.port, "right", version, user=("plc7", "secret")).accepted()
    for who in (("plc7", "wrong"), ("nobody", "secret")):
        client = Client(site, gateway.port, "wrong", version, user=who).connect()
        check(client.connack, "closed without CONNACK")
        # paho shows the codes of 3.1.1 as those of MQTT 5 with the same meaning.
        equal(client.connack[0].value, 0x86, f"reason code for {who}")


@case
def mqtt_3_1_1_return_codes_are_4_for_a_wrong_password_and_5_for_nobody(site):
    gateway = with_users(site)
    nobody = Raw(site, gateway.port).send(connect_packet("nobody"))
    equal(nobody.packet(), b"\x20\x02\x00\x05", "CONNACK without a user name")
    body = b"\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01a\x00\x04plc7\x00\x05wrong"
    wrong = Raw(site, gateway.port).send(bytes([0x10, len(body)]) + body)
    equal(wrong.packet(), b"\x20\x02\x00\x04", "CONNACK with a wrong password")
    equal(wrong.closed(), b"", "what came after it")


@case
def an_unknown_protocol_level_is_refused_with_code_1(site):
    gateway = Gateway(site)
    packet = bytearray(connect_packet("future"))
    packet[8] = 9
    raw = Raw(site, gateway.port).send(bytes(packet))
    equal(raw.packet(), b"\x20\x02\x00\x01", "CONNACK for protocol level 9")


# --- bad input: the one who sends it is closed, the others go on


def others_go_on(site, gateway, offend):
    """Runs `offend` while another client publishes to itself; it must get everything, in order."""
    bystander = Client(site, gateway.port, "bystander").accepted()
    bystander.subscribe("by/#", 1)
    for number in range(20):
        bystander.publish("by/stander", str(number), qos=1, wait=False)
        if number == 10:
            offend()
    equal(bystander.wait_for(20), [str(number) for number in range(20)], "the bystander's messages")
    check(bystander.closed is None, "the bystander was disconnected")


GARBAGE = {
    "bytes of no protocol": b"\xde\xad\xbe\xef" * 8,
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "a TLS handshake on a plain port": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\x00" * 32,
    "a PUBLISH before CONNECT": b"\x30\x05\x00\x01xhi",
    "a remaining length of five bytes": b"\x10\xff\xff\xff\xff\x01",
    "a CONNECT longer than the packet limit": b"\x10\xff\xff\xff\x7f",
    "a CONNECT with a reserved flag": b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x3c\x00\x01a",
    "a ClientId that is not UTF-8": b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02\xc3\x28",
}


def closed_and_unnoticed(site, data):
    gateway = Gateway(site)
    others_go_on(site, gateway, lambda: Raw(site, gateway.port).send(data).closed())


for title, data in GARBAGE.items():
    add_case(
        f"{title} is closed and nobody else notices",
        lambda site, data=data: closed_and_unnoticed(site, data),
    )


@case
def half_a_packet_and_no_packet_are_closed_in_time_and_nobody_else_notices(site):
    gateway = Gateway(site, broker="limits: { connect_timeout: 1s }")

    def offend():
        half = Raw(site, gateway.port).send(connect_packet("half")[:9])
        nothing = Raw(site, gateway.port)
        equal(half.closed(), b"", "what came for half a packet")
        equal(nothing.closed(), b"", "what came for nothing")

    others_go_on(site, gateway, offend)


@case
def garbage_after_connect_is_malformed_packet_in_mqtt_5(site):
    gateway = Gateway(site)

    def offend():
        raw = Raw(site, gateway.port).send(connect_packet("garbler", V5))
        equal(raw.packet()[0], 0x20, "the first packet")
        raw.send(b"\x36\x05\x00\x01x\x00\x01")  # QoS 3
        left = raw.closed()
        equal(left[:1] + left[2:3], b"\xe0\x81", "DISCONNECT with its reason code")

    others_go_on(site, gateway, offend)


@in_each_version
def a_second_connect_closes_the_connection(site, version):
    gateway = Gateway(site)
    raw = Raw(site, gateway.port).send(connect_packet("twice", version))
    equal(raw.packet()[0], 0x20, "the first packet")
    left = raw.send(connect_packet("twice", version)).closed()
    equal(left[:1] + left[2:3], b"\xe0\x82" if version == V5 else b"", "what came before the end")


@case
def a_packet_over_the_limit_is_packet_too_large_in_mqtt_5(site):
    gateway = Gateway(site, broker="limits: { packet_size: 4KiB }")

    def offend():
        client = Client(site, gateway.port, "big", V5).accepted()
        equal(client.connack_properties.MaximumPacketSize, 4096, "Maximum Packet Size in CONNACK")
        raw = Raw(site, gateway.port).send(connect_packet("raw", V5))
        raw.packet()
        left = raw.send(b"\x30\x80\x80\x01").closed()  # 16 KiB, of which nothing is sent
        equal(left[:1] + left[2:3], b"\xe0\x95", "DISCONNECT with its reason code")

    others_go_on(site, gateway, offend)


@case
def a_message_too_large_for_a_subscriber_is_not_sent_to_it(site):
    gateway = Gateway(site)
    small = Client(site, gateway.port, "small", V5, limits={"MaximumPacketSize": 100}).accepted()
    small.subscribe("x", 1)
    publisher = Client(site, gateway.port, "pub").accepted()
    publisher.publish("x", "-" * 500, qos=1)
    publisher.publish("x", "fits", qos=1)
    equal(small.wait_for(1), ["fits"], "payloads")


@case
def a_topic_with_a_wildcard_in_publish_closes_the_connection(site):
    gateway = Gateway(site)
    raw = Raw(site, gateway.port).send(connect_packet("wild", V5))
    raw.packet()
    left = raw.send(b"\x30\x06\x00\x03a/#\x00").closed()
    check(left[:1] == b"\xe0" and left[2] in (0x81, 0x82, 0x90), f"DISCONNECT, but it was {left.hex(' ')}")


@case
def a_client_that_stops_reading_does_not_hold_up_the_others(site):
    gateway = Gateway(site)
    stuck = Raw(site, gateway.port).send(connect_packet("stuck"))
    stuck.packet()
    stuck.send(b"\x82\x09\x00\x01\x00\x04by/#\x00")
    equal(stuck.packet()[0], 0x90, "SUBACK")
    reader = Client(site, gateway.port, "reader").accepted()
    reader.subscribe("by/#", 1)
    for number in range(400):  # 20 MB: more than any socket buffer takes
        reader.publish("by/x", f"{number} ".ljust(50_000, "x"), qos=1)
    reader.wait_for(400)
    equal([int(payload.split()[0]) for payload in reader.payloads()], list(range(400)), "what the reader got")


main()
