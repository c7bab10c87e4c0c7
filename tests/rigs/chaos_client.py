"""A small MQTT client on asyncio, 3.1.1 and 5, with the state of a session kept apart from its connection.

It knows nothing of fieldgate and is as strict as the rig needs: what a broker may not send is a fault. A `Session` does
what the standard asks of a client over any number of connections: it sends again what was not acknowledged, and hands
a QoS 2 message out once.
"""

import asyncio
import contextlib

from harness import Failed, check

V311, V5 = 4, 5
PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 3, 4, 5, 6, 7
WINDOW = 10  # messages that a well-behaved publisher has unacknowledged at a time


class Closed(Exception):
    """The connection has ended."""


def variable(value):
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)


def field(data):
    data = data.encode() if isinstance(data, str) else data
    return len(data).to_bytes(2, "big") + data


def frame(first, body=b""):
    return bytes([first]) + variable(len(body)) + body


def connect(version, client_id, clean=True, expiry=0, keep_alive=60, will=None):
    """`will`: (topic, payload, qos, retain)."""
    flags = 2 if clean else 0
    properties = b"\x11" + expiry.to_bytes(4, "big") if expiry else b""
    tail = field(client_id)
    if will:
        topic, payload, qos, retain = will
        flags |= 4 | qos << 3 | (32 if retain else 0)
        tail += (b"\0" if version == V5 else b"") + field(topic) + field(payload)
    block = variable(len(properties)) + properties if version == V5 else b""
    return frame(0x10, field("MQTT") + bytes([version, flags]) + keep_alive.to_bytes(2, "big") + block + tail)


def publish(version, topic, payload, qos=0, packet_id=None, retain=False, dup=False):
    first = 0x30 | (8 if dup else 0) | qos << 1 | (1 if retain else 0)
    head = field(topic) + (packet_id.to_bytes(2, "big") if qos else b"") + (b"\0" if version == V5 else b"")
    return frame(first, head + payload)


def subscribe(version, packet_id, filters):
    block = b"\0" if version == V5 else b""
    body = b"".join(field(name) + bytes([options]) for name, options in filters)
    return frame(0x82, packet_id.to_bytes(2, "big") + block + body)


def acknowledge(kind, packet_id):
    return frame(kind << 4 | (2 if kind == PUBREL else 0), packet_id.to_bytes(2, "big"))


class Link:
    """A connection: packets out, packets in."""

    def __init__(self, reader, writer, version):
        self.reader, self.writer, self.version = reader, writer, version

    @classmethod
    async def open(cls, port, version=V5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        return cls(reader, writer, version)

    async def send(self, data):
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError as end:
            raise Closed from end

    async def packet(self):
        """(first byte, body)."""
        try:
            first = (await self.reader.readexactly(1))[0]
            length = shift = 0
            while True:
                byte = (await self.reader.readexactly(1))[0]
                length |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return first, await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError) as end:
            raise Closed from end

    async def greet(self, connect_packet):
        """CONNECT and its CONNACK: (session present, code)."""
        await self.send(connect_packet)
        first, body = await self.packet()
        check(first == 0x20, f"CONNACK is the first packet, not {first:#x}")
        return body[0] == 1, body[1]

    def abort(self):
        """Ends without a word."""
        self.writer.transport.abort()

    async def leave(self):
        """DISCONNECT, and waits for the broker to close."""
        with contextlib.suppress(Closed):
            await self.send(frame(0xE0))
            while True:
                await self.packet()


class Session:
    """A well-behaved client: its session, and the connection of the moment.

    `on_message(session, topic, payload, qos, retain, dup)` is called for what is to be handed out.
    """

    def __init__(self, port, client_id, version, on_message=None, lasting=True):
        self.port, self.client_id, self.version = port, client_id, version
        self.lasting = lasting
        self.on_message = on_message
        self.known = False  # the broker has the session
        self.link = None
        self.unacknowledged = {}  # id to [kind that is awaited, the PUBLISH with DUP, done]
        self.received = set()  # QoS 2 ids between PUBLISH and PUBREL
        self.subscribed = {}
        self.next_id = 0
        self._reader = None
        self._fault = None  # what the broker did wrong
        self._free = asyncio.Semaphore(WINDOW)

    async def connect(self, will=None, take_over=False):
        """Comes, or comes back. With `take_over` the old connection is left for the broker to close."""
        if self.link and not take_over:
            await self.vanish()
        old, old_reader = self.link, self._reader
        link = await Link.open(self.port, self.version)
        clean = not self.lasting
        present, code = await link.greet(
            connect(self.version, self.client_id, clean, 3600 if self.lasting else 0, will=will)
        )
        check(code == 0, f"{self.client_id} is refused: {code:#x}")
        check(present == self.known, f"session present of {self.client_id} is {present}, but should be {self.known}")
        if old and take_over:
            await asyncio.wait([old_reader])
            old.abort()
        self.known = self.lasting
        if not self.lasting:
            self.received.clear()
        self.link = link
        for entry in list(self.unacknowledged.items()):
            packet_id, (awaited, again, _) = entry
            await link.send(acknowledge(PUBREL, packet_id) if awaited == PUBCOMP else again)
        self._reader = asyncio.create_task(self._read(link))
        return self

    async def vanish(self):
        if self.link:
            self.link.abort()
            await asyncio.wait([self._reader])
            self._finish()

    async def leave(self):
        if self.link:
            with contextlib.suppress(Closed):
                await self.link.send(frame(0xE0))
            await asyncio.wait([self._reader])
            self._finish()

    def _finish(self):
        self.link = None
        if self._fault:
            raise self._fault

    async def ended(self):
        """Waits for the end of its connection."""
        await asyncio.wait([self._reader])
        self._finish()

    def alive(self):
        """Whether its connection stands; raises what its reader found wrong."""
        if self._reader and self._reader.done():
            self._finish()
        return self.link is not None

    async def subscribe(self, filters):
        self.next_id = self.next_id % 60_000 + 1
        done = self.subscribed[self.next_id] = asyncio.get_running_loop().create_future()
        await self.link.send(subscribe(self.version, self.next_id, filters))
        codes = await asyncio.wait_for(done, 30)
        check(max(codes) < 0x80, f"subscriptions of {self.client_id}: {codes}")

    async def publish(self, topic, payload, qos, retain=False):
        """Sends; returns a future that is done when it is acknowledged (QoS 0: at once)."""
        done = asyncio.get_running_loop().create_future()
        if qos == 0:
            await self.link.send(publish(self.version, topic, payload, retain=retain))
            done.set_result(None)
            return done
        await self._free.acquire()
        while True:
            self.next_id = self.next_id % 60_000 + 1
            if self.next_id not in self.unacknowledged:
                break
        out = [publish(self.version, topic, payload, qos, self.next_id, retain, dup) for dup in (False, True)]
        self.unacknowledged[self.next_id] = [PUBACK if qos == 1 else PUBREC, out[1], done]
        await self.link.send(out[0])
        return done

    async def _read(self, link):
        try:
            while True:
                await self._packet(link, *await link.packet())
        except Closed:
            pass
        except Exception as fault:  # told when somebody looks
            self._fault = self._fault or fault
            link.abort()

    async def _packet(self, link, first, body):
        kind = first >> 4
        if kind == PUBLISH:
            await self._take(link, first, body)
        elif kind in (PUBACK, PUBREC, PUBCOMP):
            await self._acknowledged(link, kind, body)
        elif kind == PUBREL:
            packet_id = int.from_bytes(body[:2], "big")
            self.received.discard(packet_id)
            await link.send(acknowledge(PUBCOMP, packet_id))
        elif kind == 9:
            codes = body[3 + body[2] :] if self.version == V5 else body[2:]
            self.subscribed.pop(int.from_bytes(body[:2], "big")).set_result(codes)
        elif kind == 14:
            code = body[0] if body else 0
            if code != 0x8E:
                raise Failed(f"{self.client_id} is told DISCONNECT {code:#x}")
        elif kind != 13:
            raise Failed(f"{self.client_id} gets a packet {first:#x}")


    async def _take(self, link, first, body):
        qos, retain, dup = first >> 1 & 3, bool(first & 1), bool(first & 8)
        size = int.from_bytes(body[:2], "big")
        topic, at = body[2 : 2 + size].decode(), 2 + size
        packet_id = None
        if qos:
            packet_id, at = int.from_bytes(body[at : at + 2], "big"), at + 2
        if self.version == V5:
            length = shift = 0
            while True:
                byte = body[at]
                length |= (byte & 127) << shift
                at, shift = at + 1, shift + 7
                if byte < 128:
                    break
            at += length
        if qos == 2 and packet_id in self.received:
            check(dup, f"{self.client_id}: id {packet_id} again without DUP")
        else:
            if qos == 2:
                self.received.add(packet_id)
            self.on_message(self, topic, body[at:], qos, retain, dup)
        if qos:
            await link.send(acknowledge(PUBACK if qos == 1 else PUBREC, packet_id))

    async def _acknowledged(self, link, kind, body):
        packet_id = int.from_bytes(body[:2], "big")
        code = body[2] if len(body) > 2 else 0
        entry = self.unacknowledged.get(packet_id)
        if kind == PUBREC and entry and entry[0] == PUBCOMP:
            await link.send(acknowledge(PUBREL, packet_id))  # answered twice, because it was sent twice
            return
        check(entry and entry[0] == kind, f"{self.client_id}: an acknowledgement {kind} for {packet_id} unasked")
        check(code < 0x80 or (kind == PUBCOMP and code == 0x92), f"{self.client_id} is refused: {code:#x}")
        if kind == PUBREC:
            entry[0] = PUBCOMP
            await link.send(acknowledge(PUBREL, packet_id))
            return
        del self.unacknowledged[packet_id]
        self._free.release()
        entry[2].set_result(None)
