import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

/**
 * Calls with the JDK's default client, which offers HTTP/2. The platform refuses each call at the
 * gate.
 */
class RefusedCalls {
    private static final int CALLS = 500;
    private static final int[] BODY_BYTES = {2, 200, 15_000, 200_000};

    public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 0; i < CALLS; i++) {
            String body = "{\"pad\":\"" + "x".repeat(BODY_BYTES[i % BODY_BYTES.length]) + "\"}";
            HttpRequest request = HttpRequest.newBuilder(URI.create(args[0] + "/open-api/v1/card/pin/set"))
                    .timeout(Duration.ofSeconds(10))
                    .header("Content-Type", "application/json")
                    .POST(BodyPublishers.ofString(body))
                    .build();
            String answer = client.send(request, BodyHandlers.ofString()).body();
            if (!answer.startsWith("{\"code\":1002,")) throw new IllegalStateException("call " + i + ": " + answer);
        }
        System.out.println(CALLS + " refused");
    }
}
