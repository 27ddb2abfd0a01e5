"""The bounds of commerce, which are many; a page of `live.core.limits`, from where they are imported."""

# --- commerce -------------------------------------------------------------------------------------------------
HOLD_TTL_S = 600
HOLD_SWEEP_INTERVAL_S = 1.0
HOLD_EXTENSIONS_MAX = 10  # full hold times on top of the first; WCAG 2.2, 2.2.1 asks for ten at least
QUANTITY_MAX = 100  # per SKU and cart
CART_LINES_MAX = 50
PRICE_MINOR_MAX = 10**10
IMPORT_LINE_BYTES_MAX = 64 * 1024
IMPORT_ERRORS_SHOWN = 100
IMPORT_RECORD_LINES_MAX = 20  # lines that one quoted CSV record may span
IMPORT_SKUS_MAX = 2_000_000  # per feed; they are remembered, on disk, to find duplicates and what is missing
IMPORT_BATCH = 100  # entries a transaction
IMPORT_FILE_BYTES_MAX = 16 * 1024 * 1024  # over HTTP; the command line streams any size
ID_CHARS_MAX = 64  # SKUs and product ids
DESCRIPTION_CHARS_MAX = 2000
VARIANTS_MAX = 100  # per product
STOCK_MAX = 10**9  # units of a SKU at a location
STOCK_REASON_CHARS_MAX = 200
LOCATIONS_MAX = 200
TRANSFER_LINES_MAX = 50  # SKUs in one transaction: clicks on them wait for it
LOCATION_STOCK_PAGE = 200  # SKUs
PRODUCTS_PAGE = 100
BUYER_NAME_CHARS_MAX = 100
EMAIL_CHARS_MAX = 254  # RFC 5321, section 4.5.3.1.3, less the brackets
ORDER_NOTE_CHARS_MAX = 500
PAYMENT_TIMEOUT_S = 45.0
CLAIM_TTL_S = 60  # a check-out that is not paid by then gives the units back
SWEEP_BATCH = 200  # holds a transaction
ANSWERS_FORGOTTEN_MAX = 200  # of those that were kept long enough, each second: clicks wait for who forgets them
CHANGES_BATCH_MAX = 16  # changes of carts a transaction: a check-out takes 1.2 ms of the loop, which others wait for
RECONCILE_INTERVAL_S = 60.0
FIGURES_WINDOW_S = 60
WAITLIST_MAX = 2_000  # places for one SKU
WAITLIST_PLACES_MAX = 10  # of one shopper
WAITLIST_BATCH = 50  # places served in one transaction, and told of their position
DROPS_MAX = 100  # of one show
REVENUE_PINS_MAX = 500  # of a show, the newest; what those before them sold is one row

# --- orders -----------------------------------------------------------------------------------------------------
PAYMENT_STEP_TIMEOUT_S = 20.0  # for a provider to answer a capture, a void or a refund; then it is asked again ...
PAYMENT_DELAYS_S = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200)  # ... so long after each failure
PAYMENT_LATE_S = 900  # an authorisation that was not heard of is waited for this long, then it is voided
PAYMENT_KEY_CHARS_MAX = 200
PAYMENT_REFERENCE_CHARS_MAX = 200
ORDERS_LISTED_MAX = 50  # per page
ORDER_REASON_CHARS_MAX = 200
AUDIT_LISTED_MAX = 200  # per page
AUDIT_SUBJECT_CHARS_MAX = 200
ADDRESS_LINE_CHARS_MAX = 100
POSTCODE_CHARS_MAX = 12
PHONE_CHARS_MAX = 30
SHIPPING_METHODS_MAX = 50
SHIPPING_COUNTRIES_MAX = 250  # of one method
SHIPPING_POSTCODES_MAX = 500  # prefixes, of one method
SHIPPING_LOCATIONS_MAX = 100  # of one method
SHIPPING_DAYS_MAX = 365
OPENINGS_MAX = 21  # of one location: three a day
WITHDRAWAL_TOKEN_TTL_S = 3600  # between its two steps
WITHDRAWALS_PER_S = 0.2  # tries to find an order, for one address: numbers must not be guessed
WITHDRAWALS_BURST = 10
LETTER_TIMEOUT_S = 30.0  # for a mail server to take one
LETTER_DELAYS_S = (10, 60, 300, 1_800, 7_200, 21_600, 43_200, 86_400)  # after each failure; then somebody must look
LETTERS_BATCH = 20  # sent in a row by one worker
POST_LOOK_S = 1.0  # between two looks for letters and payments that are due
TILL_TASKS_MAX = 64  # questions to the payment provider that are under way in one worker, besides check-outs
SELLER_TEXT_CHARS_MAX = 4000

# --- hand-off ---------------------------------------------------------------------------------------------------
HANDOFF_TTL_S = 1800  # for the merchant's own check-out to report; then the units are anybody's
EXTERNAL_NUMBER_CHARS_MAX = 64  # of an order in the merchant's books
INBOUND_TOLERANCE_S = 300  # between a webhook's timestamp and our clock, either way (Standard Webhooks)
INBOUND_ID_CHARS_MAX = 128
INBOUND_SIGNATURES_MAX = 10  # that one message carries: a secret that is being changed needs two

# --- pricing --------------------------------------------------------------------------------------------------
RULES_MAX = 200  # in force at once
RULE_CONDITIONS_MAX = 8
RULE_ACTIONS_MAX = 4
RULE_NAMES_MAX = 200  # SKUs, products, categories, channels, segments that one list of a rule names
RULE_ID_CHARS_MAX = 64
BUNDLE_PARTS_MAX = 8
COUPON_CHARS_MAX = 32
COUPONS_MAX = 5  # of one cart
CATEGORIES_MAX = 20  # of one product, those above them included
SEGMENTS_MAX = 50  # of one customer
HINTS_MAX = 3  # shown beside a cart; the nearest ones
HINT_NEAR_PERCENT = 50  # of a threshold must be reached before it is worth a hint
BUDGET_MINOR_MAX = 10**15
TAX_BP_MAX = 10_000  # basis points: 1900 is 19 %
QUOTE_TTL_S = 900
QUOTE_BYTES_MAX = 8 * 1024
LOWEST_PRICE_DAYS = 30  # PAngV, section 11
PRICE_HISTORY_KEPT_S = 120 * 24 * 3600  # of prices that are over; the last one of each SKU is kept for ever
CART_SHOPPERS_KEPT_S = 30 * 24 * 3600  # whose cart it is and its coupons, after the last change
PRICE_PRUNE_S = 6 * 3600  # between two rounds of forgetting
FORGOTTEN_PAGE = 500  # SKUs, or carts, that a transaction looks through for what is to be forgotten
BESIDE_KEPT_S = 60  # what stands beside the price of a click; screens and quotes that are asked for read it anew
BESIDE_KEPT_MAX = 1_024
PRICE_WRITING_S = 30  # for a page of the catalogue's prices to be written down; then another worker begins again
PRICE_WATCH_S = 1.0  # between two looks whether a window opened or closed; sooner when one is known to come
LIVE_PRICE_S_MAX = 24 * 3600
PRICED_SHOWS_MAX = 200  # that are not over, the newest: their screens hear when rules change
RULESETS_PAGE = 20
PRICE_CHANGES_PAGE = 100

# --- webhooks ---------------------------------------------------------------------------------------------------
WEBHOOK_ENDPOINTS_MAX = 50
WEBHOOK_URL_CHARS_MAX = 2000
WEBHOOK_TYPE_CHARS_MAX = 40
WEBHOOK_WANTED_S = 1.0  # a new endpoint gets what happens from this much later on; a worker looks no more often
WEBHOOK_LOOK_S = 0.5  # between two looks of an idle worker for something to send
WEBHOOK_GATHER_S = 0.02  # between two of its transactions that write down what became of messages
WEBHOOK_SECRET_BYTES = 32
WEBHOOK_PAYLOAD_BYTES_MAX = 20_000  # as Standard Webhooks advise
WEBHOOK_DELAYS_S = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)  # before each try; then it is dead
WEBHOOK_JITTER = 0.2  # of a delay, on top
WEBHOOK_TIMEOUT_S = 15.0  # for a whole exchange
WEBHOOK_LEASE_S = 60.0  # a worker that has not said by then what became of a message is taken to be dead
WEBHOOK_END_S = 2.0  # for answers to what is under way, when a worker ends
WEBHOOK_PARALLEL = 8  # messages of one endpoint that one worker sends at a time
WEBHOOK_SENDING_MAX = 64  # messages that one worker sends at a time
WEBHOOK_RESPONSE_BYTES_KEPT = 1024
WEBHOOK_SPREAD_BATCH = 200  # events a transaction
WEBHOOK_OVERLAP_S = 24 * 3600  # a secret signs this long beside its successor
WEBHOOK_OVERLAP_S_MAX = 7 * 24 * 3600
WEBHOOK_FAILING_S = 5 * 24 * 3600  # without one delivery, and the endpoint is disabled
WEBHOOK_BACKLOG_MAX = 100_000  # messages that wait for one endpoint; with more it is disabled
WEBHOOK_PAGE = 50  # deliveries
WEBHOOK_ATTEMPTS_SHOWN = 20  # of one delivery
WEBHOOK_REPLAY_MAX = 1_000  # messages asked for again in one request
WEBHOOK_COUNT_S = 10.0  # between two counts of what waits
WEBHOOK_PRUNE_S = 600.0  # between two rounds of forgetting
WEBHOOK_PRUNE_BATCH = 1_000  # rows a transaction

# --- feeds ------------------------------------------------------------------------------------------------------
FEED_BYTES_MAX = 4 * 1024**3  # unpacked
FEED_XML_DEPTH_MAX = 16  # elements inside each other
FEED_CHANGE_S = 0.015  # of a transaction that changes products: so long the clicks of a show wait for it
FEED_REST_S_MAX = 0.5  # between two pieces of a feed that a worker reads: as long as the piece took, at most this
FEED_CHANGE_LEAST = 10  # entries in one, however long they take
FEED_MISSING_SHARE_MAX = 0.5  # of what a feed has named; when more is missing, something is wrong with the feed
FEED_PAGE = 50  # SKUs that are looked at, and taken away, at a time
FEED_NAME_CHARS_MAX = 60
FEED_URL_CHARS_MAX = 2000
FEED_SOURCES_MAX = 50
FEED_INTERVAL_S_MIN = 60
FEED_INTERVAL_S_MAX = 7 * 24 * 3600
FEED_LOOK_S = 2.0  # between two looks of a worker for a source whose turn it is
FEED_LEASE_S = 60.0  # a worker that has not said by then that it reads is taken to be dead
FEED_BEAT_S = 2.0  # between two times that it says so, with how far it is
FEED_FETCH_S = 900.0  # for a whole feed to come
FEED_SILENT_S = 30.0  # without a byte, and it is given up; shorter than the lease
FEED_FETCH_BYTES_MAX = 1024**3  # as they come, packed or not
FEED_REDIRECTS_MAX = 3
FEED_BACKOFF_S_MIN = 60  # after a failure; doubled for each further one ...
FEED_BACKOFF_S_MAX = 6 * 3600  # ... up to this, or to the interval when that is longer
FEED_RUNS_KEPT = 100  # of each feed
FEED_RUNS_LISTED_MAX = 50  # per page
FEED_UPLOAD_BYTES_MAX = 1024**3
FEED_UPLOADS_MAX = 2  # that one worker takes and brings in at a time
FEED_EXPORTS_MAX = 2  # that one worker writes at a time

assert PAYMENT_TIMEOUT_S < CLAIM_TTL_S, "a payment must be answered before its units are given back"
assert PAYMENT_LATE_S > CLAIM_TTL_S, "a check-out ends before its payment is given up"
assert HOLD_TTL_S <= QUOTE_TTL_S, "a quote must outlive the hold that was shown with it"
assert FEED_BEAT_S * 4 < FEED_LEASE_S > FEED_SILENT_S, "a worker that lives has said so"
assert WEBHOOK_TIMEOUT_S * 2 < WEBHOOK_LEASE_S, "a worker that lives has said what became of a message"
