// Programs on a JVM that write logs, for the tests of parsers: java shop.Till logback|spring|log4j
// What they write with is told by their configuration, in system properties.

package shop;

import java.io.IOException;

public class Till {
    static final String TRACE = "0af7651916cd43dd8448eb211c80319c";

    static void bank() throws IOException {
        throw new IOException("wire");
    }

    /** An error with a cause of two lines, which has suppressed another with a cause of its own. */
    static RuntimeException failure() {
        try {
            try {
                bank();
            } catch (IOException wire) {
                IllegalStateException card = new IllegalStateException("no card\nat all", wire);
                card.addSuppressed(new ArithmeticException("not closed"));
                throw card;
            }
        } catch (IllegalStateException card) {
            return new RuntimeException("order 7", card);
        }
        return null;
    }

    public static void main(String[] arguments) throws Exception {
        Thread.currentThread().setName("till-1");
        switch (arguments[0]) {
            case "logback" -> Slf4j.run();
            case "spring" -> Spring.run();
            case "log4j" -> Log4j.run();
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    static class Slf4j {
        static void run() {
            org.slf4j.Logger log = org.slf4j.LoggerFactory.getLogger("shop.orders.Till");
            log.debug("asked");
            log.atInfo().addKeyValue("order", 7).log("open");
            org.slf4j.MDC.put("trace_id", TRACE);
            log.warn("slow [req-1234-abcd]");
            org.slf4j.MDC.clear();
            log.error("not paid", failure());
            log.trace("never");
            log.info("closed");
        }
    }

    /** Spring Boot with nothing but itself: its banner, what it says of its start, and a failure at the end. */
    @org.springframework.boot.autoconfigure.SpringBootApplication
    public static class Spring {
        static void run() {
            org.springframework.boot.SpringApplication.run(Spring.class);
        }

        @org.springframework.context.annotation.Bean
        public org.springframework.boot.CommandLineRunner selling() {
            return arguments -> {
                Slf4j.run();
                throw failure();
            };
        }
    }

    static class Log4j {
        static void run() {
            org.apache.logging.log4j.Logger log = org.apache.logging.log4j.LogManager.getLogger("shop.orders.Till");
            log.debug("asked");
            log.info("open");
            org.apache.logging.log4j.ThreadContext.put("trace_id", TRACE);
            log.warn("slow [req-1234-abcd]");
            org.apache.logging.log4j.ThreadContext.clearAll();
            log.error("not paid", failure());
            log.fatal("closed");
        }
    }
}
