"""The same password file and the same ACL files in Mosquitto and in fieldgate: who may do what comes out the same.

The passwords are made by mosquitto_passwd, of both kinds that it knows. For each file, each client publishes to each
topic, and each topic is published to each client; what arrives is compared. Mosquitto lets a client subscribe to what it
may not read and brings it nothing, while fieldgate refuses the subscription: what is compared is what arrives.
"""

import subprocess
from contextlib import suppress

from harness import Gateway, add_case, case, check, equal, free_port, main, wait_until
from mqtt_client import V5, Client

PASSWORD = "secret"
TOPICS = [
    "open",
    "open/a",
    "open/a/b",
    "plant",
    "plant/plc7",
    "plant/plc7/x",
    "plant/plc7/secret",
    "plant/plc8/x",
    "plant/all",
    "with blank/x",
    "clients/c1/state",
    "clients/c2/state",
    "users/plc7/x",
    "users/plc7/no",
    "users/hmi/x",
    "users/hmi/no",
    "c1/x",
    "a/b/x",
    "x%cy",
    "/",
    "/open",
    "deep/1/2/3",
    "$other/x",
]
# (user, client id): `None` is anonymous, `stranger` has no lines of its own.
CLIENTS = [
    (None, "c1"),
    (None, "c2"),
    (None, "a/b"),
    ("plc7", "c1"),
    ("plc7", "c2"),
    ("hmi", "c1"),
    ("hmi", "we+rd"),
    ("stranger", "c1"),
    ("stranger", "a#b"),
    ("od+d", "c1"),
]
# `admin` publishes and reads everything.
ADMIN = "user admin\ntopic readwrite #\ntopic readwrite $other/#\n"

FILES = {
    "lines of users and lines before the first user": """\
# who is nobody in particular
topic read open/#
topic write open/a

user plc7
topic plant/plc7/#
topic deny plant/plc7/secret
topic read plant/all
topic write with blank/x
user hmi
topic read plant/+/x
topic readwrite users/hmi/#
user plc7
topic write users/plc7/x
""",
    "patterns": """\
pattern write clients/%c/state
pattern read clients/+/state
pattern readwrite users/%u/#
pattern deny users/%u/no
pattern read open
user plc7
pattern %c/#
""",
    "what a user may do beside patterns that deny, and the other way round": """\
pattern deny plant/plc7/x
pattern plant/#
pattern read %c/x
topic read plant/all
user plc7
topic read plant/plc7/x
topic deny plant/all
user hmi
topic deny users/hmi/#
pattern read users/%u/x
""",
    "wildcards at the start, and topics with a dollar": """\
topic read +/x
user plc7
topic #
topic deny open/+
user hmi
topic read +
topic read +/+/x
topic write /#
user stranger
topic $other/#
user od+d
topic read open/a
pattern x/%c
""",
    "a denial stands anywhere": """\
user plc7
topic readwrite plant/#
topic deny plant/+/x
topic read plant/plc7/x
user hmi
topic deny #
topic readwrite open
user stranger
topic write open/#
topic deny open/a/b
topic read deep/#
""",
    "an empty file allows nothing": "# nothing\n",
    "signs that are no placeholder": """\
pattern x%cy
pattern read open/%d
pattern read with blank/x
user plc7
topic x%cy
  topic read open/a
""",
}


def make_users(site):
    """A password file with one user of each kind of hash, made by Mosquitto's own program."""
    path = site.write("users", "")
    for number, name in enumerate(("admin", "plc7", "hmi", "stranger", "od+d")):
        kind = "sha512" if number % 2 else "sha512-pbkdf2"
        command = ["mosquitto_passwd", "-H", kind, "-b", path, name, PASSWORD]
        subprocess.run([str(word) for word in command], check=True, capture_output=True)
    path.chmod(0o600)
    text = path.read_text()
    check("$6$" in text and "$7$" in text, "mosquitto_passwd made not both kinds of hashes")
    return path


def start_mosquitto(site, users, acl):
    port = free_port()
    config = site.write(
        "mosquitto.conf",
        f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\npassword_file {users}\nacl_file {acl}\nlog_type all\n",
    )
    site.process("mosquitto", ["mosquitto", "-c", config]).wait_for_port(port)
    return port


def start_fieldgate(site, users, acl):
    return Gateway(site, broker=f"users_file: {users}\nmosquitto_acl_file: {acl}").port


def client(site, port, user, client_id):
    login = (user, PASSWORD) if user else None
    return Client(site, port, client_id, V5, user=login).accepted()


def publish_all(one, payload):
    """Publishes it to every topic; returns when all of them are acknowledged."""
    handles = [one.publish(topic, payload, qos=1, wait=False) for topic in TOPICS]
    wait_until(lambda: all(handle.is_published() for handle in handles), "all topics are acknowledged")


def settle(one):
    """What the broker had for this client before now is here after now, for an answer comes after it on its connection."""
    one.subscribe("never/published")


def observe(site, port):
    """{(client, "publish" or "read", topic): whether it may}, by what arrives."""
    admin = client(site, port, "admin", "admin")
    admin.subscribe("#")
    admin.subscribe("$other/#")
    found = {}
    for user, client_id in CLIENTS:
        who = f"{user}/{client_id}"
        one = client(site, port, user, client_id)
        publish_all(one, f"from {who}")
        settle(admin)
        arrived = {message.topic for message in admin.received() if message.payload == f"from {who}".encode()}
        found |= {(who, "publish", topic): topic in arrived for topic in TOPICS}

        before = len(one.received())
        one.subscribe_all(TOPICS)
        publish_all(admin, f"to {who}")
        settle(one)
        arrived = {message.topic for message in one.received()[before:] if message.payload == f"to {who}".encode()}
        found |= {(who, "read", topic): topic in arrived for topic in TOPICS}

        # The same by wildcards, of which parts may be read.
        wild = client(site, port, user, client_id)
        for pattern in ("#", "+/+/#", "$other/+"):
            wild.subscribe(pattern)
        publish_all(admin, f"again {who}")
        settle(wild)
        arrived = {message.topic for message in wild.received() if message.payload == f"again {who}".encode()}
        found |= {(who, "read by wildcard", topic): topic in arrived for topic in TOPICS}
        wild.end()
        with suppress(Exception):
            one.end()
    return found


def compare(site, lines):
    users = make_users(site)
    acl = site.write("acl", f"{lines}{ADMIN}")
    wanted = observe(site, start_mosquitto(site, users, acl))
    found = observe(site, start_fieldgate(site, users, acl))
    differences = [
        f"{who} {verb} {topic}: Mosquitto {'allows' if allowed else 'denies'}"
        for (who, verb, topic), allowed in wanted.items()
        if found[who, verb, topic] != allowed
    ]
    check(not differences, "fieldgate differs:\n" + "\n".join(differences))
    count = len(CLIENTS) * len(TOPICS) * 3
    equal(len(wanted), count, "questions that were asked")
    allowed = sum(wanted.values())
    if "nothing" not in lines:
        check(0 < allowed < count, f"the file decides nothing: {allowed} of {count} allowed")


for title, lines in FILES.items():
    add_case(title, lambda site, lines=lines: compare(site, lines))


@case
def a_wrong_password_is_refused_whatever_the_kind_of_hash(site):
    users = make_users(site)
    gateway = Gateway(site, broker=f"users_file: {users}", listener="anonymous: false")
    for name in ("admin", "plc7", "nobody"):
        refused = Client(site, gateway.port, "x", V5, user=(name, "wrong")).connect()
        check(refused.connack and refused.connack[0].is_failure, f"{name} came in with a wrong password")
    client(site, gateway.port, "admin", "right")


@case
def what_a_client_is_refused_it_is_told(site):
    users = make_users(site)
    acl = site.write("acl", "user plc7\ntopic write plant/plc7/x\ntopic read plant/all\n")
    port = start_fieldgate(site, users, acl)
    one = client(site, port, "plc7", "c1")
    equal(one.subscribe("plant/plc8/#"), 0x87, "SUBACK of what may not be read")
    equal(one.subscribe("plant/#"), 0, "SUBACK of what may be read in part")
    codes = {}
    one.paho.on_publish = lambda paho, data, mid, code, properties: codes.update({mid: code.value})
    for topic, wanted in (("plant/plc7/x", {0x00, 0x10}), ("plant/plc8/x", {0x87})):
        mid = one.paho.publish(topic, "", 1).mid
        code = wait_until(lambda mid=mid: mid in codes and (codes[mid],), f"PUBACK of {topic}")[0]
        check(code in wanted, f"PUBACK of {topic} says {code:#x}")


main()
