"""Upstreams besides Mosquitto: RabbitMQ with its MQTT plugin and NATS server with its own, as Debian has them.

Both speak MQTT 3.1.1 over TLS and ask for a client certificate. Publishers at QoS 1 and 2 into fieldgate, whose bridge forwards at
QoS 1; fieldgate is killed (SIGKILL) over and over, and the upstream is ended in between and started again, under load.
Then, of what a subscriber at the upstream saw: nothing that was acknowledged is lost, nothing is invented, and on each topic
the first copies are in order.

NATS 2.9 itself loses what a subscriber has not acknowledged when it is ended: 37 of 1560 messages that a plain client had
published, without fieldgate. So the link is cut before an upstream is ended, what it has goes to the subscriber, and the link
is mended when the subscriber is back.

config/docs/upstreams.md says what was found out about them here.

RIG_SEED=N repeats a run; its seed is part of its name.
"""

import os
import random
import ssl
import time

from harness import LONG, Authority, Gateway, Proxy, accepts, add_case, bridge, check, free_port, main, wait_until
from load import Publisher, Tally, faults
from mqtt_client import V5, V311, Client

ROUNDS = 60 if LONG else 8
# The upstream is ended in each of these.
RESTART_EVERY = 3
# Of one publisher in one round.
MOST = 60
# RabbitMQ takes its time.
STARTS = 180


class Broker:
    """An upstream in a process of its own, with its data in the folder of the case."""

    def __init__(self, site, authority):
        self.site, self.port = site, free_port()
        self.folder = site.folder / self.name
        self.folder.mkdir()
        self.ca = authority.certificate
        self.certificate, self.key = authority.issue(self.name, names=["localhost"], purpose="serverAuth")
        self.process, self.starts = self.launch(), 0
        self.wait()

    def wait(self):
        self.starts += 1

        def answer():
            check(self.process.running(), f"{self.name} ended with status {self.process.child.poll()}")
            return self.is_ready()

        wait_until(answer, f"{self.name} listens", STARTS)

    def is_ready(self):
        return accepts(self.port)

    def stop(self):
        self.process.child.terminate()
        self.process.wait_for_end(STARTS)

    def start(self):
        self.process.start()
        self.wait()


class Nats(Broker):
    name = "nats"

    def launch(self):
        config = self.site.write(
            "nats.conf",
            f"""\
server_name: rig
listen: 127.0.0.1:{free_port()}
jetstream {{ store_dir: "{self.folder}" }}
mqtt {{
  listen: 127.0.0.1:{self.port}
  tls {{ cert_file: "{self.certificate}", key_file: "{self.key}", ca_file: "{self.ca}", verify: true }}
}}
""",
        )
        return self.site.process(self.name, ["nats-server", "-c", config])


class RabbitMq(Broker):
    name = "rabbitmq"

    def launch(self):
        config = self.site.write(
            "rabbitmq.conf",
            f"""\
listeners.tcp = none
mqtt.listeners.tcp = none
mqtt.listeners.ssl.1 = 127.0.0.1:{self.port}
mqtt.allow_anonymous = true
ssl_options.cacertfile = {self.ca}
ssl_options.certfile = {self.certificate}
ssl_options.keyfile = {self.key}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
""",
        )
        plugins = self.site.write("enabled_plugins", "[rabbitmq_mqtt].\n")
        # Erlang's port mapper would go on as a daemon; started here first, it ends with the case.
        names = free_port()
        environment = {
            **os.environ,
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": "rig@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_BASE": str(self.folder),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            # Its script becomes the program then, instead of waiting for it: a kill would end only the script.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        self.site.process("epmd", ["epmd", "-port", names, "-address", "127.0.0.1"]).wait_for_port(names)
        # Not Debian's wrapper, which would change to a user that may not write here.
        return self.site.process(self.name, ["/usr/lib/rabbitmq/bin/rabbitmq-server"], env=environment)

    def is_ready(self):
        # It accepts before it is.
        return self.process.log().count("completed with") == self.starts


class Run:
    """All rounds of one case; see the head of this file."""

    def __init__(self, site, kind, chance):
        self.chance = chance
        authority = Authority(site)
        self.broker = kind(site, authority)
        self.tallies, self.kills, self.restarts, self.cut_off = {}, 0, 0, 0
        self.identity = ssl.create_default_context(cafile=authority.certificate)
        self.identity.load_cert_chain(*authority.issue("observer"))
        self.observer = self.client(site, "observer", take=self.take)
        self.observer.subscribe("site/#", 1)
        # Neither takes QoS 2; config/docs/upstreams.md.
        self.link = Proxy(site, self.broker.port)
        rest = bridge(authority, self.link.port, protocol='"3.1.1"').replace('{topic}" }', '{topic}", qos: 1 }')
        self.gateway = Gateway(site, rest, store="commit_interval: 30ms\n")
        self.publishers = []
        for name, qos, version in [("q1-v3", 1, V311), ("q1-v5", 1, V5), ("q2-v5", 2, V5)]:
            self.tallies[f"site/g1/plant/{name}"] = Tally()
            topic = f"plant/{name}"
            self.publishers.append(Publisher(site, self.gateway.port, name, qos, version, lambda _, t=topic: t, MOST))

    def client(self, site, name, **options):
        """At the upstream, with a session."""
        tls = {"host": "localhost", "tls": self.identity}
        return Client(site, self.broker.port, name, V311, clean=False, **tls, **options).accepted()

    def take(self, message):
        if message.topic in self.tallies:
            self.tallies[message.topic].add(int(message.payload))
        return message.topic in self.tallies

    def stop_upstream(self):
        self.link.cut()
        last = f"site/last/{self.restarts}"
        self.client(self.broker.site, f"last-{self.restarts}").publish(last, "", qos=1)
        self.observer.wait_for(1, last)
        self.broker.stop()
        self.restarts += 1

    def start_upstream(self):
        self.broker.start()
        self.observer.resume()
        self.link.mend()

    def tally(self, publisher):
        return self.tallies[f"site/g1/plant/{publisher.name}"]

    def one_round(self, number):
        restarts = number % RESTART_EVERY == RESTART_EVERY - 1
        if restarts:
            self.stop_upstream()
        for publisher in self.publishers:
            publisher.until_acknowledged(self.chance.randrange(10, 40))
        time.sleep(self.chance.uniform(0, 0.15))
        self.gateway.process.kill()
        self.kills += 1
        for publisher in self.publishers:
            publisher.pause()
        self.cut_off += any(publisher.waiting for publisher in self.publishers)
        self.gateway.restart()
        for publisher in self.publishers:
            publisher.resume()
        if restarts:
            self.start_upstream()

    def run(self):
        for number in range(ROUNDS):
            self.one_round(number)
        for publisher in self.publishers:
            publisher.finish()
        waits = [(self.tally(publisher), publisher.acknowledged) for publisher in self.publishers]

        def all_came():
            return all(tally.has_all(wanted) for tally, wanted in waits)

        try:
            wait_until(all_came, "all arrives", 90)
        finally:
            self.judge()

    def judge(self):
        found = []
        for publisher in self.publishers:
            wrong = faults(publisher.acknowledged, range(publisher.next), self.tally(publisher).numbers, False)
            found += [f"{publisher.name}: {what}" for what in wrong]
        check(not found, "\n".join(found))
        check(self.cut_off, "no kill met a message on its way")
        total = sum(len(publisher.acknowledged) for publisher in self.publishers)
        numbers = [self.tally(publisher).numbers for publisher in self.publishers]
        again = sum(len(each) - len(set(each)) for each in numbers)
        print(f"    {self.kills} kills, {self.restarts} restarts of {self.broker.name}")
        print(f"    {total} acknowledged: lost 0, the first copies in order, {again} came again")


seed = int(os.environ.get("RIG_SEED") or random.SystemRandom().randrange(1_000_000))
for kind in (Nats, RabbitMq):
    add_case(
        f"{kind.name}: kill -9 of fieldgate and restarts of the upstream, {ROUNDS} rounds, seed {seed}",
        lambda site, kind=kind: Run(site, kind, random.Random(f"{seed}, {kind.name}")).run(),
    )


main()
