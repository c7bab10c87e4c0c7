"""Connections that mean no good: half open ones, claims of sizes that never come, slow handshakes. A client that was there
before notices nothing, and when it is over the gateway is as small as it was. Prints the figures, resident and
anonymous."""

import contextlib
import resource
import socket
import ssl
import struct

from harness import LONG, Authority, Gateway, case, check, free_port, main, wait_until
from mqtt_client import V5, V311, Client, connect_packet

ALLOWED_KB = 4 << 10  # more than before, whatever the number of rounds
ROUNDS = 6 if LONG else 3
UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


def rss(gateway, what="VmRSS:"):
    """Resident memory of the gateway in KB."""
    with open(f"/proc/{gateway.process.child.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what))


def told(gateway):
    return f"{rss(gateway)} KB resident, {rss(gateway, 'RssAnon:')} KB of it anonymous"


def attack(site):
    """A gateway with a plain, a TLS and a WebSocket listener, warmed up, and a client that was there before."""
    authority = Authority(site)
    certificate, key = authority.issue("gateway", names=["localhost"], purpose="serverAuth")
    tls, web = free_port(), free_port()
    more = f"""anonymous: true
    - {{ name: tls, bind: "127.0.0.1:{tls}", anonymous: true, tls: {{ certificate: {certificate}, private_key: {key} }} }}
    - {{ name: web, bind: "127.0.0.1:{web}", anonymous: true, websocket: {{}} }}"""
    gateway = Gateway(site, listener=more, broker="limits: { connect_timeout: 2s, connections_per_address: 200 }")
    gateway.process.wait_for_port(tls)
    gateway.process.wait_for_port(web)
    for _ in range(3):
        clients = [Client(site, gateway.port, f"warm{n}", V311).accepted() for n in range(20)]
        secure = Client(site, tls, "secure", V5, host="localhost")
        secure.paho.tls_set(str(authority.certificate))
        over = Client(site, web, "over", V5, transport="websockets")
        for client in [*clients, secure.accepted(), over.accepted()]:
            client.publish("warm/up", "x" * 50_000, qos=1)
            client.end()
    present = Client(site, gateway.port, "present", V5).accepted()
    present.subscribe("present", 1)
    return gateway, tls, web, present


def connect(port, source):
    """A connection from this address of loopback; `None` where it is refused."""
    with contextlib.suppress(OSError):
        opened = socket.create_connection(("127.0.0.1", port), 10, (source, 0))
        opened.settimeout(10)
        return opened
    return None


def send(opened, data):
    with contextlib.suppress(OSError):
        opened.sendall(data)


def flood(gateway, present, sources, count, port, begin):
    """Opens so many connections, begins each of them, and lets go of all; returns the highest RSS that was seen."""
    opened, highest = [], 0
    for number in range(count):
        one = connect(port, f"127.0.1.{1 + number % sources}")
        if one:
            begin(one, number)
            opened.append(one)
        if number % 100 == 0:
            highest = max(highest, rss(gateway))
            present.publish("present", str(number), qos=1)
    highest = max(highest, rss(gateway))
    for one in opened:
        one.close()
    return highest


def client_hello():
    """The first bytes that a TLS client sends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    side = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        side.do_handshake()
    return outgoing.read()


def claim(one, number):
    """A client in good order, and then a PUBLISH of 250 KB of which only the beginning comes, or one beyond the limit."""
    send(one, connect_packet(f"claim{number}"))
    length = b"\x90\xa1\x0f" if number % 2 else b"\xff\xff\xff\x7f"
    send(one, b"\x30" + length + b"\x00\x05claim" + b"x" * (number % 7 * 1000))


def subscribe(one, number):
    """A client in good order with a subscription of its own."""
    send(one, connect_packet(f"many{number}"))
    topic = f"many/{number}".encode()
    body = b"\x00\x01" + struct.pack("!H", len(topic)) + topic + b"\x01"
    send(one, b"\x82" + bytes([len(body)]) + body)


def claim_in_a_frame(one, number):
    send(one, UPGRADE)
    with contextlib.suppress(OSError):
        one.recv(4096)
    packet = connect_packet(f"frame{number}")
    send(one, b"\x82\xff" + struct.pack("!Q", 1 << 62) + bytes(4) + packet)


def attacks(tls, web, port):
    hello = client_hello()
    return {
        "half connections, nothing sent": (2000, port, lambda one, number: None),
        "half a CONNECT that claims 256 MB": (1000, port, lambda one, number: send(one, b"\x10\xff\xff\xff\x7f\x00\x04M")),
        "half a CONNECT that claims 250 KB": (1000, port, lambda one, number: send(one, b"\x10\x90\xa1\x0f\x00\x04MQTT")),
        "clients with half a PUBLISH": (1000, port, claim),
        "clients with a subscription": (1000, port, subscribe),
        "TLS: nothing sent": (500, tls, lambda one, number: None),
        "TLS: half a ClientHello": (500, tls, lambda one, number: send(one, hello[: 5 + number % 200])),
        "TLS: a ClientHello and then silence": (500, tls, lambda one, number: send(one, hello)),
        "TLS: no TLS at all": (500, tls, lambda one, number: send(one, b"\x16\x03\x01\xff\xff" + b"x" * 2000)),
        "WebSocket: half a request": (500, web, lambda one, number: send(one, UPGRADE[: 20 + number % 150])),
        "WebSocket: a request without end": (500, web, lambda one, number: send(one, b"GET /" + b"x" * 20_000)),
        "WebSocket: a frame that claims 4 EiB": (500, web, claim_in_a_frame),
    }


def under_attack(site, sources):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    gateway, tls, web, present = attack(site)
    before = rss(gateway)
    print(f"    before: {told(gateway)}")
    for number in range(ROUNDS):
        highest = 0
        for name, (count, port, begin) in attacks(tls, web, gateway.port).items():
            peak = flood(gateway, present, sources, count, port, begin)
            highest = max(highest, peak)
            if number == 0:
                print(f"    {count:5} x {name:36} peak {peak:6} KB, then {rss(gateway):6} KB")
        print(f"    after round {number + 1}: {told(gateway)}, {rss(gateway) - before:+} KB; highest {highest} KB")
    wait_until(lambda: rss(gateway) - before <= ALLOWED_KB, f"at most {ALLOWED_KB} KB more than before the attack")
    print(f"    given back: {told(gateway)}, {rss(gateway) - before:+} KB")
    published = [message for message in present.received() if message.topic == "present"]
    present.barrier()
    check(len(published) > 50 and not present.closed, "the client that was there went on")
    newcomer = Client(site, gateway.port, "newcomer", V5).accepted()
    newcomer.publish("present", "last", qos=1)
    wait_until(lambda: present.payloads("present")[-1:] == ["last"], "all is as before")
    log = gateway.process.log()
    check("panic" not in log, "no panic")
    check(len(log.splitlines()) < 300, "the log is not flooded")


@case
def one_address_attacks_and_gets_its_connections_per_address(site):
    under_attack(site, 1)


@case
def twenty_addresses_attack_at_a_time(site):
    under_attack(site, 20)


if __name__ == "__main__":
    main()
