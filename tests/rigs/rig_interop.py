"""Client libraries of other people against fieldgate, and through it with each other.

paho-mqtt, mqtt.js, mosquitto_pub and mosquitto_sub, rumqttc: each publishes to each at QoS 0, 1 and 2, in 3.1.1 and 5
and between them, small and large, retained, with properties, through TLS; each has its will published, its session kept
and its subscriptions ended.
"""

from harness import Authority, Gateway, add_case, check, equal, free_port, main
from peers import PEERS, V5, V311, Message, Mosquitto, Will

LARGE = "0123456789abcdef" * 12_000  # 192 kB: many reads, but within `packet_size`
PROPERTIES = {
    "content_type": "text/plain",
    "response_topic": "answers/here",
    "correlation": "42",
    "expiry": 3600,
    "user": [["unit", "°C"], ["line", "7"]],
}
VERSIONS = ((V311, V311), (V5, V5), (V311, V5), (V5, V311))


def name(peer):
    return peer.__name__.lower()


def exchange(publisher_type, subscriber_type):
    """Everything from one to the other, in all versions."""

    def run(site):
        gateway = Gateway(site)
        for number, (out, into) in enumerate(VERSIONS):
            subscriber = subscriber_type(site, gateway.port, f"s{number}", into).connect()
            publisher = publisher_type(site, gateway.port, f"p{number}", out).connect()
            base = f"plant/{number}"
            subscriber.subscribe(f"{base}/#", 2)
            sent = [Message(f"{base}/small", f"qos {qos}", qos, False) for qos in range(3)]
            sent.append(Message(f"{base}/large", LARGE, 1, False))
            sent.append(Message(f"{base}/ünï/\N{SNOWMAN}", "text \N{SNOWMAN}", 2, False))
            if out == into == V5:
                sent += [Message(f"{base}/properties", "x", qos, False, PROPERTIES) for qos in range(3)]
            for place, message in enumerate(sent):
                publisher.publish(message)
                # One at a time: QoS 0 of a connection that ends is not in order with those of another.
                subscriber.wait_for(place + 1)
            equal(subscriber.messages, sent, f"what came in MQTT {into}, published in {out}")
            publisher.leave()
            subscriber.leave()

    return run


def retained(publisher_type, subscriber_type):
    """A retained message waits for a subscriber; an empty one takes it away."""

    def run(site):
        gateway = Gateway(site)
        for number, (out, into) in enumerate(VERSIONS):
            topic = f"kept/{number}"
            publisher = publisher_type(site, gateway.port, f"p{number}", out).connect()
            publisher.publish(Message(topic, "newest", 1, True))
            subscriber = subscriber_type(site, gateway.port, f"s{number}", into).connect()
            subscriber.subscribe(topic, 1)
            equal(subscriber.wait_for(1), [Message(topic, "newest", 1, True)], "what was retained")
            publisher.publish(Message(topic, "", 1, True))
            equal(subscriber.wait_for(2)[1:], [Message(topic, "", 1, False)], "what takes it away")
            late = subscriber_type(site, gateway.port, f"l{number}", into).connect()
            late.subscribe(topic, 1)
            publisher.publish(Message(topic, "after", 1, False))
            equal(late.wait_for(1), [Message(topic, "after", 1, False)], "what comes to who subscribes later")
            for peer in (publisher, subscriber, late):
                peer.leave()

    return run


def will(peer_type):
    """Published when the peer vanishes, and not when it leaves."""

    def run(site):
        gateway = Gateway(site)
        watcher = PEERS[0](site, gateway.port, "watcher", V5).connect()
        watcher.subscribe("gone/#", 2)
        wanted = []
        for number, version in enumerate((V311, V5)):
            for end in ("leave", "vanish"):
                # mosquitto_sub asks for its will when it leaves in MQTT 5 (0x04).
                if end == "vanish" or (peer_type is Mosquitto and version == V5):
                    wanted.append(Message(f"gone/{number}/{end}", "bye", 1, False))
                last = Will(f"gone/{number}/{end}", "bye", 1, False)
                peer = peer_type(site, gateway.port, f"c{number}{end}", version, will=last).connect()
                peer.subscribe("nothing", 0)
                getattr(peer, end)()
            equal(watcher.wait_for(len(wanted)), wanted, "wills")

    return run


def session(peer_type):
    """A session keeps messages for the peer; a clean one does not. Then it unsubscribes."""

    def run(site):
        gateway = Gateway(site)
        publisher = PEERS[0](site, gateway.port, "publisher", V5).connect()
        for number, version in enumerate((V311, V5)):
            base = f"kept/{number}"

            def come(clean):
                return peer_type(site, gateway.port, f"c{number}", version, clean=clean).connect()

            first = come(clean=False)
            check(not first.session_present, "there is no session yet")
            first.subscribe(f"{base}/#", 2)
            first.leave()
            sent = [Message(f"{base}/{place}", str(place), 1 + place % 2, False) for place in range(10)]
            for message in sent:
                publisher.publish(message)
            back = come(clean=False)
            if peer_type is Mosquitto:
                back.resume()
            else:
                check(back.session_present, "the session is there")
            # Libraries hand QoS 2 out when it is released, so the order is that of each QoS.
            kept = sorted(back.wait_for(len(sent)), key=lambda message: message.qos)
            equal(kept, sorted(sent, key=lambda message: message.qos), "what was kept")
            back.unsubscribe(f"{base}/#")
            publisher.publish(Message(f"{base}/after", "x", 1, False))
            back.leave()
            again = come(clean=True)
            check(not again.session_present, "a clean start has no session")
            again.subscribe(f"{base}/#", 1)
            publisher.publish(Message(f"{base}/new", "x", 1, False))
            equal(again.wait_for(1), [Message(f"{base}/new", "x", 1, False)], "after a clean start")
            equal(len(back.messages), len(sent), "messages after unsubscribing")
            again.leave()

    return run


def tls(peer_type):
    """Through TLS, with the gateway's certificate checked."""

    def run(site):
        authority = Authority(site)
        certificate, key = authority.issue("localhost", names=["localhost"], purpose="serverAuth")
        port = free_port()
        listener = f"""\
anonymous: true
    - name: secure
      bind: 127.0.0.1:{port}
      anonymous: true
      tls: {{ certificate: {certificate}, private_key: {key} }}
"""
        gateway = Gateway(site, listener=listener)
        gateway.process.wait_for_port(port)
        for number, version in enumerate((V311, V5)):
            options = {"ca": authority.certificate}
            subscriber = peer_type(site, port, f"s{number}", version, **options).connect()
            subscriber.subscribe("secret", 2)
            publisher = peer_type(site, port, f"p{number}", version, **options).connect()
            sent = [Message("secret", "x", 2, False), Message("secret", LARGE, 1, False)]
            for message in sent:
                publisher.publish(message)
            equal(subscriber.wait_for(2), sent, "through TLS")
            publisher.leave()
            subscriber.leave()

    return run


for publisher in PEERS:
    for subscriber in PEERS:
        add_case(f"{name(publisher)} publishes to {name(subscriber)}", exchange(publisher, subscriber))
for publisher, subscriber in zip(PEERS, PEERS[1:] + PEERS[:1]):
    add_case(f"{name(subscriber)} gets what {name(publisher)} retained", retained(publisher, subscriber))
for peer in PEERS:
    add_case(f"the will of {name(peer)}", will(peer))
    add_case(f"the session of {name(peer)}", session(peer))
    add_case(f"{name(peer)} through TLS", tls(peer))

if __name__ == "__main__":
    main()
