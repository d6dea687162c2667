import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** The signature of callbacks, Sign-Version V1. */
final class SignUtils {
    private SignUtils() {}

    /**
     * HMAC-SHA256 in lower-case hex over `name=value` pairs, sorted by name and joined by `&`. The
     * pairs are appId (the Api-Key), timestamp (the header) and every member of `data` that is not
     * null. A string stands for itself, any other value for its compact JSON.
     */
    static String sign(String appId, String timestamp, Map<String, Object> data, String secret) {
        Map<String, String> pairs = new TreeMap<>();
        pairs.put("appId", appId);
        pairs.put("timestamp", timestamp);
        data.forEach((name, value) -> {
            if (value != null) pairs.put(name, value instanceof String text ? text : Json.write(value));
        });
        String signed = pairs.entrySet().stream()
                .map(pair -> pair.getKey() + "=" + pair.getValue())
                .collect(Collectors.joining("&"));
        try {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(secret.getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
            return HexFormat.of().formatHex(mac.doFinal(signed.getBytes(StandardCharsets.UTF_8)));
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException("HMAC failed", error);
        }
    }

    /** Compares in constant time, so that an attacker cannot guess a signature byte by byte. */
    static boolean isSignedBy(
            String signature, String appId, String timestamp, Map<String, Object> data, String secret) {
        byte[] expected = sign(appId, timestamp, data, secret).getBytes(StandardCharsets.US_ASCII);
        return MessageDigest.isEqual(expected, signature.getBytes(StandardCharsets.UTF_8));
    }
}
