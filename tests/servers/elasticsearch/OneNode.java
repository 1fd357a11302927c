import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.TimeUnit;

import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;

/**
 * Runs one Elasticsearch node until it is told to end: OneNode HOME CONFIG.
 *
 * HOME holds modules/ and plugins/ and is only read; CONFIG holds elasticsearch.yml, which names the directories
 * to write to. The server's own start script and launcher are not in the published jars. What differs between the
 * server's versions is in 8/ and 9/.
 */
public final class OneNode {
    private OneNode() {}

    public static void main(String[] arguments) throws Exception {
        var home = Path.of(arguments[0]).toAbsolutePath();
        var config = Path.of(arguments[1]).toAbsolutePath();
        LogConfigurator.registerErrorListener();
        LogConfigurator.configureESLogging();
        var given = Settings.builder().put("path.home", home.toString()).build();
        var environment = InternalSettingsPreparer.prepareEnvironment(given, Map.of(), config, () -> "one");
        LogConfigurator.setNodeName("one");
        LogConfigurator.configure(environment, true);
        var node = new Node(environment, Bundles.of(environment));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> end(node)));
        node.start();
        Thread.currentThread().join();
    }

    private static void end(Node node) {
        try {
            node.prepareForClose();
            node.close();
            node.awaitClose(10, TimeUnit.SECONDS);
        } catch (Exception problem) {
            problem.printStackTrace();
        }
    }
}
