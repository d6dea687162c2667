import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Receives callbacks. It refuses a callback that is not signed or is too old, keeps each callback
 * once, and answers code 0 only after it has kept it. The platform sends a callback again until it
 * is answered with code 0, so one may arrive twice. The callbacks of one card arrive in order.
 */
final class CallbackReceiver implements AutoCloseable {
    private static final long OLDEST_MS = 300_000;
    private static final long MOST_AHEAD_MS = 5_000;
    private static final int MOST_BYTES = 65_536;

    record Event(String id, String action, Map<String, Object> data) {}

    private final HttpServer server;
    private final ExecutorService threads = Executors.newFixedThreadPool(4);
    private final String apiKey;
    private final String apiSecret;
    private final Set<String> ids = new HashSet<>();
    private final List<Event> events = new ArrayList<>();
    private final List<String> refusals = new ArrayList<>();

    /** Listens only on 127.0.0.1. Port 0 takes any free port. */
    CallbackReceiver(int port, String apiKey, String apiSecret) throws IOException {
        this.apiKey = apiKey;
        this.apiSecret = apiSecret;
        server = HttpServer.create(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), port), 0);
        server.createContext("/", this::handle);
        server.setExecutor(threads);
        server.start();
    }

    int port() {
        return server.getAddress().getPort();
    }

    /** The callbacks kept so far, in the order of their arrival. */
    synchronized List<Event> events() {
        return List.copyOf(events);
    }

    /** The reasons of all refusals. */
    synchronized List<String> refusals() {
        return List.copyOf(refusals);
    }

    @Override
    public void close() {
        server.stop(0);
        threads.shutdown();
    }

    private void handle(HttpExchange exchange) throws IOException {
        try (exchange) {
            String refusal = judge(exchange);
            if (refusal != null) note(refusal);
            Map<String, Object> answer =
                    Json.object("code", refusal == null ? 0 : 1, "message", refusal == null ? "" : refusal);
            byte[] reply = Json.write(answer).getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("Content-Type", "application/json");
            exchange.sendResponseHeaders(200, reply.length);
            exchange.getResponseBody().write(reply);
        }
    }

    /** Keeps the callback and returns null, or returns the reason why it is refused. */
    private String judge(HttpExchange exchange) throws IOException {
        byte[] body = exchange.getRequestBody().readNBytes(MOST_BYTES + 1);
        String timestamp = exchange.getRequestHeaders().getFirst("Timestamp");
        String signature = exchange.getRequestHeaders().getFirst("Signature");
        if (!exchange.getRequestMethod().equals("POST") || body.length > MOST_BYTES) return "this is not a callback";
        if (!"V1".equals(exchange.getRequestHeaders().getFirst("Sign-Version"))) return "the Sign-Version is not V1";
        if (signature == null) return "the Signature is missing";
        if (timestamp == null || !timestamp.matches("[0-9]{13}")) return "the Timestamp is missing or malformed";
        try {
            Map<String, Object> callback = Json.asObject(Json.read(new String(body, StandardCharsets.UTF_8)));
            Map<String, Object> data = Json.asObject(callback.get("data"));
            if (!SignUtils.isSignedBy(signature, apiKey, timestamp, data, apiSecret)) return "the Signature is wrong";
            long age = System.currentTimeMillis() - Long.parseLong(timestamp);
            if (age > OLDEST_MS || age < -MOST_AHEAD_MS) return "the Timestamp is too old or in the future";
            keep(new Event((String) callback.get("id"), (String) callback.get("action"), data));
            return null;
        } catch (IllegalArgumentException | ClassCastException error) {
            return "the body is not a callback";
        }
    }

    /**
     * A real server writes to its database here, before it answers. `id` is not signed, so use it
     * only to recognise a callback that arrives again.
     */
    private synchronized void keep(Event event) {
        if (ids.add(event.id())) events.add(event);
    }

    private synchronized void note(String refusal) {
        refusals.add(refusal);
    }
}
