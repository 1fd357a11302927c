import static org.codelibs.opensearch.runner.OpenSearchRunner.newConfigs;

import org.codelibs.opensearch.runner.OpenSearchRunner;

/** Runs one OpenSearch node until it is killed: OneOpenSearch DIRECTORY HTTP_PORT TRANSPORT_PORT [NAME=VALUE]... */
public final class OneOpenSearch {
    private OneOpenSearch() {}

    public static void main(String[] arguments) throws Exception {
        var runner = new OpenSearchRunner();
        runner.onBuild((number, settings) -> {
            settings.put("http.port", arguments[1]);
            settings.put("transport.port", arguments[2]);
            settings.put("network.host", "127.0.0.1");
            for (int at = 3; at < arguments.length; at++) {
                var pair = arguments[at].split("=", 2);
                settings.put(pair[0], pair[1]);
            }
        });
        var configs = newConfigs().basePath(arguments[0]).numOfNode(1).clusterName("logferry-tests");
        try {
            runner.build(configs.printOnFailure());
        } catch (RuntimeException problem) {
            problem.printStackTrace();
            System.exit(1); // other threads would keep it alive
        }
        Thread.currentThread().join();
    }
}
