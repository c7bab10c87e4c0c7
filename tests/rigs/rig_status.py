"""What `fieldgate status` says of a gateway in trouble: each thing that is wrong by name, with what to do, in 15 lines."""

import json
import os
import shutil
import subprocess

from harness import (
    COUNTING,
    DEADLINE,
    Authority,
    Device,
    Gateway,
    Mosquitto,
    Proxy,
    bridge,
    case,
    check,
    device,
    equal,
    main,
    program,
    wait_until,
)

LINES = 15


def status(gateway, *options):
    command = [program(), "status", "-c", gateway.config, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, cwd=gateway.config.parent)


def state(gateway):
    return json.loads(status(gateway, "--json").stdout)


@case
def a_dead_device_a_cut_link_and_a_certificate_that_ends_are_named_with_what_to_do(site):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    link = Proxy(site, upstream.tls_port)
    plc = Device(site)
    rest = bridge(authority, link.port) + device(plc.port, COUNTING, "response_timeout: 500ms\nretries: 0\n")
    gateway = Gateway(site, rest)
    wait_until(lambda: status(gateway).returncode == 0, "all is well")
    well = status(gateway)
    check(len(well.stdout.splitlines()) <= LINES, well.stdout)

    # A day more than 23, so that 23 whole ones are left.
    certificate, key = authority.issue("ends", days=24)
    for new, name in ((certificate, "g1.crt"), (key, "g1.key")):
        shutil.copy(new, site.folder / "staged")
        os.replace(site.folder / "staged", authority.folder / name)
    asked = [program(), "reload", "-c", gateway.config]
    subprocess.run(asked, check=True, capture_output=True, timeout=DEADLINE, cwd=site.folder)
    wait_until(lambda: any(one["warning"] for one in state(gateway)["certificates"]), "the certificate is warned of")
    plc.mode("silent")
    link.cut()
    wait_until(lambda: state(gateway)["connections"][0]["devices"][0]["state"] == "offline", "the device is offline")
    wait_until(lambda: state(gateway)["bridges"][0]["status"]["link"] != "up", "the link is down")

    told = status(gateway)
    print(told.stdout, end="")
    equal(told.returncode, 1, "the exit status")
    lines = told.stdout.splitlines()
    check(len(lines) <= LINES, f"{len(lines)} lines")
    for words in (["dev1", "offline"], ["cloud", "no link"], ["cloud", "certificate expires in 23 days"]):
        check(any(all(word in line for word in words) for line in lines), f"{words} are on no line")
    for remedy in ("power, wiring and address", "check --probe", "cert request"):
        check(remedy in told.stdout, f"it does not say {remedy!r}")


@case
def without_a_gateway_it_says_so(site):
    gateway = Gateway(site)
    equal(status(gateway).returncode, 0, "the status while it runs")
    gateway.process.stop()
    told = status(gateway)
    equal((told.returncode, told.stdout), (3, ""), "the status without one")
    check("no gateway is running" in told.stderr, told.stderr)


if __name__ == "__main__":
    main()
