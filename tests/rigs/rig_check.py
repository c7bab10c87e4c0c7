"""`fieldgate check`, `fieldgate run` with a configuration at fault, and Modbus by hand with a device of pymodbus."""

import re
import subprocess

from harness import Device, Gateway, case, check, equal, main, program

GOOD = """\
gateway:
  id: g1
  data_dir: data
broker:
  listeners:
    - { name: local, bind: "127.0.0.1:1883", anonymous: true }
connections:
  - name: line1
    modbus_tcp: { host: 127.0.0.1, port: 502 }
devices:
  - name: dev1
    connection: line1
    unit_id: 1
    groups:
      - name: status
        interval: 1s
        tags:
          - { name: run, register: coil, address: 0, type: bool }
bridges:
  - name: cloud
    url: mqtt://127.0.0.1:1
    allow_plaintext: true
    forward:
      - { filter: "g1/#", topic: "site/{topic}" }
"""
# An unknown key, a wrong type, a name that nothing has, a name given twice, a filter that is none. `@` marks the lines.
FAULTY = """\
gateway:
  id: g1
  data_dir: data
broker:
  listeners:
    - name: local
      bind: 127.0.0.1:1883
      anonimous: true                      # @
connections:
  - name: line1
    modbus_tcp: { host: 127.0.0.1, port: yes }   # @
  - name: line2
    modbus_tcp: { host: 127.0.0.1, port: 502 }
devices:
  - name: dev1
    connection: line3                      # @
    unit_id: 1
    groups: [ { name: a, tags: [ { name: run, register: coil, address: 0, type: bool } ] } ]
  - name: dev2
    connection: line2
    unit_id: 2
    groups: [ { name: a, tags: [ { name: run, register: coil, address: 0, type: bool } ] } ]
  - name: dev2                             # @
    connection: line2
    unit_id: 3
    groups: [ { name: a, tags: [ { name: run, register: coil, address: 0, type: bool } ] } ]
bridges:
  - name: cloud
    url: mqtt://127.0.0.1:1
    allow_plaintext: true
    forward:
      - filter: "g1/#/x"                   # @
        topic: "site/{topic}"
"""


def fieldgate(site, *arguments):
    """Runs it to its end; returns its exit status and all that it printed."""
    command = [program(), *(str(word) for word in arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=site.folder, stdin=subprocess.DEVNULL
    )
    return done.returncode, done.stdout + done.stderr


@case
def five_faults_in_one_file_are_five_errors_with_their_places(site):
    path = site.write("fieldgate.yaml", FAULTY)
    status, text = fieldgate(site, "check", path)
    equal(status, 78, f"exit status; it printed:\n{text}")
    places = [(int(line), int(column)) for line, column in re.findall(r"fieldgate\.yaml:(\d+):(\d+)", text)]
    lines = FAULTY.splitlines()
    marked = [number for number, line in enumerate(lines, 1) if "# @" in line]
    equal(sorted({line for line, _ in places} & set(marked)), marked, f"lines with faults; it printed:\n{text}")
    for line, column in places:
        inside = 1 <= column <= len(lines[line - 1].split("#")[0].rstrip()) or line not in marked
        check(inside, f"column {column} is not within line {line}; it printed:\n{text}")
    check(re.search(r"anonymous", text), "the error of a misspelt key does not name the right one")


@case
def a_good_file_passes(site):
    status, text = fieldgate(site, "check", site.write("fieldgate.yaml", GOOD))
    equal(status, 0, f"exit status; it printed:\n{text}")


@case
def run_refuses_a_file_at_fault_with_status_78(site):
    status, text = fieldgate(site, "run", "-c", site.write("fieldgate.yaml", FAULTY))
    equal(status, 78, f"exit status; it printed:\n{text}")
    check(not (site.folder / "data").exists(), "a folder was made for a configuration that is at fault")


@case
def a_file_that_is_no_yaml_has_its_place_too(site):
    status, text = fieldgate(site, "check", site.write("fieldgate.yaml", "gateway:\n  id: [g1\nbroker: }\n"))
    equal(status, 78, f"exit status; it printed:\n{text}")
    check(re.search(r"fieldgate\.yaml:\d+:\d+", text), f"no place in:\n{text}")


@case
def no_file_is_a_fault_of_the_configuration_that_is_named(site):
    status, text = fieldgate(site, "run", "-c", site.folder / "absent.yaml")
    equal(status, 78, f"exit status; it printed:\n{text}")
    check("absent.yaml" in text, f"the file is not named in:\n{text}")


@case
def an_unknown_option_is_a_fault_of_usage(site):
    status, text = fieldgate(site, "run", "--no-such-option")
    equal(status, 2, f"exit status; it printed:\n{text}")


@case
def a_device_is_scanned_for_guessed_and_read_by_hand(site):
    host = f"127.0.0.1:{Device(site).port}"
    status, text = fieldgate(site, "scan", host, "--units", "1-2", "--timeout", "500ms")
    equal(status, 0, f"exit status; it printed:\n{text}")
    check(f"{host}: unit 1 answers: holding 0 (reference 40001) is 65534\n" in text, f"unit 1 is not in:\n{text}")
    for address, order in ((60, "CDAB"), (62, "BADC"), (64, "DCBA")):
        status, text = fieldgate(site, "guess", host, "holding", address, "--count", 2)
        equal(text.splitlines()[1].split()[1:], ["float32", order, "at", str(address), "21.65"], "the best guess")
        status, text = fieldgate(site, "read", host, "holding", address, "--type", "float32", "--order", order)
        equal((status, text.strip().split(": ")[-1]), (0, "21.65"), "what was read")
    status, text = fieldgate(site, "read", host, "--reference", "40051", "--type", "string", "--count", 4)
    equal((status, text.strip().split(": ")[-1]), (0, "pump 7"), "what was read")
    status, text = fieldgate(site, "read", host, "holding", 500)
    equal(status, 1, f"exit status; it printed:\n{text}")
    check("exception_02" in text and "try 499" in text, f"no reason and remedy in:\n{text}")


@case
def check_probes_what_is_there_and_what_is_not(site):
    field = Device(site)
    text = GOOD.replace("port: 502", f"port: {field.port}")
    status, text = fieldgate(site, "check", "--probe", site.write("fieldgate.yaml", text))
    equal(status, 1, f"exit status; it printed:\n{text}")
    check("device dev1: ok, answered after " in text, f"the device is not well in:\n{text}")
    check("bridge cloud to 127.0.0.1:1: FAILED: TCP: " in text, f"the stage is not named in:\n{text}")
    check("probed 2, 1 failed" in text, f"no count in:\n{text}")


@case
def run_ends_with_status_0_when_asked_to(site):
    gateway = Gateway(site)
    equal(gateway.process.stop(), 0, "exit status after SIGTERM")


main()
