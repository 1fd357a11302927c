// Programs of Node's that write logs, for the tests of parsers: node programs.js WHAT
"use strict";
const bunyan = require("bunyan");
const pino = require("pino");
const winston = require("winston");

const TRACE = "0af7651916cd43dd8448eb211c80319c";

class CardError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = "CardError";
    this.code = "E_CARD";
    this.details = { order: 7, tried: ["a", "b"] };
  }
}

function bank() {
  throw new TypeError("no bank");
}

function pay(message = "no card") {
  try {
    bank();
  } catch (cause) {
    throw new CardError(message, { cause });
  }
}

function failure() {
  try {
    pay();
  } catch (error) {
    return error;
  }
}

const programs = {
  console() {
    console.log("open");
    console.error(failure());
    console.error("order 7:", new RangeError("too many"));
    console.warn("closing");
  },
  uncaught() {
    console.log("open");
    pay();
  },
  lines() {
    console.log("open");
    pay("no card\nat all\n\nask: the bank");
  },
  rejected() {
    console.log("open");
    Promise.reject(failure());
  },
  async awaited() {
    console.log("open");
    await new Promise((done) => setTimeout(done, 1));
    pay();
  },
  thrown() {
    console.log("open");
    throw { code: 7, why: "no error" };
  },
  aggregate() {
    console.log("open");
    throw new AggregateError([new Error("one"), new TypeError("two")], "both");
  },
  text() {
    console.log("open");
    throw "no card";
  },
  pino() {
    const logger = pino({ name: "till", level: "debug" });
    logger.debug("asked");
    logger.info({ order: 7, trace_id: TRACE }, "open %s", "now");
    logger.child({ request_id: "req-1234-abcd" }).warn({ took: 1.5 }, "slow");
    logger.error(failure());
    logger.error({ err: failure(), order: 7 }, "not paid");
    logger.fatal("closed");
  },
  "pino-bare"() {
    const logger = pino({ base: null });
    logger.info({ order: 7, trace_id: TRACE }, "open");
    logger.warn("slow");
    logger.error(failure(), "not paid");
  },
  "pino-iso"() {
    const logger = pino({ timestamp: pino.stdTimeFunctions.isoTime, messageKey: "message",
      formatters: { level: (label) => ({ level: label }) } });
    logger.info({ order: 7, trace_id: TRACE }, "open");
    logger.warn("slow");
    logger.error(failure(), "not paid");
  },
  bunyan() {
    const logger = bunyan.createLogger({ name: "till", level: "trace", serializers: bunyan.stdSerializers, src: true });
    logger.trace("asked");
    logger.info({ order: 7, trace_id: TRACE }, "open %s", "now");
    logger.child({ request_id: "req-1234-abcd" }).warn({ took: 1.5 }, "slow");
    logger.error(failure());
    logger.error({ err: failure(), order: 7 }, "not paid");
    logger.fatal("closed");
  },
  winston() {
    const { combine, timestamp, json, errors } = winston.format;
    const logger = winston.createLogger({
      level: "silly", format: combine(errors({ stack: true, cause: true }), timestamp(), json()),
      defaultMeta: { component: "till" }, transports: [new winston.transports.Console()],
    });
    logger.silly("asked");
    logger.info("open", { order: 7, trace_id: TRACE });
    logger.warn("slow");
    logger.error(failure());
    logger.error("not paid", { error: failure().message });
  },
  "winston-line"() {
    const { combine, timestamp, printf, errors } = winston.format;
    const line = printf((one) => `${one.timestamp} [${one.label ?? "till"}] ${one.level}: ${one.stack ?? one.message}`);
    const logger = winston.createLogger({
      format: combine(errors({ stack: true }), timestamp(), line),
      transports: [new winston.transports.Console()],
    });
    logger.info("open");
    logger.warn("slow");
    logger.error(failure());
    logger.info("closed");
  },
  "winston-simple"() {
    const logger = winston.createLogger({
      format: winston.format.simple(), transports: [new winston.transports.Console()],
    });
    logger.info("open", { order: 7 });
    logger.error("not paid");
  },
};

programs[process.argv[2]]();
