import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Reads and writes JSON (RFC 8259) as Map, List, String, Number, Boolean and null. It keeps the
 * order of members and the digits of numbers, because a callback's signature covers both. You may
 * use a JSON library instead, if it keeps both.
 */
final class Json {
    /** A limit, so that a stranger's deeply nested JSON cannot overflow the stack. */
    private static final int MOST_DEPTH = 100;
    private static final Pattern NUMBER = Pattern.compile("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?");

    private final String text;
    private int at = 0;

    private Json(String text) {
        this.text = text;
    }

    /**
     * Throws IllegalArgumentException if the text is not JSON, or if an object has two members with
     * the same name.
     */
    static Object read(String text) {
        Json reader = new Json(text);
        Object value = reader.value(0);
        reader.skipBlanks();
        if (reader.at < text.length()) throw reader.fault();
        return value;
    }

    /** The compact form: without blanks, and with only the escapes that JSON requires. */
    static String write(Object value) {
        StringBuilder out = new StringBuilder();
        write(value, out);
        return out.toString();
    }

    /** Takes names and values in turn. The map keeps their order. */
    static Map<String, Object> object(Object... namesAndValues) {
        Map<String, Object> members = new LinkedHashMap<>();
        for (int i = 0; i < namesAndValues.length; i += 2)
            members.put((String) namesAndValues[i], namesAndValues[i + 1]);
        return members;
    }

    /** Casts to an object. Throws IllegalArgumentException if the value is not one. */
    @SuppressWarnings("unchecked")
    static Map<String, Object> asObject(Object value) {
        if (value instanceof Map) return (Map<String, Object>) value;
        throw new IllegalArgumentException("this is not a JSON object: " + write(value));
    }

    /** Casts to a list of objects. Throws IllegalArgumentException if the value is not one. */
    static List<Map<String, Object>> asObjects(Object value) {
        if (value instanceof List<?> items) return items.stream().map(Json::asObject).toList();
        throw new IllegalArgumentException("this is not a JSON array: " + write(value));
    }

    /** A number with the digits of its text: 1.10 stays 1.10. */
    @SuppressWarnings("serial")
    private static final class Digits extends Number {
        private final String text;

        Digits(String text) {
            this.text = text;
        }

        @Override
        public int intValue() {
            return Math.toIntExact(longValue());
        }

        @Override
        public long longValue() {
            return new java.math.BigDecimal(text).longValueExact();
        }

        @Override
        public float floatValue() {
            return Float.parseFloat(text);
        }

        @Override
        public double doubleValue() {
            return Double.parseDouble(text);
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Digits digits && digits.text.equals(text);
        }

        @Override
        public int hashCode() {
            return text.hashCode();
        }

        @Override
        public String toString() {
            return text;
        }
    }

    private Object value(int depth) {
        if (depth > MOST_DEPTH) throw fault();
        skipBlanks();
        return switch (at < text.length() ? text.charAt(at) : ' ') {
            case '{' -> members(depth);
            case '[' -> items(depth);
            case '"' -> string();
            case 't' -> word("true", true);
            case 'f' -> word("false", false);
            case 'n' -> word("null", null);
            default -> number();
        };
    }

    private Map<String, Object> members(int depth) {
        Map<String, Object> members = new LinkedHashMap<>();
        expect('{');
        if (found('}')) return members;
        do {
            skipBlanks();
            String name = string();
            expect(':');
            if (members.containsKey(name)) throw fault();
            members.put(name, value(depth + 1));
        } while (found(','));
        expect('}');
        return members;
    }

    private List<Object> items(int depth) {
        List<Object> items = new ArrayList<>();
        expect('[');
        if (found(']')) return items;
        do items.add(value(depth + 1));
        while (found(','));
        expect(']');
        return items;
    }

    private String string() {
        if (at >= text.length() || text.charAt(at++) != '"') throw fault();
        StringBuilder out = new StringBuilder();
        while (at < text.length()) {
            char c = text.charAt(at++);
            if (c == '"') return out.toString();
            if (c < ' ') throw fault();
            out.append(c == '\\' ? escaped() : c);
        }
        throw fault();
    }

    private char escaped() {
        if (at >= text.length()) throw fault();
        char c = text.charAt(at++);
        switch (c) {
            case '"', '\\', '/':
                return c;
            case 'b':
                return '\b';
            case 'f':
                return '\f';
            case 'n':
                return '\n';
            case 'r':
                return '\r';
            case 't':
                return '\t';
            case 'u':
                int code = 0;
                for (int end = at + 4; at < end; at++) {
                    int digit = at < text.length() && text.charAt(at) < 128 ? Character.digit(text.charAt(at), 16) : -1;
                    if (digit < 0) throw fault();
                    code = code * 16 + digit;
                }
                return (char) code;
            default:
                throw fault();
        }
    }

    private Number number() {
        Matcher matcher = NUMBER.matcher(text).region(at, text.length());
        if (!matcher.lookingAt()) throw fault();
        at = matcher.end();
        return new Digits(matcher.group());
    }

    private Object word(String word, Object value) {
        if (!text.startsWith(word, at)) throw fault();
        at += word.length();
        return value;
    }

    private boolean found(char c) {
        skipBlanks();
        if (at >= text.length() || text.charAt(at) != c) return false;
        at++;
        return true;
    }

    private void expect(char c) {
        if (!found(c)) throw fault();
    }

    private void skipBlanks() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
    }

    private IllegalArgumentException fault() {
        return new IllegalArgumentException("not JSON at character " + at);
    }

    private static void write(Object value, StringBuilder out) {
        if (value instanceof String string) {
            writeString(string, out);
        } else if (value instanceof Map<?, ?> members) {
            String before = "{";
            for (Map.Entry<?, ?> member : members.entrySet()) {
                out.append(before);
                writeString((String) member.getKey(), out);
                out.append(':');
                write(member.getValue(), out);
                before = ",";
            }
            out.append(members.isEmpty() ? "{}" : "}");
        } else if (value instanceof List<?> items) {
            String before = "[";
            for (Object item : items) {
                out.append(before);
                write(item, out);
                before = ",";
            }
            out.append(items.isEmpty() ? "[]" : "]");
        } else if (value == null || value instanceof Number || value instanceof Boolean) {
            out.append(value);
        } else {
            throw new IllegalArgumentException("JSON has no such type: " + value.getClass());
        }
    }

    private static void writeString(String string, StringBuilder out) {
        out.append('"');
        for (int i = 0; i < string.length(); i++) {
            char c = string.charAt(i);
            int known = "\"\\\b\f\n\r\t".indexOf(c);
            if (known >= 0) out.append('\\').append("\"\\bfnrt".charAt(known));
            else if (c < ' ') out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        out.append('"');
    }
}
