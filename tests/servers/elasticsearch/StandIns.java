import static org.elasticsearch.rest.RestRequest.Method.GET;
import static org.elasticsearch.rest.RestRequest.Method.PUT;

import java.util.Collection;
import java.util.List;
import java.util.function.Predicate;
import java.util.function.Supplier;

import org.elasticsearch.Build;
import org.elasticsearch.ResourceNotFoundException;
import org.elasticsearch.action.admin.indices.create.AutoCreateAction;
import org.elasticsearch.action.admin.indices.create.CreateIndexRequest;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.settings.ClusterSettings;
import org.elasticsearch.common.settings.IndexScopedSettings;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.settings.SettingsFilter;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestController;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.rest.action.RestToXContentListener;

/**
 * Two addresses whose modules are not among the published jars: "/" and "/_data_stream/{name}".
 *
 * Behind them is the server's own state and its own way of making a data stream; only what the sink reads of the
 * answers is there.
 */
public final class StandIns extends Plugin implements ActionPlugin {
    private ClusterService cluster;

    @Override
    public Collection<?> createComponents(PluginServices services) {
        cluster = services.clusterService();
        return List.of();
    }

    @Override
    public Collection<RestHandler> getRestHandlers(
        Settings settings,
        NamedWriteableRegistry writeables,
        RestController controller,
        ClusterSettings clusterSettings,
        IndexScopedSettings indexSettings,
        SettingsFilter filter,
        IndexNameExpressionResolver resolver,
        Supplier<DiscoveryNodes> nodes,
        Predicate<NodeFeature> features
    ) {
        return List.of(new About(), new Streams());
    }

    /** What the server is. */
    private final class About extends BaseRestHandler {
        @Override
        public String getName() {
            return "stand_in_about";
        }

        @Override
        public List<Route> routes() {
            return List.of(new Route(GET, "/"));
        }

        @Override
        protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
            return channel -> {
                var body = channel.newBuilder().startObject();
                body.field("cluster_name", cluster.getClusterName().value());
                body.startObject("version").field("number", Build.current().qualifiedVersion()).endObject();
                channel.sendResponse(new RestResponse(RestStatus.OK, body.endObject()));
            };
        }
    }

    /** Makes a data stream, and tells of one. */
    private final class Streams extends BaseRestHandler {
        @Override
        public String getName() {
            return "stand_in_streams";
        }

        @Override
        public List<Route> routes() {
            return List.of(new Route(GET, "/_data_stream/{name}"), new Route(PUT, "/_data_stream/{name}"));
        }

        @Override
        protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
            var name = request.param("name");
            if (request.method() == PUT) {
                var wish = new CreateIndexRequest(name);
                return channel -> client.execute(AutoCreateAction.INSTANCE, wish, new RestToXContentListener<>(channel));
            }
            return channel -> {
                var stream = cluster.state().metadata().dataStreams().get(name);
                if (stream == null) {
                    throw new ResourceNotFoundException("data_stream_not_found [" + name + "]");
                }
                var body = channel.newBuilder().startObject().startArray("data_streams").startObject();
                body.field("name", name).field("generation", stream.getGeneration());
                channel.sendResponse(new RestResponse(RestStatus.OK, body.endObject().endArray().endObject()));
            };
        }
    }
}
