"""Certificates of a bridge that are replaced while it runs, against a Mosquitto that requires them and names their owner.

Publishers at QoS 1 and 2 go on all the while. Afterwards every message is at the upstream, those at QoS 2 once, the
upstream has seen the new certificate, and no local client was disconnected.
"""

import os
import shutil
import signal
import subprocess
import threading
import time

from harness import (
    BRIDGE_STATUS,
    DEADLINE,
    Authority,
    Gateway,
    Mosquitto,
    bridge,
    case,
    check,
    equal,
    main,
    newest,
    program,
    wait_until,
)
from mqtt_client import V5, V311, Client

# fieldgate looks at the files each minute, and again when they have stood still for five seconds.
UNASKED = 120
WINDOW = 20
# Between two messages of a publisher: below what the bridge carries at QoS 2, so that the backlog stays short.
PAUSE = 0.02


class Scene:
    """A gateway whose bridge is up with the certificate of `g1`, and clients on both sides."""

    def __init__(self, site, protocol=5):
        self.site = site
        self.authority = Authority(site)
        self.upstream = Mosquitto(site, self.authority, tls="use_identity_as_username true")
        self.gateway = Gateway(site, bridge(self.authority, self.upstream.tls_port, protocol=protocol))
        self.cloud = Client(site, self.upstream.port, "cloud", V5).accepted()
        self.cloud.subscribe("site/g1/#", 2)
        self.local = Client(site, self.gateway.port, "local", V5).accepted()
        self.local.subscribe("#", 0)
        self.local.subscribe(BRIDGE_STATUS, 1)
        self.publishers = []
        self.connected_as("g1")

    def connected_as(self, owner, seconds=DEADLINE):
        """Waits until the upstream has seen the bridge with a certificate of this owner."""
        said = "as g1 (p"
        wait_until(
            lambda: any(said in line and f"u'{owner}'" in line for line in self.upstream.process.log().splitlines()),
            f"the upstream sees the certificate of {owner}",
            seconds,
        )

    def connections(self):
        """How often the bridge has connected."""
        return self.upstream.process.log().count(" as g1 (p")

    def replace(self, certificate, key):
        """Puts these files in the place of those in use, each in one step."""
        for new, name in ((certificate, "g1.crt"), (key, "g1.key")):
            staged = self.authority.folder / "staged"
            shutil.copy(new, staged)
            os.replace(staged, self.authority.folder / name)

    def ask(self):
        self.gateway.process.child.send_signal(signal.SIGHUP)

    def publish_all_the_while(self):
        for name, qos, version in (("one", 1, V311), ("two", 2, V5)):
            self.publishers.append(Publisher(self.site, self.gateway.port, name, qos, version))

    def warning(self):
        status = newest(self.local, BRIDGE_STATUS)
        return status and status["certificate_warning"]

    def all_arrived(self):
        """Ends the publishers and compares what the upstream has with what was acknowledged to them."""
        for publisher in self.publishers:
            publisher.stop()
        for publisher in self.publishers:
            topic = f"site/g1/plant/{publisher.name}"
            wanted = [str(number) for number in range(publisher.count)]
            wait_until(lambda t=topic, w=wanted: set(w) <= set(self.cloud.payloads(t)), f"all of {publisher.name}")
            found = self.cloud.payloads(topic)
            if publisher.qos == 2:
                equal(len(found), len(wanted), f"{publisher.name}: messages at QoS 2")
            equal(list(dict.fromkeys(found)), wanted, f"{publisher.name}: first occurrences, in order")
            check(publisher.client.closed is None, f"{publisher.name} was disconnected: {publisher.client.closed}")
        check(self.local.closed is None, f"a local client was disconnected: {self.local.closed}")
        check("panic" not in self.gateway.process.log(), "the gateway says nothing of a panic")


class Publisher:
    """Publishes numbers to a topic of its own until it is stopped."""

    def __init__(self, site, port, name, qos, version):
        self.name, self.qos = name, qos
        self.count = 0
        self.running = True
        self.window = threading.Semaphore(WINDOW)
        self.client = Client(site, port, name, version).accepted()
        self.client.paho.on_publish = lambda *arguments: self.window.release()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while self.running and self.window.acquire(timeout=DEADLINE):
            self.client.publish(f"plant/{self.name}", str(self.count), self.qos, wait=False)
            self.count += 1
            time.sleep(PAUSE)

    def stop(self):
        """Returns when all that was published is acknowledged."""
        self.running = False
        self.thread.join(DEADLINE)
        for _ in range(WINDOW):
            check(self.window.acquire(timeout=DEADLINE), f"{self.name}: the last acknowledgements do not come")


def swapped_under_load(site, protocol):
    scene = Scene(site, protocol)
    scene.publish_all_the_while()
    for owner in ("second", "third", "fourth"):
        before = scene.cloud.wait_for(len(scene.cloud.payloads()) + 200)
        scene.replace(*scene.authority.issue(owner))
        scene.ask()
        scene.connected_as(owner)
        scene.cloud.wait_for(len(before) + 200)
    scene.all_arrived()
    equal(scene.connections(), 4 + (protocol != 5), "connections of the bridge, the one that clears an old session among them")
    equal(scene.warning(), None, "warning")


@case
def swapped_under_load_mqtt_5(site):
    swapped_under_load(site, 5)


@case
def swapped_under_load_mqtt_3_1_1(site):
    swapped_under_load(site, "3.1.1")


@case
def swapped_under_load_without_being_asked(site):
    scene = Scene(site)
    scene.publish_all_the_while()
    scene.replace(*scene.authority.issue("second"))
    scene.connected_as("second", UNASKED)
    scene.all_arrived()


@case
def a_bad_set_is_told_and_the_one_before_stays(site):
    scene = Scene(site)
    scene.publish_all_the_while()
    second = scene.authority.issue("second")
    foreign = Authority(site, "foreign").issue("g1")
    # Not the key of the certificate: the whole reload is refused.
    scene.replace(scene.authority.folder / "g1.crt", second[1])
    scene.ask()
    wait_until(lambda: "is not the key of the certificate" in scene.gateway.process.log(), "the fault is told")
    # Sound, but nobody the upstream knows.
    scene.replace(*foreign)
    scene.ask()
    wait_until(lambda: "cannot be reached with the new certificate files" in (scene.warning() or ""), "the refusal is told")
    refusals = scene.gateway.process.log().count("cannot be reached with the new certificate files")
    equal(refusals, 1, "lines about the refusal")
    equal(scene.connections(), 1, "connections of the bridge so far")
    scene.replace(*second)
    scene.ask()
    scene.connected_as("second")
    wait_until(lambda: scene.warning() is None, "the warning is gone")
    scene.all_arrived()


@case
def a_certificate_that_expires_is_told_ahead(site):
    scene = Scene(site)
    equal(scene.warning(), None, "warning of a certificate that lasts")
    check("warning" not in checked(scene.gateway), "nothing is to be warned of")
    soon = "expires in 9 days"
    scene.replace(*scene.authority.issue("second", days=10))
    scene.ask()
    scene.connected_as("second")
    wait_until(lambda: soon in (scene.warning() or ""), "the status tells that it expires")
    equal(scene.gateway.process.log().count(soon), 1, "lines about it in the log")
    check(f"warning: bridge `cloud`: {scene.authority.folder / 'g1.crt'}: the certificate {soon}" in checked(scene.gateway), "check warns")


@case
def a_start_with_the_wrong_key_keeps_all_and_delivers_it_when_the_right_one_is_there(site):
    scene = Scene(site)
    right = (scene.authority.folder / "g1.key").read_bytes()
    (scene.authority.folder / "g1.key").write_bytes(scene.authority.issue("second")[1].read_bytes())
    connections = scene.connections()
    scene.gateway.process.kill()
    scene.gateway.restart()
    wait_until(lambda: "RUNNING WITHOUT" in scene.gateway.process.log(), "the start tells it")
    scene.local = Client(site, scene.gateway.port, "local", V5).accepted()
    scene.local.subscribe(BRIDGE_STATUS, 1)
    error = lambda: (newest(scene.local, BRIDGE_STATUS) or {}).get("error") or ""  # noqa: E731
    wait_until(lambda: "is not the key of the certificate" in error(), "the status of the link names the file")
    scene.publish_all_the_while()
    wait_until(lambda: all(publisher.count > 200 for publisher in scene.publishers), "a backlog")
    equal(scene.connections(), connections, "connections while the key is wrong")
    (scene.authority.folder / "g1.key").write_bytes(right)
    wait_until(lambda: scene.connections() > connections, "it connects by itself")
    scene.all_arrived()


def checked(gateway):
    """What `fieldgate check` says."""
    command = [program(), "check", gateway.config]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=True).stderr


if __name__ == "__main__":
    main()
