import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * Takes two merchants through the API of a sandbox: cardholders, cards, PIN and callbacks. It
 * checks every answer, and ends with exit status 1 at the first unexpected one. Each run uses new
 * numbers, so you may run it again on the same sandbox.
 */
public final class Journey extends Judge {
    // The sandbox's values. They are public and the same on every machine.
    private static final String API_KEY = "sandbox_api_key";
    private static final String API_SECRET = "sandbox-api-secret-0123456789abc";
    private static final String CREDIT_API_KEY = "credit_api_key";
    private static final String CREDIT_API_SECRET = "credit-api-secret-0123456789abcd";
    private static final String ISSUER_KEY = "sandbox_issuer_key";
    private static final String CARD_OF_ANOTHER_MERCHANT = "C202605220006";
    private static final String CARDHOLDER_OF_ANOTHER_MERCHANT = "U202605220003";
    private static final String OTHER_CARDHOLDER = "U202605220001";

    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss");

    private static final String DETAIL = "card_no card_unique_no cardholder_no card_name package_name_en"
            + " package_name_cn card_type organization card_last_no fee_detail status time";
    // "cancle" is the API's own spelling.
    private static final String FEES = "consume_rate open_cost cross_consume_rate small_consume_threshold"
            + " small_consume_deduct free_small_consume_count"
            + " free_small_excuse_type free_small_excuse_days refund_rate consume_cancle_fee"
            + " consume_cancel_threshold decline_fee decline_fee_free_count decline_fee_free_type decline_fee_free_days"
            + " atm_rate atm_min_fee apple_pay_fee manage_fee_type manage_fee management_fee_free_type"
            + " free_management_fee_threshold";

    private final String url;
    private final PinwardClient client;
    private final PinwardClient credit;
    /** Null if the journey runs without callbacks. */
    private final CallbackReceiver receiver;
    private final String run = Long.toString(System.currentTimeMillis(), 36);
    /** By card number: the statuses that the card has had, in order. */
    private final Map<String, List<String>> histories = new LinkedHashMap<>();

    private Journey(String url, CallbackReceiver receiver) {
        this.url = url;
        this.client = new PinwardClient(url, API_KEY, API_SECRET);
        this.credit = new PinwardClient(url, CREDIT_API_KEY, CREDIT_API_SECRET);
        this.receiver = receiver;
    }

    public static void main(String[] arguments) throws IOException {
        if (arguments.length < 1 || arguments.length > 2) {
            System.err.println("usage: java -cp out Journey URL [PORT FOR CALLBACKS]");
            System.exit(2);
        }
        // Print UTF-8 in every locale. The sources are ASCII, so javac reads them in every locale.
        System.setOut(new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8));
        int status = 1;
        try (CallbackReceiver receiver = arguments.length == 2
                ? new CallbackReceiver(Integer.parseInt(arguments[1]), API_KEY, API_SECRET)
                : null) {
            new Journey(arguments[0], receiver).travel();
            System.out.println("\nEvery answer is as expected.");
            status = 0;
        } catch (Deviation deviation) {
            System.out.println("\u2718 " + deviation.getMessage());
        } catch (Exception error) {
            System.out.println("\u2718 the journey failed");
            error.printStackTrace(System.out);
        }
        System.exit(status);
    }

    private void travel() throws Exception {
        heading("The signature of callbacks");
        checkSignature();
        heading("A merchant that applies by BIN (AUTHORIZATION)");
        getToken();
        String cardBinNo = chooseBin();
        String cardholderNo = verifyCardholder();
        verifyRejectedCardholder(cardBinNo);
        String virtual = applyForVirtual(cardBinNo, cardholderNo);
        String physical = applyForPhysical(cardBinNo, cardholderNo);
        checkRefusedApplications(cardBinNo, cardholderNo);
        listCards(cardholderNo, virtual, physical);
        awaitIssue(virtual, physical);
        activate(cardholderNo, virtual, physical);
        setPin(cardholderNo, virtual, physical);
        showCard(virtual);
        freezeAndDelete(cardholderNo, physical);
        heading("A merchant that applies by package (CREDIT_EXTENSION)");
        travelByPackage();
        heading("Callbacks");
        judgeCallbacks();
    }

    // ---- the AUTHORIZATION merchant

    private void checkSignature() {
        String data = """
                {"z": 1.10, "b": true, "none": null, "nested": {"y": [1, "\\u00e9/"], "x": {}},
                 "empty": "", "text": "a&b=c"}""";
        String known = "07f170c3f78e715d7c3a9c0c14df5d3156729dc85ff9543cd106548f8d9bdccc";
        String signed = SignUtils.sign("an-app-id", "1716307200000", Json.asObject(Json.read(data)), "a-secret");
        equal("the signature of known data", known, signed);
    }

    private void getToken() throws Exception {
        var token = success("Get Token", client.getToken());
        long lives = ((Number) token.members().get("expired_time")).longValue() - System.currentTimeMillis();
        that("the token is valid for more than a minute", !token.text("access_token").isEmpty() && lives > 60_000);
        String made = token.text("access_token") + "x";
        refused(1007, "a token that the platform did not issue", callWith(made));
        var others = new PinwardClient(url, CREDIT_API_KEY, CREDIT_API_SECRET).getToken();
        refused(1007, "a token of another Api-Key", callWith(others.text("access_token")));
        refused(1008, "an unknown Api-Key", new PinwardClient(url, "nobody", API_SECRET).getToken());
    }

    private PinwardClient.Answer callWith(String token) throws Exception {
        return client.call("GET", "card/C000/detail", null, Map.of("Access-Token", token));
    }

    private String chooseBin() throws Exception {
        var bins = success("support/bins", client.post("card/support/bins", Json.object("page", 0, "size", 10))).list();
        var bin = bins.stream()
                .filter(one -> one.get("support_physical").equals(true) && one.get("support_virtual").equals(true))
                .findFirst()
                .orElseThrow(() -> new Deviation("no BIN supports both physical and virtual cards"));
        has("a BIN", bin,
                "card_bin_no card_bin organization support_physical support_virtual currencies balance_limit");
        has("the balance_limit of the BIN", bin.get("balance_limit"),
                "limit_balance limit_week_balance limit_atm_day_balance limit_atm_month_balance");
        String cardBinNo = (String) bin.get("card_bin_no");
        var filter = Json.object("card_bin_no", cardBinNo);
        var found = success("support/bins, by number", client.post("card/support/bins", filter));
        equal("the BIN found by number", List.of(bin), found.list());
        refused(1012, "package/list, which is for the other mode", client.post("card/package/list", Json.object()));
        return cardBinNo;
    }

    private String verifyCardholder() throws Exception {
        var application = cardholder("", "anna", "approve-");
        String no = success("cardholder/apply", client.post("cardholder/apply", application)).text("cardholder_no");
        var again = success("the same application again", client.post("cardholder/apply", application));
        var first = Json.object("cardholder_no", no, "cardholder_unique_no", "anna-" + run);
        equal("the answer to the same application", first, again.members());
        var otherToken = with(application, "sumsub_share_token", "approve-other");
        refused(2001, "the same unique number with another share token", client.post("cardholder/apply", otherToken));
        var unknownToken = cardholder("", "nobody", "");
        refused(2006, "a share token that the verifier does not know", client.post("cardholder/apply", unknownToken));

        var approved = pollCardholder(client, no, "Approved");
        has("a cardholder in the list", approved, "cardholder_no cardholder_unique_no email fail_reason status time");
        var listed = only(list(client, "cardholder", "cardholder_unique_no", "anna-" + run));
        equal("the cardholder found by unique number", approved, listed);
        var info = success("cardholder/info", client.get("cardholder/" + no + "/info")).members();
        has("the info", info, "cardholder_no cardholder_unique_no email status total_balance time card_list");
        equal("the cardholder's status", "Approved", info.get("status"));
        equal("the cardholder's cards", List.of(), info.get("card_list"));
        var second = with(otherToken, "cardholder_no", no);
        refused(2003, "a second application for an Approved cardholder", client.post("cardholder/apply", second));
        refused(2002, "a cardholder that does not exist", client.get("cardholder/U000/info"));
        var theirs = client.get("cardholder/" + CARDHOLDER_OF_ANOTHER_MERCHANT + "/info");
        refused(2002, "another merchant's cardholder", theirs);
        return no;
    }

    private void verifyRejectedCardholder(String cardBinNo) throws Exception {
        var application = cardholder("", "ben", "reject-");
        String no = success("cardholder/apply", client.post("cardholder/apply", application)).text("cardholder_no");
        var anew = cardholder(no, "ben", "approve-");
        refused(2004, "a second application before the decision", client.post("cardholder/apply", anew));
        refused(2004, "a card before the decision", client.post("card/apply", virtual("early", cardBinNo, no)));
        var rejected = pollCardholder(client, no, "Rejected");
        that("fail_reason gives the reason", !((String) rejected.get("fail_reason")).isEmpty());
        var card = virtual("early", cardBinNo, no);
        refused(2005, "a card for a Rejected cardholder", client.post("card/apply", card));
        var otherNumber = with(anew, "cardholder_unique_no", "eve");
        refused(2011, "a second application with another unique number", client.post("cardholder/apply", otherNumber));
        success("a second application", client.post("cardholder/apply", anew));
        success("the same application again", client.post("cardholder/apply", anew));
        poll("now the cardholder is Approved", "Approved", () -> client.get("cardholder/" + no + "/info").members());
    }

    private String applyForVirtual(String cardBinNo, String cardholderNo) throws Exception {
        var application = virtual("virtual", cardBinNo, cardholderNo);
        String no = success("card/apply, Virtual", client.post("card/apply", application)).text("card_no");
        var again = success("the same application again", client.post("card/apply", application));
        var first = Json.object("card_no", no, "card_unique_no", "virtual-" + run);
        equal("the answer to the same application", first, again.members());
        var otherContent = with(application, "address_info", address());
        refused(4002, "the same unique number with other content", client.post("card/apply", otherContent));
        histories.put(no, new ArrayList<>(List.of("Pending", "Activated")));
        return no;
    }

    private String applyForPhysical(String cardBinNo, String cardholderNo) throws Exception {
        var application = physical("physical", cardBinNo, cardholderNo);
        String no = success("card/apply, Physical", client.post("card/apply", application)).text("card_no");
        var again = success("the same application again", client.post("card/apply", application));
        equal("the card_no of the same application", no, again.text("card_no"));
        var elsewhere = with(application, "address_info", with(address(), "city", "Dongguan"));
        refused(4002, "the same unique number with another address", client.post("card/apply", elsewhere));
        histories.put(no, new ArrayList<>(List.of("Pending", "ToActivate")));
        return no;
    }

    private void checkRefusedApplications(String cardBinNo, String cardholderNo) throws Exception {
        var application = physical("refused", cardBinNo, cardholderNo);
        var noProduct = with(application, "card_bin_no", "");
        var neither = client.post("card/apply", noProduct);
        fault("card_bin_no invalid parameter", "an application without BIN and package", neither);
        var byPackage = with(noProduct, "package_no", "P202605220002");
        refused(1012, "a package, which is for the other mode", client.post("card/apply", byPackage));
        refused(4004, "a BIN that does not exist", client.post("card/apply", with(application, "card_bin_no", "B000")));
        var nowhere = without(application, "address_info");
        var noAddress = client.post("card/apply", nowhere);
        fault("address_info invalid parameter", "a physical card without an address", noAddress);
        var chinese = with(application, "address_info", with(address(), "city", "\u6df1\u5733"));
        var answer = refused(2008, "an address in Chinese", client.post("card/apply", chinese));
        equal("the msg names the field", "address_info.city only supports English input", answer.msg());
        answer = client.call("POST", "card/apply", chinese, Map.of("Language", "zh_CN"));
        equal("the msg in Chinese", "address_info.city \u4ec5\u652f\u6301\u82f1\u6587\u8f93\u5165", answer.msg());
        var plus = with(application, "address_info", with(address(), "phone_code", "+86"));
        String phoneCodeFault = "address_info.phone_code invalid parameter";
        fault(phoneCodeFault, "a dialling code with a plus sign", client.post("card/apply", plus));

        var unlucky = virtual("fail", cardBinNo, cardholderNo);
        var accepted = success("an application that the sandbox fails", client.post("card/apply", unlucky));
        String failed = accepted.text("card_no");
        poll("the card is Fail", "Fail", () -> detail(client, failed));
        histories.put(failed, List.of("Pending", "Fail"));
    }

    private void listCards(String cardholderNo, String virtual, String physical) throws Exception {
        var item = only(list(client, "card", "card_no", physical));
        has("a card in the list", item,
                "card_no card_unique_no cardholder_no card_type card_last_no organization status time");
        equal("the card's type", "Physical", item.get("card_type"));
        var byUniqueNo = only(list(client, "card", "card_unique_no", "virtual-" + run));
        equal("the card found by unique number", virtual, byUniqueNo.get("card_no"));
        var all = list(client, "card", "cardholder_no", cardholderNo);
        equal("the number of the cardholder's cards", 3, all.size());
        var page = with(with(range(), "cardholder_no", cardholderNo), "size", 1);
        var second = success("the second page of size 1", client.post("card/list", with(page, "page", 1))).list();
        equal("the card on the second page", all.get(1).get("card_no"), only(second).get("card_no"));

        Instant time = Instant.ofEpochSecond(((Number) item.get("time")).longValue() / 1000);
        var itsSecond = with(itsSecond(time, 0), "card_no", physical);
        equal("cards made in that second of UTC", 1, listIn("UTC+0", itsSecond).size());
        equal("cards at the same local time in UTC+8", 0, listIn("UTC+8", itsSecond).size());
        var itsSecondInUtc8 = with(itsSecond(time, 8), "card_no", physical);
        equal("cards made in that second of UTC+8, the default", 1, listIn(null, itsSecondInUtc8).size());
        var mars = client.call("POST", "card/list", range(), Map.of("Timezone", "Mars"));
        fault("Timezone invalid parameter", "an unknown time zone", mars);
        var backwards = Json.object("start_time", "2026-06-02", "end_time", "2026-06-01");
        refused(1019, "an end time before the start time", client.post("card/list", backwards));
        var longRange = Json.object("start_time", "2026-01-01", "end_time", "2026-06-01");
        refused(1020, "a range of more than 90 days", client.post("card/list", longRange));
        fault("size invalid parameter", "a page of 101", client.post("card/list", with(range(), "size", 101)));
    }

    private void awaitIssue(String virtual, String physical) throws Exception {
        awaitStatus(virtual, "Activated");
        awaitStatus(physical, "ToActivate");
        var detail = detail(client, virtual);
        has("the card's detail", detail, DETAIL);
        that("the card has its last four digits now", ((String) detail.get("card_last_no")).matches("[0-9]{4}"));
        that("the card has no package", "".equals(detail.get("package_name_en")));
        refused(4001, "a card that does not exist", client.get("card/C000/detail"));
        refused(4001, "another merchant's card", client.get("card/" + CARD_OF_ANOTHER_MERCHANT + "/detail"));
    }

    private void activate(String cardholderNo, String virtual, String physical) throws Exception {
        var inHand = cardInHand(physical);
        String pan = (String) inHand.get("pan");
        String cvv = (String) inHand.get("cvv2");
        String lastFour = (String) detail(client, physical).get("card_last_no");
        equal("the last four digits on the card in hand", lastFour, pan.substring(pan.length() - 4));
        var activation = Json.object(
                "cardholder_no", cardholderNo, "card_no", physical, "cvv", client.encipher(cvv),
                "card_last_no", lastFour);
        var wrongCvv = with(activation, "cvv", client.encipher(cvv.equals("000") ? "001" : "000"));
        refused(4003, "activation with a wrong CVV", client.post("card/active", wrongCvv));
        var clearCvv = with(activation, "cvv", cvv);
        refused(4003, "activation with a CVV that is not encrypted", client.post("card/active", clearCvv));
        var otherCardholder = with(activation, "cardholder_no", OTHER_CARDHOLDER);
        refused(4001, "activation for another cardholder", client.post("card/active", otherCardholder));
        var virtualCard = with(activation, "card_no", virtual);
        refused(4017, "activation of a virtual card", client.post("card/active", virtualCard));
        refused(4005, "the PAN of a card that is not activated", client.get(privateInfo(physical)));
        done("card/active", client.post("card/active", activation));
        histories.get(physical).add("Activated");
        equal("the card's status", "Activated", detail(client, physical).get("status"));
        refused(4005, "a second activation", client.post("card/active", activation));

        String enciphered = (String) success("private/info", client.get(privateInfo(physical))).data();
        var shown = Json.asObject(Json.read(client.decipher(enciphered)));
        has("the private info", shown, "card_no card_unique_no cvv pan exp_year exp_month");
        equal("the PAN", pan, shown.get("pan"));
        that("the PAN passes the Luhn check", passesLuhn(pan));
        equal("the CVV", cvv, shown.get("cvv"));
        String expiry = ((String) shown.get("exp_year")).substring(2) + shown.get("exp_month");
        equal("the expiry", inHand.get("expiry"), expiry);
    }

    private void setPin(String cardholderNo, String virtual, String physical) throws Exception {
        var setting = Json.object("card_no", physical, "cardholder_no", cardholderNo, "pin", client.encipher("142536"));
        done("card/pin/set", client.post("card/pin/set", setting));
        done("the same PIN again", client.post("card/pin/set", setting));
        for (String weak : List.of("111235", "912375", "259876", "1425", "14253a"))
            refused(4016, "the PIN " + weak, client.post("card/pin/set", with(setting, "pin", client.encipher(weak))));
        refused(4016, "a PIN that is not encrypted", client.post("card/pin/set", with(setting, "pin", "142536")));
        fault("pin invalid parameter", "a body without a PIN", client.post("card/pin/set", without(setting, "pin")));
        refused(4017, "the PIN of a virtual card", client.post("card/pin/set", with(setting, "card_no", virtual)));
        var otherCardholder = with(setting, "cardholder_no", OTHER_CARDHOLDER);
        refused(4001, "the PIN of another cardholder's card", client.post("card/pin/set", otherCardholder));
        var theirs = with(setting, "card_no", CARD_OF_ANOTHER_MERCHANT);
        theirs.put("cardholder_no", CARDHOLDER_OF_ANOTHER_MERCHANT);
        refused(4001, "the PIN of another merchant's card", client.post("card/pin/set", theirs));
    }

    private void showCard(String cardNo) throws Exception {
        String path = "merchant/client/" + cardNo + "/token";
        var token = success("client token", client.get(path));
        has("the client token", token.members(), "client_access_token expires_in");
        that("the client token is valid for some seconds", ((Number) token.members().get("expires_in")).intValue() > 0);
        var next = success("client token again", client.get(path));
        boolean isNew = !token.text("client_access_token").equals(next.text("client_access_token"));
        that("the second client token differs from the first", isNew);
        refused(4001, "a client token for a card that does not exist", client.get("merchant/client/C000/token"));
    }

    private void freezeAndDelete(String cardholderNo, String cardNo) throws Exception {
        var setting = Json.object("card_no", cardNo, "cardholder_no", cardholderNo, "pin", client.encipher("142536"));
        refused(4005, "unfreezing a card that is not frozen", update(cardNo, "Activated"));
        var freeze = Json.object("card_no", cardNo, "status", "Frozen");
        var key = Map.of("Idempotency-Key", "freeze-" + run);
        done("status/update Frozen", client.call("POST", "card/status/update", freeze, key));
        histories.get(cardNo).add("Frozen");
        var again = client.call("POST", "card/status/update", freeze, key);
        done("the same request again, with the same Idempotency-Key", again);
        refused(4005, "the PIN of a frozen card", client.post("card/pin/set", setting));
        refused(4005, "the same again without an Idempotency-Key", update(cardNo, "Frozen"));
        change(cardNo, "Activated");
        done("the PIN of the unfrozen card", client.post("card/pin/set", setting));
        fault("status invalid parameter", "a status that a merchant cannot request", update(cardNo, "ToActivate"));
        refused(4001, "freezing another merchant's card", update(CARD_OF_ANOTHER_MERCHANT, "Frozen"));
        var info = success("cardholder/info", client.get("cardholder/" + cardholderNo + "/info")).members();
        equal("the number of cards in the info", 2, Json.asObjects(info.get("card_list")).size());
        change(cardNo, "Delete");
        refused(4005, "the PIN of a deleted card", client.post("card/pin/set", setting));
        refused(4005, "the PAN of a deleted card", client.get(privateInfo(cardNo)));
        refused(4005, "reactivating a deleted card", update(cardNo, "Activated"));
    }

    // ---- the CREDIT_EXTENSION merchant

    private void travelByPackage() throws Exception {
        refused(1012, "support/bins, which is for the other mode", credit.post("card/support/bins", Json.object()));
        var firstPage = Json.object("page", 0, "size", 10);
        var packages = success("package/list", credit.post("card/package/list", firstPage)).list();
        var product = packages.stream()
                .filter(one -> one.get("package_type").equals("Virtual"))
                .findFirst()
                .orElseThrow(() -> new Deviation("there is no package for virtual cards"));
        has("a package", product,
                "package_no package_en_name package_cn_name card_bin card_bin_no organization package_type en_desc"
                        + " cn_desc en_tag_list cn_tag_list consumption_limit fee_detail");
        has("the fee_detail of the package", product.get("fee_detail"), FEES);
        String packageNo = (String) product.get("package_no");
        var filter = Json.object("type", "Virtual", "package_no", packageNo);
        var found = success("package/list, by type and number", credit.post("card/package/list", filter));
        equal("the package found by type and number", List.of(product), found.list());

        var person = cardholder("", "carl", "approve-");
        var applied = success("cardholder/apply", credit.post("cardholder/apply", person));
        String cardholderNo = applied.text("cardholder_no");
        pollCardholder(credit, cardholderNo, "Approved");
        var application = without(virtual("by-package", "", cardholderNo), "card_bin_no");
        application.put("package_no", packageNo);
        String cardNo = success("card/apply", credit.post("card/apply", application)).text("card_no");
        var again = success("the same application again", credit.post("card/apply", application));
        equal("the card_no of the same application", cardNo, again.text("card_no"));
        var anew = with(application, "card_unique_no", "by-package-2-" + run);
        var byBin = with(without(anew, "package_no"), "card_bin_no", product.get("card_bin_no"));
        refused(1012, "a BIN, which is for the other mode", credit.post("card/apply", byBin));
        refused(4004, "a package that does not exist", credit.post("card/apply", with(anew, "package_no", "P000")));
        var otherKind = with(with(anew, "card_type", "Physical"), "address_info", address());
        refused(4006, "a physical card from a package for virtual cards", credit.post("card/apply", otherKind));
        poll("the card is Activated", "Activated", () -> detail(credit, cardNo));
        var detail = detail(credit, cardNo);
        has("the card's detail", detail, DETAIL);
        equal("the English name of the card's package", product.get("package_en_name"), detail.get("package_name_en"));
        equal("the Chinese name of the card's package", product.get("package_cn_name"), detail.get("package_name_cn"));
        equal("the card's fees", product.get("fee_detail"), detail.get("fee_detail"));
        refused(4001, "the card, requested by another merchant", client.get("card/" + cardNo + "/detail"));
    }

    // ---- callbacks

    private void judgeCallbacks() throws Exception {
        if (receiver == null) {
            System.out.println("  skipped: this run has no port for callbacks (README.md)");
            return;
        }
        refuseForged();
        long until = System.currentTimeMillis() + PATIENCE_MS;
        for (Map.Entry<String, List<String>> card : histories.entrySet()) {
            String cardNo = card.getKey();
            List<String> history = card.getValue();
            while (statusesOf(cardNo).size() < history.size() && System.currentTimeMillis() < until)
                Thread.sleep(PAUSE_MS);
            equal("the statuses of " + cardNo + " in callbacks", history, statusesOf(cardNo));
            equal("its status in card/detail", last(history), detail(client, cardNo).get("status"));
        }
        equal("the list of refused callbacks, which is empty", List.of(), receiver.refusals());
    }

    /**
     * Checks that a receiver refuses forged callbacks. It uses a second receiver, so that the main
     * receiver's list of refusals holds only callbacks of the platform.
     */
    private void refuseForged() throws Exception {
        try (CallbackReceiver other = new CallbackReceiver(0, API_KEY, API_SECRET)) {
            String now = String.valueOf(System.currentTimeMillis());
            String old = String.valueOf(System.currentTimeMillis() - 3_600_000);
            var data = Json.object("card_no", "C000", "before_status", "Pending", "after_status", "Activated");
            String genuine = SignUtils.sign(API_KEY, now, data, API_SECRET);
            equal("the code for a genuine callback", 0, deliver(other, now, genuine, data));
            String forged = SignUtils.sign(API_KEY, now, data, "another secret");
            equal("the code for a forged callback", 1, deliver(other, now, forged, data));
            String ofAnother = SignUtils.sign(API_KEY, now, with(data, "card_no", "C001"), API_SECRET);
            equal("the code for a callback with another one's signature", 1, deliver(other, now, ofAnother, data));
            String ofOld = SignUtils.sign(API_KEY, old, data, API_SECRET);
            equal("the code for a callback that is an hour old", 1, deliver(other, old, ofOld, data));
            equal("the number of kept callbacks", 1, other.events().size());
        }
    }

    private static int deliver(CallbackReceiver to, String timestamp, String signature, Map<String, Object> data)
            throws Exception {
        var callback = Json.object("id", "forged-" + signature, "action", "Card_update", "data", data);
        HttpRequest request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + to.port() + "/"))
                .headers("Timestamp", timestamp, "Signature", signature, "Sign-Version", "V1")
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(Json.write(callback)))
                .build();
        String reply = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body();
        return ((Number) Json.asObject(Json.read(reply)).get("code")).intValue();
    }

    /**
     * The statuses of a card in its callbacks, beginning with the `before_status` of the first.
     * Throws if a callback does not start from the status with which the one before it ended.
     */
    private List<String> statusesOf(String cardNo) {
        List<String> statuses = new ArrayList<>();
        for (CallbackReceiver.Event event : receiver.events()) {
            var data = event.data();
            if (!event.action().equals("Card_update") || !cardNo.equals(data.get("card_no"))) continue;
            has("a Card_update", data, "card_no before_status after_status reason time", false);
            String before = (String) data.get("before_status");
            if (statuses.isEmpty()) statuses.add(before);
            if (!last(statuses).equals(before))
                throw new Deviation("a callback of " + cardNo + " starts from " + before + " after " + statuses);
            statuses.add((String) data.get("after_status"));
        }
        return statuses;
    }

    // ---- calls

    private Map<String, Object> cardholder(String cardholderNo, String name, String verdict) {
        return Json.object(
                "cardholder_no", cardholderNo, "cardholder_unique_no", name + "-" + run,
                "sumsub_share_token", verdict + name + run);
    }

    private Map<String, Object> virtual(String name, String cardBinNo, String cardholderNo) {
        return Json.object(
                "card_bin_no", cardBinNo, "cardholder_no", cardholderNo, "card_unique_no", name + "-" + run,
                "card_type", "Virtual");
    }

    private Map<String, Object> physical(String name, String cardBinNo, String cardholderNo) {
        return with(with(virtual(name, cardBinNo, cardholderNo), "card_type", "Physical"), "address_info", address());
    }

    private static Map<String, Object> address() {
        return Json.object(
                "first_name", "Anna", "last_name", "Li", "phone_code", "86", "phone", "13800138000",
                "postal_code", "518000", "country", "CN", "state", "Guangdong", "city", "Shenzhen",
                "address_line1", "No. 1 Shennan Road", "address_line2", "Floor 3");
    }

    /** From yesterday to tomorrow: time zones and midnight make no difference. */
    private static Map<String, Object> range() {
        LocalDate today = LocalDate.now(ZoneOffset.ofHours(8));
        return Json.object("start_time", today.minusDays(1).toString(), "end_time", today.plusDays(1).toString());
    }

    /** The range of one second, as local time of the zone. */
    private static Map<String, Object> itsSecond(Instant second, int zoneHours) {
        DateTimeFormatter local = TIME.withZone(ZoneOffset.ofHours(zoneHours));
        return Json.object("start_time", local.format(second), "end_time", local.format(second.plusSeconds(1)));
    }

    private static List<Map<String, Object>> list(PinwardClient as, String of, String filter, String value)
            throws IOException, InterruptedException {
        var answer = as.post(of + "/list", with(range(), filter, value));
        if (answer.code() != 0) throw new Deviation(of + "/list answers " + answer);
        return answer.list();
    }

    private List<Map<String, Object>> listIn(String zone, Map<String, Object> query) throws Exception {
        Map<String, String> headers = zone == null ? Map.of() : Map.of("Timezone", zone);
        return success("card/list", client.call("POST", "card/list", query, headers)).list();
    }

    private static Map<String, Object> pollCardholder(PinwardClient as, String cardholderNo, String status)
            throws IOException, InterruptedException {
        return poll("the cardholder is " + status, status,
                () -> only(list(as, "cardholder", "cardholder_no", cardholderNo)));
    }

    private static Map<String, Object> detail(PinwardClient as, String cardNo)
            throws IOException, InterruptedException {
        var answer = as.get("card/" + cardNo + "/detail");
        if (answer.code() != 0) throw new Deviation("card/detail answers " + answer);
        return answer.members();
    }

    private static String privateInfo(String cardNo) {
        return "card/" + cardNo + "/private/info";
    }

    private PinwardClient.Answer update(String cardNo, String status) throws Exception {
        return client.post("card/status/update", Json.object("card_no", cardNo, "status", status));
    }

    private void change(String cardNo, String status) throws Exception {
        done("status/update " + status, update(cardNo, status));
        histories.get(cardNo).add(status);
        equal("the card's status", status, detail(client, cardNo).get("status"));
    }

    /**
     * What the cardholder reads on the card. A sandbox sends no cards, but its issuer can ask again
     * what it issued. A merchant does not have the issuer's key.
     */
    private Map<String, Object> cardInHand(String cardNo) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url + "/issuer/v1/card/issued"))
                .header("Authorization", "Bearer " + ISSUER_KEY)
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(Json.write(Json.object("card_no", cardNo))))
                .build();
        String body = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body();
        var answer = Json.asObject(Json.read(body));
        if (((Number) answer.get("code")).intValue() != 0)
            throw new Deviation("card/issued answers " + answer.get("msg"));
        return Json.asObject(answer.get("data"));
    }

    private void awaitStatus(String cardNo, String status) throws Exception {
        if (receiver == null) {
            poll(cardNo + " is " + status, status, () -> detail(client, cardNo));
            return;
        }
        long until = System.currentTimeMillis() + PATIENCE_MS;
        while (!statusesOf(cardNo).contains(status)) {
            if (System.currentTimeMillis() > until)
                throw new Deviation("no callback gives " + cardNo + " the status " + status
                        + "; refused callbacks: " + receiver.refusals());
            Thread.sleep(PAUSE_MS);
        }
        var detail = detail(client, cardNo);
        equal("the status of " + cardNo + " in card/detail, after a callback", status, detail.get("status"));
    }
}
