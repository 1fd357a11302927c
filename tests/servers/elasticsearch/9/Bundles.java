import java.util.Map;

import org.elasticsearch.env.Environment;
import org.elasticsearch.plugins.PluginsLoader;

/** What is installed, as version 9 loads it. */
final class Bundles {
    private Bundles() {}

    static PluginsLoader of(Environment environment) {
        var modules = PluginsLoader.loadModulesBundles(environment.modulesDir(), true);
        var plugins = PluginsLoader.loadPluginsBundles(environment.pluginsDir(), true);
        return PluginsLoader.createPluginsLoader(modules, plugins, Map.of());
    }
}
