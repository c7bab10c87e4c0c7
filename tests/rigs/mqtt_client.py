"""MQTT clients for the rigs: paho-mqtt made to wait for what is awaited, and a raw socket for what no client sends."""

import contextlib
import socket
import threading

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from harness import check, wait_until

V311 = paho.MQTTv311
V5 = paho.MQTTv5
# In a PUBCOMP: the broker has finished the handshake already, and only its PUBCOMP was lost with the connection. "This is
# not an error during recovery" (MQTT 5 section 3.7.2.1); paho calls it one.
PACKET_IDENTIFIER_NOT_FOUND = 0x92


class Client:
    """A paho client. Every step waits for its acknowledgement; `connect` also for a refusal.

    `take` is called with each message as it comes; what it says yes to is its own, and not in `received`.
    `tls` is a context of Python's.
    """

    def __init__(
        self,
        site,
        port,
        client_id="",
        version=V311,
        clean=True,
        expiry=0,
        user=None,
        will=None,
        limits=None,
        transport="tcp",
        host="127.0.0.1",
        take=None,
        tls=None,
    ):
        options = {} if version == V5 else {"clean_session": clean}
        self.paho = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id,
            protocol=version,
            transport=transport,
            reconnect_on_failure=False,
            **options,
        )
        self.host = host
        self.port = port
        self.version = version
        self.connack = None  # (reason code, session present)
        self.connack_properties = None
        self.closed = None  # the reason code that the connection ended with
        self._clean, self._expiry, self._limits = clean, expiry, limits or {}
        self._take = take or (lambda message: False)
        self._messages, self._subacks, self._unsubacks, self._acknowledged = [], {}, set(), set()
        self._refused = {}  # reason codes by mid
        self._lock = threading.Lock()
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = self._on_disconnect
        self.paho.on_message = self._on_message
        self.paho.on_subscribe = lambda client, data, mid, codes, properties: self._subacks.update({mid: codes})
        self.paho.on_unsubscribe = lambda client, data, mid, codes, properties: self._unsubacks.add(mid)
        self.paho.on_publish = self._on_publish
        self.paho.max_inflight_messages_set(0)
        if tls:
            self.paho.tls_set_context(tls)
        if user:
            self.paho.username_pw_set(*user)
        if will:
            self.paho.will_set(*will)
        site.on_end(self.end)

    def connect(self):
        """Connects and waits for CONNACK or the end of the connection; returns self."""
        self.connack = self.closed = None
        properties = None
        options = {}
        if self.version == V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = self._expiry
            for name, limit in self._limits.items():
                setattr(properties, name, limit)
            options = {"clean_start": self._clean}
        self.paho.connect(self.host, self.port, keepalive=60, properties=properties, **options)
        self.paho.loop_start()
        wait_until(lambda: self.connack or self.closed, "CONNACK")
        return self

    def accepted(self):
        """Connects; a refusal fails the case."""
        self.connect()
        check(self.connack, f"closed without CONNACK: {self.closed}")
        check(not self.connack[0].is_failure, f"CONNACK says {self.connack[0]}")
        return self

    def resume(self):
        """Connects again after the connection ended, with what paho has of the session; the broker must have it, too."""
        wait_until(lambda: self.closed is not None, "the client notices that it is closed")
        self.paho.loop_stop()
        self.accepted()
        check(self.connack[1], f"{self.paho._client_id}: the broker has lost its session")
        return self

    def subscribe(self, topic, qos=0, **options):
        """Subscribes; returns the granted QoS or the reason code of the refusal."""
        if self.version == V5:
            _, mid = self.paho.subscribe(topic, options=SubscribeOptions(qos, **options))
        else:
            _, mid = self.paho.subscribe(topic, qos)
        wait_until(lambda: mid in self._subacks or self.closed, f"SUBACK for {topic}")
        check(mid in self._subacks, f"closed instead of SUBACK for {topic}: {self.closed}")
        return self._subacks[mid][0].value

    def unsubscribe(self, topic):
        """Unsubscribes, and waits for the answer."""
        _, mid = self.paho.unsubscribe(topic)
        wait_until(lambda: mid in self._unsubacks, f"UNSUBACK for {topic}")

    def subscribe_all(self, topics):
        """Subscribes to each of them, in one packet; MQTT 5. Returns the codes."""
        _, mid = self.paho.subscribe([(topic, SubscribeOptions(0)) for topic in topics])
        return [code.value for code in wait_until(lambda: self._subacks.get(mid), "SUBACK")]

    def publish(self, topic, payload, qos=0, retain=False, properties=None, wait=True):
        """Publishes; QoS 1 and 2: waits until it is acknowledged unless told not to. Returns paho's handle."""
        handle = self.paho.publish(topic, payload, qos, retain, properties)
        if wait and qos:
            wait_until(handle.is_published, f"acknowledgement of {topic}")
        return handle

    def received(self):
        """The messages so far, in order."""
        with self._lock:
            return list(self._messages)

    def payloads(self, under=""):
        """The payloads so far, of topics that begin so."""
        return [message.payload.decode() for message in self.received() if message.topic.startswith(under)]

    def wait_for(self, count, under=""):
        """Waits for so many messages on topics that begin so, and returns their payloads."""
        wait_until(lambda: len(self.payloads(under)) >= count, f"{count} messages under {under!r}")
        return self.payloads(under)

    def acknowledged(self):
        """The ids (paho's `mid`) of what was acknowledged so far."""
        with self._lock:
            return set(self._acknowledged)

    def refused(self, mid):
        """With which reason code what was published was refused (MQTT 5); else None."""
        with self._lock:
            return self._refused.get(mid)

    def forget(self, mid):
        """So that paho may use the id again."""
        with self._lock:
            self._acknowledged.discard(mid)

    def barrier(self, topic="barrier"):
        """Publishes to itself and waits: whatever the broker had to send before is then here."""
        self.subscribe(topic, 0)
        before = len(self.payloads(topic))
        self.publish(topic, "", qos=1)
        self.wait_for(before + 1, topic)

    def drop(self):
        """Ends the TCP connection without a word: no DISCONNECT."""
        raw = self.paho.socket()
        with contextlib.suppress(OSError, AttributeError):
            raw.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: self.closed is not None, "the client notices that it is closed")
        self.paho.loop_stop()

    def wait_closed(self):
        """Waits until the other side ended the connection; returns the reason code."""
        return wait_until(lambda: self.closed, "the connection is closed")

    def end(self):
        """DISCONNECT, and the thread is gone."""
        self.paho.disconnect()
        self.paho.loop_stop()

    def _on_connect(self, client, data, flags, code, properties):
        self.connack_properties = properties
        self.connack = (code, flags.session_present)

    def _on_disconnect(self, client, data, flags, code, properties):
        self.closed = self.closed or code  # paho reports a DISCONNECT, and then that the socket is closed

    def _on_message(self, client, data, message):
        if self._take(message):
            return
        with self._lock:
            self._messages.append(message)

    def _on_publish(self, client, data, mid, code, properties):
        with self._lock:
            if not code.is_failure or code.value == PACKET_IDENTIFIER_NOT_FOUND:
                self._acknowledged.add(mid)
            else:
                self._refused[mid] = code.value


class Raw:
    """Bytes to a broker and back, for what a well-behaved client does not do."""

    def __init__(self, site, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.settimeout(30)
        site.on_end(self.socket.close)

    def send(self, data):
        self.socket.sendall(data)
        return self

    def packet(self):
        """The next packet; b"" where the connection was closed instead."""
        head = self._read(2)
        length, shift = head[1] & 0x7F if head else 0, 7
        while head and head[-1] & 0x80:
            head += self._read(1)
            length |= (head[-1] & 0x7F) << shift
            shift += 7
        return head + self._read(length) if head else b""

    def closed(self):
        """Reads what is left until the other side closes; returns it."""
        left = b""
        with contextlib.suppress(ConnectionError):
            while data := self.socket.recv(4096):
                left += data
        return left

    def _read(self, count):
        data = b""
        with contextlib.suppress(ConnectionError):
            while len(data) < count:
                more = self.socket.recv(count - len(data))
                if not more:
                    return b""
                data += more
        return data


def connect_packet(client_id, version=V311, flags=0x02, keep_alive=60):
    """A CONNECT without will and user; flag 0x02 is Clean Session or Clean Start."""
    name = client_id.encode()
    properties = b"\x00" if version == V5 else b""
    body = b"\x00\x04MQTT" + bytes([version, flags]) + keep_alive.to_bytes(2, "big") + properties
    body += len(name).to_bytes(2, "big") + name
    return bytes([0x10, len(body)]) + body
