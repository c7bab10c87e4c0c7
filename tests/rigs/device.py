"""A Modbus device for the rigs: pymodbus's server, unit 1; no other answers. Arguments: WAY PLACE MODE_FILE READS_FILE OPENS_FILE
WRITES_FILE.

WAY is tcp or rtu_over_tcp, then PLACE is a port; or rtu, then it is a serial port.

Input registers 1000-1001 count, high word first: each request that reads them gets the next number, which is written
to READS_FILE with the time in ms, so that a rig can tell which reading is missing and when it was made. The count
goes on after a restart. Behind them are the low words of its multiples by MULTIPLIERS. OPENS_FILE has the time in ms
of each new connection. The other registers hold what they held at the start, see TABLES, until they are written;
WRITES_FILE gets a line for each write that was done: the address, and the values.

MODE_FILE holds how requests are answered from now on:
  ok         as the standard has it
  silent     not at all
  short      with one register less than was asked for; over Modbus TCP only
  unit       in the name of another unit; over Modbus TCP only
  late       each reply only when the next request comes on the same connection, and as it was
  exception  with exception 04, server device failure
  old        with the count before
"""

import asyncio
import sys
import time
from pathlib import Path

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

COUNTER = 1000
MULTIPLIERS = (1, 3, 7919, 40503)


def now_ms():
    return time.time_ns() // 1_000_000


def tables():
    """(coils, discrete inputs, holding registers, input registers)"""
    registers = [
        SimData(0, values=[0xFFFE, 1234], datatype=DataType.REGISTERS),
        SimData(10, values=[-100_000], datatype=DataType.INT32),
        SimData(12, values=[4_000_000_000], datatype=DataType.UINT32),
        SimData(20, values=[-5_000_000_000], datatype=DataType.INT64),
        SimData(24, values=[18_000_000_000_000_000_000], datatype=DataType.UINT64),
        SimData(28, values=[0, 0], datatype=DataType.REGISTERS),  # a gap that may be read
        SimData(30, values=[21.7], datatype=DataType.FLOAT32),
        SimData(40, values=[-0.1], datatype=DataType.FLOAT64),
        SimData(50, values="pump 7  ", datatype=DataType.STRING),
        SimData(60, values=[0x3333, 0x41AD], datatype=DataType.REGISTERS),  # 21.65 as CDAB
        SimData(62, values=[0xAD41, 0x3333], datatype=DataType.REGISTERS),  # 21.65 as BADC
        SimData(64, values=[0x3333, 0xAD41], datatype=DataType.REGISTERS),  # 21.65 as DCBA
    ]
    counter = [SimData(COUNTER, values=[0] * (2 + len(MULTIPLIERS)), datatype=DataType.REGISTERS)]
    bits = [SimData(0, values=[True, False, True, True, False, False, True, False], datatype=DataType.BITS)]
    inputs = [SimData(0, values=[0xFFFE, 1234], datatype=DataType.REGISTERS), *counter]
    inverse = [SimData(0, values=[False, True] * 4, datatype=DataType.BITS)]
    return bits, inverse, registers, inputs


class Answers:
    """What the server calls for each request and reply."""

    def __init__(self, unit_at, mode_file, reads_file, opens_file, writes_file):
        self.unit_at = unit_at  # in the bytes of a reply
        self.mode_file = mode_file
        self.reads_file = reads_file
        self.opens_file = opens_file
        self.writes_file = writes_file
        lines = reads_file.read_text().splitlines() if reads_file.exists() else []
        self.count = int(lines[-1].split()[0]) if lines else 0
        self.held = None

    def mode(self):
        return self.mode_file.read_text().strip()

    async def access(self, function, start, address, count, registers, values):
        if self.mode() == "exception":
            return ExcCodes.DEVICE_FAILURE
        if values is not None:
            with self.writes_file.open("a") as writes:
                writes.write(f"{address} {' '.join(str(int(value)) for value in values)}\n")
        if function == 4 and address <= COUNTER < address + count:
            self.count += 1
            at = COUNTER - start
            count = self.count - (self.mode() == "old")
            words = [count >> 16, count, *(count * by for by in MULTIPLIERS)]
            wanted = slice(at, min(at + len(words), len(registers)))
            registers[wanted] = [word & 0xFFFF for word in words][: wanted.stop - at]
            with self.reads_file.open("a") as reads:
                reads.write(f"{self.count} {now_ms()}\n")
        return None

    def connection(self, opened):
        self.held = None
        if opened:
            with self.opens_file.open("a") as opens:
                opens.write(f"{now_ms()}\n")

    def packet(self, sending, data):
        if not sending:
            return data
        # The server refuses in the name of units that are not there, whatever it is told to ignore.
        if data[self.unit_at : self.unit_at + 1] != b"\x01":
            return b""
        match self.mode():
            case "silent":
                return b""
            case "unit":
                return data[:6] + bytes([data[6] + 1]) + data[7:]
            case "short" if len(data) > 11:
                length = (len(data) - 6 - 2).to_bytes(2, "big")
                return data[:4] + length + data[6:8] + bytes([data[8] - 2]) + data[9:-2]
            case "late":
                data, self.held = self.held or b"", data
        return data


async def main():
    way, place, *files = sys.argv[1:]
    answers = Answers(6 if way == "tcp" else 0, *map(Path, files))
    device = SimDevice(1, simdata=tables(), action=answers.access)
    options = {
        "framer": FramerType.SOCKET if way == "tcp" else FramerType.RTU,
        "ignore_missing_devices": True,
        "trace_packet": answers.packet,
        "trace_connect": answers.connection,
    }
    if way == "rtu":
        server = ModbusSerialServer(device, port=place, baudrate=115_200, **options)
    else:
        server = ModbusTcpServer(device, address=("127.0.0.1", int(place)), **options)
    await server.serve_forever()


asyncio.run(main())
