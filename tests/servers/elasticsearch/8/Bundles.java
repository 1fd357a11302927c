import java.util.Map;

import org.elasticsearch.env.Environment;
import org.elasticsearch.plugins.PluginsLoader;

/** What is installed, as version 8 loads it. */
final class Bundles {
    private Bundles() {}

    static PluginsLoader of(Environment environment) {
        var modules = PluginsLoader.loadModulesBundles(environment.modulesDir());
        var plugins = PluginsLoader.loadPluginsBundles(environment.pluginsDir());
        return PluginsLoader.createPluginsLoader(modules, plugins, Map.of());
    }
}
