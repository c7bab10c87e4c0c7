// A client of mqtt.js: subscribes, publishes at every QoS and in several sizes, sees each come back once, and ends.
//
//   node mqttjs.cjs '{"url": "ws://127.0.0.1:9001/mqtt", "version": 5, "ca": FILE, "cert": FILE, "key": FILE}'
//
// Prints a line for each step; the last one is "done" or what went wrong.
const fs = require("fs");
const mqtt = require("mqtt");

const { url, version, ...files } = JSON.parse(process.argv[2]);
const options = { protocolVersion: version, reconnectPeriod: 0, connectTimeout: 20000, clientId: `mqttjs${version}` };
for (const [name, file] of Object.entries(files)) options[name] = fs.readFileSync(file);
const sizes = [0, 1, 125, 126, 4096, 65535, 65536, 200000];

async function main() {
    const client = await mqtt.connectAsync(url, options);
    console.log("connected");
    const expected = [];
    const received = [];
    let arrived = () => {};
    client.on("message", (topic, payload, packet) => {
        received.push(`${packet.qos} ${payload.length}`);
        if (received.length === sizes.length * 3) arrived();
    });
    await client.subscribeAsync("js/#", { qos: 2 });
    console.log("subscribed");
    const all = new Promise((resolve) => (arrived = resolve));
    for (const qos of [0, 1, 2]) {
        for (const size of sizes) {
            expected.push(`${qos} ${size}`);
            await client.publishAsync(`js/${qos}`, Buffer.alloc(size, 7), { qos });
        }
    }
    await all;
    if (received.join() !== expected.join()) throw new Error(`received ${received}, not ${expected}`);
    await client.endAsync();
    console.log("done");
}

const timer = setTimeout(() => fail("nothing more happened"), 25000);
function fail(reason) {
    console.log(`FAILED: ${reason}`);
    process.exit(1);
}
main().then(() => clearTimeout(timer), fail);
