import static org.elasticsearch.rest.RestRequest.Method.GET;
import static org.elasticsearch.rest.RestRequest.Method.PUT;

import java.util.Collection;
import java.util.List;
import java.util.Map;

import org.elasticsearch.Build;
import org.elasticsearch.ResourceNotFoundException;
import org.elasticsearch.action.admin.indices.create.AutoCreateAction;
import org.elasticsearch.action.admin.indices.create.CreateIndexRequest;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.ClusterState;
import org.elasticsearch.cluster.metadata.DataStream;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.rest.action.RestToXContentListener;

/**
 * Two addresses whose modules are not among the published jars: "/" and "/_data_stream/{name}".
 *
 * Behind them is the server's own state and its own way of making a data stream; only what the sink reads of the
 * answers is there. What differs between the server's versions is in 8/ and 9/.
 */
public abstract class StandIns extends Plugin implements ActionPlugin {
    private ClusterService cluster;

    @Override
    public Collection<?> createComponents(PluginServices services) {
        cluster = services.clusterService();
        return List.of();
    }

    /** Return what answers at the two addresses. */
    final List<RestHandler> handlers() {
        return List.of(new About(), new Streams());
    }

    /** Return the data streams that there are, by name. */
    abstract Map<String, DataStream> streams(ClusterState state);

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
                var stream = streams(cluster.state()).get(name);
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
