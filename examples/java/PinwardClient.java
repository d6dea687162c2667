import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import javax.crypto.Cipher;
import javax.crypto.spec.SecretKeySpec;

/**
 * Calls the merchant API. It adds the headers, fetches an access token when it needs one, and
 * encrypts PIN and CVV. All threads can share one client. If an answer is lost, send the same
 * application again: it gets the answer of the first.
 */
final class PinwardClient {
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(5);
    private static final Duration CALL_TIMEOUT = Duration.ofSeconds(30);
    private static final int ACCESS_TOKEN_INVALID = 1007;
    /** The client fetches a new token this long before the old one expires. */
    private static final long MARGIN_MS = 60_000;

    /**
     * `code` 0 is success. Any other code is a failure and has no data. The HTTP status does not
     * tell: a failure has 200 too.
     */
    record Answer(int code, String msg, Object data) {
        Map<String, Object> members() {
            return Json.asObject(data);
        }

        String text(String name) {
            return (String) members().get(name);
        }

        List<Map<String, Object>> list() {
            return Json.asObjects(members().get("list"));
        }
    }

    private final HttpClient http = HttpClient.newBuilder()
            .connectTimeout(CONNECT_TIMEOUT)
            .build();
    private final String base;
    private final String apiKey;
    private final SecretKeySpec key;
    private String token;
    private long tokenExpiresAtMs;

    /** `url` has no path. The bytes of the apiSecret are the AES key. */
    PinwardClient(String url, String apiKey, String apiSecret) {
        this.base = url.replaceAll("/+$", "") + "/open-api/v1/";
        this.apiKey = apiKey;
        this.key = new SecretKeySpec(apiSecret.getBytes(StandardCharsets.UTF_8), "AES");
    }

    Answer get(String path) throws IOException, InterruptedException {
        return call("GET", path, null, Map.of());
    }

    Answer post(String path, Map<String, Object> body) throws IOException, InterruptedException {
        return call("POST", path, body, Map.of());
    }

    /**
     * Sends `headers` in addition to the usual ones, for example `Language` or `Timezone`. An
     * `Access-Token` in `headers` replaces the client's own.
     */
    Answer call(String method, String path, Map<String, Object> body, Map<String, String> headers)
            throws IOException, InterruptedException {
        if (headers.containsKey("Access-Token")) return send(method, path, body, headers, null);
        String used = accessToken();
        Answer answer = send(method, path, body, headers, used);
        if (answer.code() != ACCESS_TOKEN_INVALID) return answer;
        // The platform ended the token before it expired. Try again with a new one.
        forget(used);
        return send(method, path, body, headers, accessToken());
    }

    /** Get Token, the only call without a token. Earlier tokens stay valid. */
    Answer getToken() throws IOException, InterruptedException {
        return send("GET", "merchant/token", null, Map.of(), null);
    }

    /** Encrypts a PIN or CVV for the API: AES/ECB/PKCS5Padding, then Base64. */
    String encipher(String clear) {
        return Base64.getEncoder().encodeToString(aes(Cipher.ENCRYPT_MODE, clear.getBytes(StandardCharsets.UTF_8)));
    }

    /** Decrypts the answer of `private/info`. */
    String decipher(String base64) {
        return new String(aes(Cipher.DECRYPT_MODE, Base64.getDecoder().decode(base64)), StandardCharsets.UTF_8);
    }

    private byte[] aes(int mode, byte[] bytes) {
        try {
            Cipher cipher = Cipher.getInstance("AES/ECB/PKCS5Padding");
            cipher.init(mode, key);
            return cipher.doFinal(bytes);
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException("AES failed", error);
        }
    }

    private synchronized String accessToken() throws IOException, InterruptedException {
        if (token == null || System.currentTimeMillis() > tokenExpiresAtMs - MARGIN_MS) {
            Answer answer = getToken();
            if (answer.code() != 0) throw new IOException("no access token: " + answer.code() + " " + answer.msg());
            token = answer.text("access_token");
            tokenExpiresAtMs = ((Number) answer.members().get("expired_time")).longValue();
        }
        return token;
    }

    private synchronized void forget(String used) {
        if (used.equals(token)) token = null;
    }

    private Answer send(
            String method, String path, Map<String, Object> body, Map<String, String> headers, String accessToken)
            throws IOException, InterruptedException {
        HttpRequest.BodyPublisher content = body == null
                ? HttpRequest.BodyPublishers.noBody()
                : HttpRequest.BodyPublishers.ofString(Json.write(body));
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(base + path))
                .timeout(CALL_TIMEOUT)
                .header("Content-Type", "application/json")
                .header("Api-Key", apiKey)
                .header("Timestamp", String.valueOf(System.currentTimeMillis()))
                .method(method, content);
        if (accessToken != null) request.header("Access-Token", accessToken);
        headers.forEach(request::header);
        HttpResponse<String> response = http.send(request.build(), HttpResponse.BodyHandlers.ofString());
        try {
            Map<String, Object> answer = Json.asObject(Json.read(response.body()));
            return new Answer(((Number) answer.get("code")).intValue(), (String) answer.get("msg"), answer.get("data"));
        } catch (RuntimeException error) {
            throw new IOException("HTTP " + response.statusCode() + " without the API's envelope", error);
        }
    }
}
