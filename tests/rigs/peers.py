"""Client libraries other than ours behind one face: paho-mqtt, mqtt.js, mosquitto_pub and mosquitto_sub, rumqttc.

Each peer has the same steps, and every step waits until it is done: `connect`, `subscribe`, `unsubscribe`, `publish`,
`leave` (DISCONNECT) and `vanish` (the socket just ends). `messages` are those that came, as Message.
"""

import json
import os
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from harness import ROOT, check, wait_until

V311, V5 = 4, 5
RIGS = Path(__file__).parent


@dataclass
class Message:
    topic: str
    payload: str
    qos: int
    retain: bool
    # content_type, response_topic, correlation, expiry, user: a list of [name, value]; without those that are absent.
    properties: dict = field(default_factory=dict)


@dataclass
class Will:
    topic: str
    payload: str
    qos: int = 1
    retain: bool = False


def present(properties):
    """Those that are there."""
    return {name: value for name, value in (properties or {}).items() if value not in (None, [])}


class Peer:
    """What every peer has; made anew for each connection."""

    def __init__(self, site, port, client_id, version, clean=True, will=None, ca=None):
        self.site, self.port, self.client_id, self.version = site, port, client_id, version
        self.clean, self.will, self.ca = clean, will, ca
        # A session that lasts: for an hour in MQTT 5.
        self.expiry = 0 if clean else 3600
        self.messages = []
        self.session_present = None  # unknown to mosquitto_sub

    def wait_for(self, count):
        """Waits for so many messages and returns them."""
        wait_until(lambda: len(self.messages) >= count, f"{count} messages at {type(self).__name__}")
        return list(self.messages)


class Paho(Peer):
    """Eclipse paho for Python."""

    def connect(self):
        options = {} if self.version == V5 else {"clean_session": self.clean}
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            self.client_id,
            protocol=self.version,
            reconnect_on_failure=False,
            **options,
        )
        self.client, self._done = client, {}
        client.on_connect = self._on_connect
        client.on_disconnect = lambda *_: self._done.update(closed=True)
        client.on_message = self._on_message
        client.on_subscribe = lambda client, data, mid, *_: self._done.update({mid: True})
        client.on_unsubscribe = client.on_subscribe
        if self.ca:
            client.tls_set(str(self.ca))
        if self.will:
            client.will_set(self.will.topic, self.will.payload, self.will.qos, self.will.retain)
        properties, start = None, {}
        if self.version == V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = self.expiry
            start = {"clean_start": self.clean}
        client.connect("localhost", self.port, keepalive=30, properties=properties, **start)
        client.loop_start()
        self.site.on_end(client.loop_stop)
        wait_until(lambda: self.session_present is not None, "CONNACK at paho")
        return self

    def _on_connect(self, client, data, flags, code, properties):
        check(not code.is_failure, f"paho is refused: {code}")
        self.session_present = flags.session_present

    def _on_message(self, client, data, message):
        properties = getattr(message, "properties", None)
        correlation = getattr(properties, "CorrelationData", None)
        found = {
            "content_type": getattr(properties, "ContentType", None),
            "response_topic": getattr(properties, "ResponseTopic", None),
            "correlation": correlation and correlation.decode(),
            "expiry": getattr(properties, "MessageExpiryInterval", None),
            "user": [list(pair) for pair in getattr(properties, "UserProperty", [])],
        }
        self.messages.append(
            Message(message.topic, message.payload.decode(), message.qos, message.retain, present(found))
        )

    def subscribe(self, topic_filter, qos):
        if self.version == V5:
            _, mid = self.client.subscribe(topic_filter, options=SubscribeOptions(qos))
        else:
            _, mid = self.client.subscribe(topic_filter, qos)
        wait_until(lambda: mid in self._done, "SUBACK at paho")

    def unsubscribe(self, topic_filter):
        _, mid = self.client.unsubscribe(topic_filter)
        wait_until(lambda: mid in self._done, "UNSUBACK at paho")

    def publish(self, message):
        properties = None
        if message.properties:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ContentType = message.properties["content_type"]
            properties.ResponseTopic = message.properties["response_topic"]
            properties.CorrelationData = message.properties["correlation"].encode()
            properties.MessageExpiryInterval = message.properties["expiry"]
            properties.UserProperty = [tuple(pair) for pair in message.properties["user"]]
        handle = self.client.publish(message.topic, message.payload, message.qos, message.retain, properties)
        wait_until(handle.is_published, "paho publishes")

    def leave(self):
        self.client.disconnect()
        wait_until(lambda: "closed" in self._done, "paho leaves")
        self.client.loop_stop()

    def vanish(self):
        """A socket that ends without DISCONNECT: paho's own is closed under its hands."""
        os.close(self.client.socket().detach())
        self.client.loop_stop()


class LinePeer(Peer):
    """A process that reads a line of JSON for each thing to do and writes one for each thing that happens.

    In: {"do": "connect"|"subscribe"|"unsubscribe"|"publish"|"disconnect", ...}. Out: {"event": "connected"|"subscribed"|
    "unsubscribed"|"published"|"message"|"closed", ...}.
    """

    command = ()

    def connect(self):
        self._events = []
        environment = {**os.environ, "NODE_PATH": str(ROOT / "target" / "rigs" / "node" / "node_modules")}
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.site.on_end(self.vanish)
        threading.Thread(target=self._read, daemon=True).start()
        connected = self._do(
            "connect",
            "connected",
            port=self.port,
            id=self.client_id,
            version=self.version,
            clean=self.clean,
            expiry=self.expiry,
            will=vars(self.will) if self.will else None,
            ca=str(self.ca) if self.ca else None,
        )
        self.session_present = connected["present"]
        return self

    def _read(self):
        for line in self._process.stdout:
            event = json.loads(line)
            if event.pop("event") == "message":
                event["properties"] = present(event.get("properties"))
                self.messages.append(Message(**event))
            else:
                self._events.append(json.loads(line))

    def _do(self, what, done, **arguments):
        before = len(self._events)
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()

        def answer():
            new = self._events[before:]
            check(done == "closed" or not any(event["event"] in ("closed", "failed") for event in new), f"{what}: {new}")
            return next((event for event in new if event["event"] == done), None)

        return wait_until(answer, f"{type(self).__name__}: {done}")

    def subscribe(self, topic_filter, qos):
        self._do("subscribe", "subscribed", filter=topic_filter, qos=qos)

    def unsubscribe(self, topic_filter):
        self._do("unsubscribe", "unsubscribed", filter=topic_filter)

    def publish(self, message):
        properties = message.properties or None
        self._do("publish", "published", **{**vars(message), "properties": properties})

    def leave(self):
        self._do("disconnect", "closed")
        self._process.wait(30)

    def vanish(self):
        self._process.kill()
        self._process.wait()


class MqttJs(LinePeer):
    """mqtt.js in node."""

    command = ("node", str(RIGS / "mqttjs_peer.cjs"))


class Rumqttc(LinePeer):
    """rumqttc, a Rust client."""

    command = (str(ROOT / "target" / "rigs" / "rumqttc" / "debug" / "rumqttc-peer"),)


class Mosquitto(Peer):
    """mosquitto_sub, which connects to subscribe and stays, and mosquitto_pub, which comes for each message."""

    def connect(self):
        self._process = None
        self._log = []
        return self

    def _arguments(self):
        yield from ("-h", "localhost", "-p", str(self.port), "-V", "mqttv5" if self.version == V5 else "mqttv311")
        if self.ca:
            yield from ("--cafile", str(self.ca))

    def _run(self, *arguments):
        session = [] if self.clean else ["-c"]
        if self.expiry and self.version == V5:
            session += ["-x", str(self.expiry)]
        will = []
        if self.will:
            will = ["--will-topic", self.will.topic, "--will-payload", self.will.payload]
            will += ["--will-qos", str(self.will.qos)] + (["--will-retain"] if self.will.retain else [])
        # It would keep its lines until it has 4 KiB of them.
        command = ["stdbuf", "-oL", "mosquitto_sub", "-d", "-F", "%j", "-k", "30", "-i", self.client_id]
        command += [*self._arguments(), *session, *will, *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.site.on_end(self.vanish)
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def _read(self, process):
        for line in process.stdout:
            if not line.startswith("{"):
                self._log.append(line)
                continue
            event = json.loads(line)
            properties = event.get("properties", {})
            pairs = properties.get("user-properties", {})
            found = {
                "content_type": properties.get("content-type"),
                "response_topic": properties.get("response-topic"),
                "correlation": properties.get("correlation-data"),
                "expiry": properties.get("message-expiry-interval"),
                "user": [[name, value] for name, value in pairs.items()],
            }
            self.messages.append(
                Message(event["topic"], event["payload"] or "", event["qos"], bool(event["retain"]), present(found))
            )

    def _said(self, what):
        wait_until(lambda: any(what in line for line in list(self._log)), f"mosquitto_sub says {what!r}: {self._log}")

    def subscribe(self, topic_filter, qos):
        self._run("-t", topic_filter, "-q", str(qos))
        self._said("Subscribed")

    def resume(self):
        """Comes back to its session; the program must subscribe to something."""
        self._run("-t", f"nothing/{self.client_id}")
        self._said("Subscribed")

    def unsubscribe(self, topic_filter):
        """A connection of its own, because the program unsubscribes only when it connects."""
        check(not self.clean, "mosquitto_sub needs a session to unsubscribe")
        self.leave()
        self._log.clear()
        self._run("-U", topic_filter, "-t", f"nothing/{self.client_id}")
        self._said("received UNSUBACK")

    def publish(self, message):
        command = ["mosquitto_pub", *self._arguments(), "-t", message.topic, "-q", str(message.qos)]
        command.append("-s" if message.payload else "-n")
        command += ["-r"] if message.retain else []
        if message.properties:
            for name, value in (
                ("content-type", message.properties["content_type"]),
                ("response-topic", message.properties["response_topic"]),
                ("correlation-data", message.properties["correlation"]),
                ("message-expiry-interval", str(message.properties["expiry"])),
            ):
                command += ["-D", "publish", name, value]
            for name, value in message.properties["user"]:
                command += ["-D", "publish", "user-property", name, value]
        done = subprocess.run(command, input=message.payload, text=True, capture_output=True, timeout=60)
        check(done.returncode == 0, f"mosquitto_pub: {done.stderr}")

    def leave(self):
        if self._process:
            self._process.send_signal(signal.SIGTERM)  # it sends DISCONNECT
            self._process.wait(30)

    def vanish(self):
        if self._process:
            self._process.kill()
            self._process.wait()


PEERS = (Paho, MqttJs, Mosquitto, Rumqttc)
