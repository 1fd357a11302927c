import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.TimeUnit;

import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * Runs one Elasticsearch node until it is told to end: OneNode HOME CONFIG.
 *
 * HOME holds modules/ and plugins/ and is only read; CONFIG holds elasticsearch.yml, which names the directories
 * to write to. The server's own start script and launcher are not in the published jars.
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
        var modules = PluginsLoader.loadModulesBundles(environment.modulesDir());
        var plugins = PluginsLoader.loadPluginsBundles(environment.pluginsDir());
        var node = new Node(environment, PluginsLoader.createPluginsLoader(modules, plugins, Map.of()));
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
