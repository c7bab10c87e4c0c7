"""Reads Modbus TCP devices once a second with pymodbus, one client each, for ever. Arguments: PORT DEVICES REGISTERS.

The devices are the units from 1 on behind one port. It looks at each reply, and does nothing with what is in it.
"""

import asyncio
import sys

from pymodbus.client import AsyncModbusTcpClient


async def poll(port, unit, devices, registers):
    """At deadlines of its own, spread over the second."""
    loop = asyncio.get_running_loop()
    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    await client.connect()
    due = loop.time() + unit / devices
    while True:
        await asyncio.sleep(due - loop.time())
        reply = await client.read_holding_registers(0, count=registers, device_id=unit)
        assert len(reply.registers) == registers, reply
        due += 1


async def main():
    port, devices, registers = map(int, sys.argv[1:])
    await asyncio.gather(*(poll(port, unit, devices, registers) for unit in range(1, devices + 1)))


asyncio.run(main())
