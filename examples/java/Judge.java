import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * Compares each answer with the expected one. It prints what is right. At the first difference it
 * throws a Deviation, which ends the journey.
 */
abstract class Judge {
    static final long PATIENCE_MS = 20_000;
    static final long PAUSE_MS = 200;

    /** An answer differs from the API's description. */
    static final class Deviation extends RuntimeException {
        private static final long serialVersionUID = 1;

        Deviation(String message) {
            super(message);
        }
    }

    interface Reading {
        Map<String, Object> now() throws IOException, InterruptedException;
    }

    /** Reads again and again until the status is `wanted`, for at most PATIENCE_MS. */
    static Map<String, Object> poll(String what, String wanted, Reading reading)
            throws IOException, InterruptedException {
        long until = System.currentTimeMillis() + PATIENCE_MS;
        for (;;) {
            Map<String, Object> now = reading.now();
            if (wanted.equals(now.get("status"))) {
                that(what, true);
                return now;
            }
            if (System.currentTimeMillis() > until)
                throw new Deviation(what + ": no, the status is still " + now.get("status"));
            Thread.sleep(PAUSE_MS);
        }
    }

    static void heading(String text) {
        System.out.println("\n" + text);
    }

    static void that(String what, boolean holds) {
        if (!holds) throw new Deviation(what + ": no");
        System.out.println("\u2714 " + what);
    }

    static void equal(String what, Object expected, Object actual) {
        if (!Objects.equals(expected, actual)) throw new Deviation(what + ": expected " + expected + ", got " + actual);
        boolean isShort = expected instanceof String || expected instanceof Number;
        System.out.println("\u2714 " + what + ": " + (isShort ? expected : "as expected"));
    }

    static void has(String what, Object object, String names) {
        has(what, object, names, true);
    }

    static void has(String what, Object object, String names, boolean aloud) {
        Set<String> expected = Set.of(names.split(" "));
        Set<String> actual = Json.asObject(object).keySet();
        if (!actual.equals(expected))
            throw new Deviation(what + ": expected the members " + expected + ", got " + actual);
        if (aloud) that(what + " has exactly the expected members", true);
    }

    static PinwardClient.Answer success(String what, PinwardClient.Answer answer) {
        if (answer.code() != 0 || !answer.msg().equals("Success") || answer.data() == null)
            throw new Deviation(what + ": " + answer);
        System.out.println("\u2714 " + what);
        return answer;
    }

    static void done(String what, PinwardClient.Answer answer) {
        if (!Json.object("result", true).equals(success(what, answer).data()))
            throw new Deviation(what + ": " + answer);
    }

    static PinwardClient.Answer refused(int code, String what, PinwardClient.Answer answer) {
        if (answer.code() != code || answer.data() != null)
            throw new Deviation(what + ": expected " + code + ", got " + answer);
        System.out.println("\u2714 " + what + ": " + code + " " + answer.msg());
        return answer;
    }

    static void fault(String msg, String what, PinwardClient.Answer answer) {
        if (!refused(1004, what, answer).msg().equals(msg))
            throw new Deviation(what + ": expected " + msg + ", got " + answer.msg());
    }

    static Map<String, Object> only(List<Map<String, Object>> list) {
        if (list.size() != 1) throw new Deviation("expected one item, got " + list);
        return list.get(0);
    }

    static String last(List<String> list) {
        return list.get(list.size() - 1);
    }

    static Map<String, Object> with(Map<String, Object> members, String name, Object value) {
        Map<String, Object> changed = new LinkedHashMap<>(members);
        if (value == null) changed.remove(name);
        else changed.put(name, value);
        return changed;
    }

    static Map<String, Object> without(Map<String, Object> members, String name) {
        return with(members, name, null);
    }

    static boolean passesLuhn(String digits) {
        int sum = 0;
        for (int i = 0; i < digits.length(); i++) {
            int digit = digits.charAt(digits.length() - 1 - i) - '0';
            int doubled = i % 2 == 0 ? digit : 2 * digit;
            sum += doubled > 9 ? doubled - 9 : doubled;
        }
        return sum % 10 == 0;
    }
}
