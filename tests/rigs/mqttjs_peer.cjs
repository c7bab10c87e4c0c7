// mqtt.js as a peer of rig_interop.py: a line of JSON in is a thing to do, a line out is what happened. See `LinePeer` there.
"use strict";

const fs = require("fs");
const mqtt = require("mqtt");
const readline = require("readline");

const say = (event) => process.stdout.write(JSON.stringify(event) + "\n");
const fail = (fault) => {
  say({ event: "failed", why: String(fault) });
  process.exit(1);
};

let client;

function connect(command) {
  const options = {
    host: "localhost",
    port: command.port,
    protocol: command.ca ? "mqtts" : "mqtt",
    protocolVersion: command.version,
    clientId: command.id,
    clean: command.clean,
    keepalive: 30,
    reconnectPeriod: 0,
  };
  if (command.ca) options.ca = fs.readFileSync(command.ca);
  if (command.version === 5) options.properties = { sessionExpiryInterval: command.expiry || 0 };
  if (command.will) options.will = { ...command.will, payload: Buffer.from(command.will.payload) };
  client = mqtt.connect(options);
  client.on("connect", (connack) => say({ event: "connected", present: connack.sessionPresent }));
  client.on("error", fail);
  client.on("close", () => {
    say({ event: "closed" });
    process.exit(0);
  });
  client.on("message", (topic, payload, packet) => {
    const { contentType, responseTopic, correlationData, messageExpiryInterval, userProperties } = packet.properties || {};
    say({
      event: "message",
      topic,
      payload: payload.toString(),
      qos: packet.qos,
      retain: packet.retain,
      properties: {
        content_type: contentType,
        response_topic: responseTopic,
        correlation: correlationData && correlationData.toString(),
        expiry: messageExpiryInterval,
        user: Object.entries(userProperties || {}).flatMap(([name, value]) => [].concat(value).map((one) => [name, one])),
      },
    });
  });
}

function publish({ topic, payload, qos, retain, properties }) {
  const options = { qos, retain };
  if (properties) {
    options.properties = {
      contentType: properties.content_type,
      responseTopic: properties.response_topic,
      correlationData: Buffer.from(properties.correlation),
      messageExpiryInterval: properties.expiry,
      userProperties: Object.fromEntries(properties.user),
    };
  }
  client.publish(topic, payload, options, (fault) => (fault ? fail(fault) : say({ event: "published" })));
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  switch (command.do) {
    case "connect":
      return connect(command);
    case "subscribe":
      return client.subscribe(command.filter, { qos: command.qos }, (fault) => (fault ? fail(fault) : say({ event: "subscribed" })));
    case "unsubscribe":
      return client.unsubscribe(command.filter, (fault) => (fault ? fail(fault) : say({ event: "unsubscribed" })));
    case "publish":
      return publish(command);
    case "disconnect":
      return client.end();
    default:
      return fail(command.do);
  }
});
