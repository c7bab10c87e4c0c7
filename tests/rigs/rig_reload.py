"""Reloads under load: what has changed is taken up, and whoever is not concerned notices nothing.

The site: 100 MQTT clients, 10 Modbus devices on wires of their own (`fieldgate simulate`), a bridge to Mosquitto whose link is
cut, so that a backlog is there, and drains. Then the configuration changes in one place or another, and `fieldgate reload`
takes it up. Afterwards every acknowledged message is where it should be, and nobody else was disconnected.
"""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

from harness import (
    BRIDGE_STATUS,
    DEADLINE,
    Authority,
    Failed,
    Gateway,
    Mosquitto,
    Proxy,
    bridge,
    case,
    check,
    equal,
    free_port,
    main,
    newest,
    program,
    wait_until,
)
from mqtt_client import V5, V311, Client

PUBLISHERS = 50
SUBSCRIBERS = 50
DEVICES = 10
PASSWORD = "secret"
# Between two messages of a publisher, so that Python keeps up.
PAUSE = 0.2
WINDOW = 20


class Site:
    """All of it, running, with a backlog that waits for the upstream."""

    def __init__(self, site):
        self.site = site
        self.authority = Authority(site)
        self.upstream = Mosquitto(site, self.authority)
        self.link = Proxy(site, self.upstream.tls_port)
        self.certificate, self.key = self.authority.issue("gateway", names=["localhost"], purpose="serverAuth")
        self.tls_port, self.spare_port = free_port(), free_port()
        self.device_ports = self.simulated()
        users = site.write("users", "")
        for user in ("stays", "goes"):
            subprocess.run(["mosquitto_passwd", "-b", users, user, PASSWORD], check=True, capture_output=True)
        rest = self.connections() + self.devices() + bridge(self.authority, self.link.port)
        self.gateway = Gateway(site, rest, broker=self.broker())
        self.above, self.below = Seen(), Seen()
        self.cloud = Client(site, self.upstream.port, "cloud", V5, take=self.above.take).accepted()
        self.cloud.subscribe("site/g1/#", 1)
        user = ("stays", PASSWORD)
        self.watcher = Client(site, self.gateway.port, "watcher", V5, user=user, take=self.below.take).accepted()
        self.watcher.subscribe("g1/+/$status", 0)
        self.watcher.subscribe(BRIDGE_STATUS, 0)
        self.watcher.subscribe("plant/#", 1)
        wait_until(self.all_online, "all devices are online")
        self.wait_for_link("up")
        self.publishers = [Publisher(self, number) for number in range(PUBLISHERS)]
        self.subscribers = [self.subscriber(number) for number in range(SUBSCRIBERS)]
        self.others = [one.client for one in self.publishers] + self.subscribers + [self.watcher]

    def simulated(self):
        """Starts the devices; gives their ports, in order."""
        self.device_ports = range(1, DEVICES + 1)
        devices = self.site.write("devices.yaml", "gateway: { id: g1 }\n" + self.connections() + self.devices())
        simulator = self.site.process("simulator", [program(), "simulate", devices])
        said = re.compile(r"^line\d+: 127\.0\.0\.1:(\d+) for", re.MULTILINE)
        ports = wait_until(lambda: len(found := said.findall(simulator.log())) == DEVICES and found, "the devices")
        return [int(port) for port in ports]

    def broker(self):
        return f"""\
  - name: plant
    bind: 127.0.0.1:{self.tls_port}
    tls: {{ certificate: {self.certificate}, private_key: {self.key} }}
users_file: users
access:
  - {{ user: "*", publish: ["#"], subscribe: ["#"] }}
  - {{ anonymous: true, publish: ["plant/#"], subscribe: ["#"] }}
"""

    def connections(self):
        lines = [
            f"  - {{ name: line{number}, modbus_tcp: {{ host: 127.0.0.1, port: {port} }} }}\n"
            for number, port in enumerate(self.device_ports)
        ]
        return "connections:\n" + "".join(lines)

    def devices(self):
        return "devices:\n" + "".join(self.device(number) for number in range(DEVICES))

    def device(self, number, interval="200ms"):
        return f"""\
  - name: dev{number}
    connection: line{number}
    unit_id: 1
    groups:
      - name: g
        interval: {interval}
        tags: [{{ name: n, register: input, address: 0, type: uint16 }}]
"""

    def subscriber(self, number):
        client = Client(self.site, self.gateway.port, f"hmi{number}", V311).accepted()
        client.subscribe(f"plant/{number}", 1)
        return client

    def status(self, device):
        return newest(self.watcher, f"g1/{device}/$status")

    def all_online(self):
        states = [self.status(f"dev{number}") for number in range(DEVICES)]
        return all(state and state["state"] == "online" for state in states)

    def bridge_status(self):
        return newest(self.watcher, BRIDGE_STATUS)

    def wait_for_link(self, link):
        wait_until(lambda: (self.bridge_status() or {}).get("link") == link, f"the link is {link}")

    def change(self, before, after):
        text = self.gateway.config.read_text()
        check(before in text, f"{before!r} is not in the configuration")
        self.gateway.config.write_text(text.replace(before, after, 1))

    def reload(self):
        """Asks for it; what was done, in words."""
        done = self.ask("reload", "--json")
        outcome = json.loads(done.stdout)
        check("applied" in outcome, f"refused: {outcome}")
        return outcome["applied"]

    def ask(self, *command):
        return subprocess.run(
            [program(), *command, "-c", str(self.gateway.config)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            cwd=self.site.folder,
        )

    def state(self):
        return json.loads(self.ask("status", "--json").stdout)

    def nobody_else_noticed(self, what):
        """Ends the publishers and looks for what is missing, here and at the upstream."""
        for publisher in self.publishers:
            publisher.stop()
        topics = [(self.below, ""), (self.above, "site/g1/")]
        lacking = lambda: sum(  # noqa: E731
            publisher.count - len(set(seen.payloads(prefix + publisher.topic)))
            for publisher in self.publishers
            for seen, prefix in topics
        )
        try:
            wait_until(lambda: lacking() == 0, "all messages, here and at the upstream")
        except Failed:
            print(f"    still missing: {lacking()}")
        lost = lacking()
        closed = [one for one in self.others if one.closed is not None]
        total = sum(publisher.count for publisher in self.publishers)
        print(
            f"    {what}: {len(self.others)} clients, {DEVICES} devices, {total} messages: "
            f"{len(closed)} disconnects of others, {lost} lost"
        )
        equal((len(closed), lost), (0, 0), "disconnects and losses")
        check("panic" not in self.gateway.process.log(), "the gateway says nothing of a panic")


class Seen:
    """The payloads of the publishers' topics, in order; the gateway's own topics are left to the client."""

    def __init__(self):
        self._by_topic = {}

    def take(self, message):
        if "plant/" not in message.topic:
            return False
        self._by_topic.setdefault(message.topic, []).append(message.payload.decode())
        return True

    def payloads(self, topic):
        return list(self._by_topic.get(topic, []))

    def count(self, under):
        return sum(len(payloads) for topic, payloads in list(self._by_topic.items()) if topic.startswith(under))


class Publisher:
    """Publishes numbers at QoS 1 to a topic of its own until it is stopped."""

    def __init__(self, site, number):
        self.topic = f"plant/{number}"
        self.count = 0
        self.running = True
        self.window = threading.Semaphore(WINDOW)
        self.client = Client(site.site, site.gateway.port, f"plc{number}", V311).accepted()
        self.client.paho.on_publish = lambda *arguments: self.window.release()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while self.running and self.window.acquire(timeout=DEADLINE):
            self.client.publish(self.topic, str(self.count), 1, wait=False)
            self.count += 1
            time.sleep(PAUSE)

    def stop(self):
        """Ends it, when all is acknowledged."""
        self.running = False
        self.thread.join()
        for _ in range(WINDOW):
            check(self.window.acquire(timeout=DEADLINE), f"{self.topic}: an acknowledgement is missing")


def shown_certificate(port):
    """What the listener shows, as DER."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 5) as plain, context.wrap_socket(plain) as secure:
        return secure.getpeercert(binary_form=True)


@case
def one_device_one_user_and_one_certificate_change_while_a_backlog_drains(site):
    here = Site(site)
    goes = Client(site, here.gateway.port, "goes", V5, user=("goes", PASSWORD)).accepted()
    stays = Client(site, here.gateway.port, "stays", V5, user=("stays", PASSWORD)).accepted()
    here.others.append(stays)
    here.link.cut()
    here.wait_for_link("down")
    wait_until(lambda: here.bridge_status()["backlog_messages"] > 500, "a backlog")
    here.link.mend()
    here.wait_for_link("up")
    connects = here.bridge_status()["connects"]
    requests = {number: here.status(f"dev{number}")["since"] for number in range(DEVICES)}
    before = shown_certificate(here.tls_port)

    here.change(here.device(3), here.device(3, interval="100ms"))
    users = site.folder / "users"
    users.write_text("".join(line for line in users.read_text().splitlines(True) if not line.startswith("goes:")))
    new = here.authority.issue("gateway-new", names=["localhost"], purpose="serverAuth")
    for path, name in zip(new, (here.certificate, here.key), strict=True):
        shutil.copy(path, site.folder / "staged")
        os.replace(site.folder / "staged", name)
    applied = here.reload()

    told = " ".join(applied["done"])
    check("connection line3: started anew" in told and "dev3" in told, told)
    check("listener plant: new connections get the certificate files" in told, told)
    check("10 connections" not in " ".join(applied["kept"]), applied)
    wait_until(lambda: goes.closed is not None, "the user who was removed is closed")
    check(stays.closed is None, "the other user is not")
    check(shown_certificate(here.tls_port) != before, "the listener shows the new certificate")
    wait_until(lambda: here.status("dev3")["since"] > requests[3], "the device that changed is online again")
    for number in set(range(DEVICES)) - {3}:
        equal(here.status(f"dev{number}")["since"], requests[number], f"dev{number} is online since")
    here.nobody_else_noticed("one device, one user, one certificate")
    equal(here.state()["bridges"][0]["status"]["connects"], connects, "connections of the bridge, over the reload")


@case
def a_bridge_changes_goes_and_comes_while_others_go_on(site):
    here = Site(site)
    here.change("    backoff: { min: 1s, max: 2s }\n", "    backoff: { min: 1s, max: 3s }\n")
    applied = here.reload()
    check("bridge cloud: started anew" in " ".join(applied["done"]), applied)
    here.wait_for_link("up")

    # A second one, to the same upstream under another name and prefix.
    text = here.gateway.config.read_text()
    start = text.index("  - name: cloud\n")
    second = text[start:].replace("name: cloud", "name: second").replace("site/", "second/").replace("{gateway}\"\n", "{gateway}-2\"\n", 1)
    here.cloud.subscribe("second/g1/#", 1)
    here.gateway.config.write_text(text + second)
    applied = here.reload()
    check("bridge second: added" in " ".join(applied["done"]), applied)
    wait_until(lambda: here.above.count("second/g1/plant/") > 200, "what goes up by the second bridge")

    # Gone, and back: what it had not sent is still there.
    here.gateway.config.write_text(text)
    applied = here.reload()
    check("bridge second: removed" in " ".join(applied["done"]), applied)
    here.gateway.config.write_text(text + second)
    seen = here.above.count("second/g1/plant/")
    here.reload()
    wait_until(lambda: here.above.count("second/g1/plant/") > seen + 200, "it goes on")
    for number in range(PUBLISHERS):
        found = [int(one) for one in here.above.payloads(f"second/g1/plant/{number}")]
        equal(sorted(set(found)), list(dict.fromkeys(found)), f"plant/{number} by the second bridge, first occurrences in order")
    here.nobody_else_noticed("a bridge that changes, goes and comes")


@case
def a_listener_moves_and_takes_only_its_own_clients_with_it(site):
    here = Site(site)
    context = ssl.create_default_context(cafile=here.authority.certificate)
    guest = Client(site, here.tls_port, "guest", V5, host="localhost", tls=context, user=("stays", PASSWORD)).accepted()
    here.change(f"127.0.0.1:{here.tls_port}", f"127.0.0.1:{here.spare_port}")
    applied = here.reload()
    check("listener plant: started anew" in " ".join(applied["done"]), applied)
    wait_until(lambda: guest.closed is not None, "the client of the listener that moved is closed")
    moved = Client(site, here.spare_port, "guest", V5, host="localhost", tls=context, user=("stays", PASSWORD)).accepted()
    check(moved.connack, "it is let in at the new place")
    here.nobody_else_noticed("a listener that moves")


@case
def a_configuration_with_a_fault_changes_nothing(site):
    here = Site(site)
    good = here.gateway.config.read_text()
    here.change("interval: 200ms", "interval: 200")
    users = site.folder / "users"
    users.write_text("")
    refused = here.ask("reload")
    check(refused.returncode != 0, f"it ends with {refused.returncode}")
    check("nothing was changed" in refused.stdout + refused.stderr, refused.stdout + refused.stderr)
    check("interval" in refused.stdout + refused.stderr, "it says where the fault is")
    check(here.watcher.closed is None, "the users are as they were")
    here.gateway.config.write_text(good)
    here.nobody_else_noticed("a configuration with a fault")


@case
def a_start_with_a_fault_runs_on_the_last_good_configuration(site):
    gateway = Gateway(site)
    good = gateway.config.read_text()
    kept = site.folder / "data" / "last-good.json"
    wait_until(kept.exists, "the last good configuration is kept")
    equal(kept.stat().st_mode & 0o777, 0o600, "its mode")
    gateway.process.stop()
    gateway.config.write_text(good + "\tbroken: [")
    gateway.restart()
    client = Client(site, gateway.port, "hmi", V5).accepted()
    client.subscribe("g1/$status", 1)
    wait_until(lambda: (newest(client, "g1/$status") or {}).get("config") == "last_good", "the status says so")
    log = gateway.process.log()
    check("LAST GOOD CONFIGURATION" in log and "FG002" in log, "so does the log, with the fault")
    gateway.config.write_text(good)
    gateway.process.child.send_signal(signal.SIGHUP)
    wait_until(lambda: newest(client, "g1/$status")["config"] == "file", "the file counts again")
    check(client.closed is None, f"the client was closed: {client.closed}")
    gateway.process.stop()
    kept.unlink()
    gateway.config.write_text(good + "\tbroken: [")
    gateway.process.start()
    equal(gateway.process.wait_for_end(), 78, "the status without a last good one")


if __name__ == "__main__":
    main()
