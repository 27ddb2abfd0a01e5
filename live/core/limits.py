"""Every bound of the product as a named constant with its unit; neighbours are asserted against each other.

A bound is here so that an operator finds all of them in one place; those of video and of commerce have pages of their
own (`limits_video`, `limits_commerce`). Nothing in the product grows without one.
"""

from live.core.limits_commerce import *  # noqa: F403
from live.core.limits_commerce import CHANGES_BATCH_MAX, SEGMENTS_MAX
from live.core.limits_video import *  # noqa: F403
from live.core.limits_video import EXPORT_BATCH_BYTES, UDP_DATAGRAM_BYTES_MAX

# --- requests -------------------------------------------------------------------------------------------------
HTTP_BODY_BYTES_MAX = 256 * 1024
HTTP_HEADER_BYTES_MAX = 32 * 1024  # a request's line, headers and trailers
HTTP_HEADERS_MAX = 100
HTTP_FEED_BYTES = 8 * 1024  # parsed between two looks at the bounds
HTTP_HEAD_TIMEOUT_S = 10.0
HTTP_BODY_TIMEOUT_S = 30.0  # for a body, or for each HTTP_BODY_BYTES_MAX of a longer one
HTTP_PIPELINED_MAX = 64  # requests that wait for the responses to earlier ones
HTTP_CONNECTIONS_MAX = 18_000  # of all kinds, per worker; more are refused before they have said anything
HTTP_UNFINISHED_MAX = 4_096  # of one address, per worker: connections that have not sent their first request yet
HTTP_STALL_S = 30.0  # a peer that does not take what was written to it
FORWARDED_HOPS_MAX = 8  # proxies in a row that are looked through
FORWARDED_CHARS_MAX = 2048  # read of what they say, from the end
ADDRESSES_REMEMBERED_MAX = 8192
SDP_BYTES_MAX = 64 * 1024
IDEMPOTENCY_KEY_CHARS_MAX = 128
IDEMPOTENCY_KEPT_S = 24 * 3600

# --- database --------------------------------------------------------------------------------------------------
DATABASE_POOL_SIZE = 10  # connections of one worker to PostgreSQL
DATABASE_READERS = 4  # reading connections to SQLite; it has one writer
DATABASE_WAIT_S = 10.0  # for a free connection or the write lock, then 503

# --- group commit ------------------------------------------------------------------------------------------------
LANE_BATCH_MAX = 128  # commands a transaction; a click that comes with it must not wait long for the others
LANE_CROWD = 32  # commands that are worth a transaction of their own at once; fewer wait for company, so that ...
LANE_SHARE = 0.1  # ... transactions of a lane take this much of the time at most, as long as they begin within ...
LANE_PACE_S = 0.1  # ... this after each other; clicks are answered this much later in the worst case ...
CHAT_PACE_S = 0.02  # ... and posts, which then wait for the next round of the screens as well
LANE_WAITING_MAX = 8192  # commands of one lane that are in no batch yet; more are refused with 503 ...
LANE_KEY_WAITING_MAX = 4096  # ... and so many of one key, so that a hot SKU leaves places for the others
HERE_S_MAX = 0.015  # what batches of a size took lately, for the next to be done by the loop itself and not a thread
CHANGES_HERE_MAX = 8  # changes of carts in a batch that the loop does itself: one may take 4 ms for a full cart
LANE_TELLING_MAX = 4  # committed batches whose news have not left yet; then the lane waits for the bus

# --- process -----------------------------------------------------------------------------------------------------
LISTEN_BACKLOG = 2048  # connections that wait for accept()
ACCEPTED_PER_TURN = 16  # of the loop: as much work as FANOUT_SLICE_S
SOCKET_UNSENT_BYTES_MAX = 64 * 1024  # kept by the kernel for a TCP connection; then it takes nothing more from us
HEALTH_CHECK_S = 2.0  # for one store to answer
SHUTDOWN_S = 5  # for requests that are under way when the process ends
WORKER_BACKOFF_S_MIN = 0.1  # before a worker that died is started again
WORKER_BACKOFF_S_MAX = 5.0
WORKER_STOP_S = 30.0  # for a worker to drain and end; then it is killed
WORKER_START_S = 30.0  # for the next worker of a rolling restart to answer; then the restart stops

# --- seeing ------------------------------------------------------------------------------------------------------
SIBLING_ANSWER_S = 1.0  # for another worker of the same machine to tell its figures
SIBLING_ANSWER_BYTES_MAX = 4 * 1024 * 1024
SIBLING_QUESTION_BYTES_MAX = 256
RECENT_INTERVAL_S = 2.0
RECENT_ROWS = 450  # a quarter of an hour
RECENT_SERIES_MAX = 400
DISK_LOOK_S = 15.0
READY_LOOK_S = 5.0
TRACES_END_S = 2.0  # for the last traces to leave when the process ends
TRACES_MAX = 100  # deliveries of one show that are followed at a time

# --- event loop -------------------------------------------------------------------------------------------------
LAG_PROBE_INTERVAL_S = 0.1

# --- tokens ---------------------------------------------------------------------------------------------------
GUESTS_PER_S = 50  # made over HTTP for one address; whole offices and mobile networks share one
GUESTS_BURST = 500
GUEST_TOKEN_TTL_S = 30 * 24 * 3600
TOKEN_TTL_S = 12 * 3600
TOKEN_BYTES_MAX = 4096
SECRET_CHARS_MIN = 16

# --- services and signed-in shoppers ----------------------------------------------------------------------------
SERVICE_KEYS_MAX = 100  # that are not revoked
SERVICE_KEY_BYTES = 32  # of entropy
SERVICE_KEY_FRESH_S = 2.0  # a worker believes so long what it knows of a key: a revoked one is refused by then
SERVICE_KEYS_REMEMBERED_MAX = 1_024  # per worker, those that are none of ours included
SERVICE_KEYS_TRIED_PER_S = 5.0  # keys that a worker does not know, from one address
SERVICE_KEYS_TRIED_BURST = 50
SERVICE_KEY_USED_S = 60  # its last use is written down no more often
SERVICE_KEY_LOOK_S = 5.0  # between two looks whether a use is to be written down
SERVICE_KEY_TTL_S_MIN = 60
SERVICE_KEY_TTL_S_MAX = 10 * 366 * 24 * 3600
SERVICE_KEY_OVERLAP_S = 24 * 3600  # after a rotation the key of before is good for so long ...
SERVICE_KEY_OVERLAP_S_MAX = 30 * 24 * 3600  # ... or what was asked for, up to this
SIGN_ON_TOKEN_BYTES_MAX = 8 * 1024
SIGN_ON_LEEWAY_S = 30  # that the shop's clock may differ
SIGN_ON_AGE_S_MAX = 24 * 3600  # that a setting may allow a shop's token to be old
SIGN_ON_TTL_S_MAX = 30 * 24 * 3600
SIGN_ON_ID_CHARS_MAX = 256  # of a token's jti
SIGN_ON_SEGMENTS_CHARS_MAX = 1_800  # all of one customer, so that they fit into a viewer's token
SIGN_ON_KEYS_MAX = 100  # that a shop publishes
SIGN_ON_KEYS_BYTES_MAX = 256 * 1024
SIGN_ON_KEYS_TIMEOUT_S = 5.0  # for the shop to tell them
SIGN_ON_KEYS_FRESH_S = 300.0  # then they are asked for again ...
SIGN_ON_KEYS_AGAIN_S = 10.0  # ... and sooner for a key that is not among them, or after a failure, but no more often
SIGN_ON_KEYS_KEPT_S = 24 * 3600  # while the shop does not answer
RSA_BITS_MIN = 2048
RSA_BITS_MAX = 8192
CHANGES_PER_S = 20  # over HTTP, of one shopper ...
CHANGES_BURST = 100
ADDRESS_CHANGES_PER_S = 500  # ... of one address; whole offices and mobile networks share one ...
ADDRESS_CHANGES_BURST = 2_000
STAFF_CHANGES_PER_S = 100  # ... of one of the staff ...
STAFF_CHANGES_BURST = 500
SERVICE_CHANGES_PER_S = 500  # ... and of one service key
SERVICE_CHANGES_BURST = 2_000
CHANGES_BUS_SLOW_S = 1.0  # for the bus to count one; then it hangs, each worker counts for itself, and asks again ...
CHANGES_BUS_AGAIN_S = 5.0  # ... this much later
COMMANDS_OF_ONE_PER_S = 60  # of one person, over all sockets to one worker ...
COMMANDS_OF_ONE_BURST = 120
COMMANDS_OF_ADDRESS_PER_S = 2_000  # ... and of one address
COMMANDS_OF_ADDRESS_BURST = 10_000

# --- realtime -------------------------------------------------------------------------------------------------
WS_MESSAGE_BYTES_MAX = 16 * 1024  # client → server
MESSAGE_LEVELS_MAX = 64  # of lists and objects within each other; more is malformed, on every interpreter
WS_CONNECT_TIMEOUT_S = 10.0
RETURNING_MAX = 256  # viewers who come back, looked up in one query
TOGETHER_INTERVAL_S = 0.02  # between two such fetches: at 250 viewers a second five come together
WS_PING_INTERVAL_S = 20.0
WS_PING_TIMEOUT_S = 20.0  # looked at when the next ping would be due
WS_PING_SLOT_S = 0.2  # between those who are pinged together and the next ones
WS_CONNECTIONS_MAX = 15_000  # per worker; a process may open 20,000 files
HANDSHAKES_PER_S = 1_000  # of a worker, sustained: about a third of a core
HANDSHAKES_BURST = 2_500
HANDSHAKES_PER_ADDRESS_WINDOW_S = 10.0  # an address may open as many sockets as it may have, and again so often
RETRY_AFTER_S_MAX = 60  # that a crowd is spread over
WS_FEED_BYTES = 4 * 1024  # parsed between two looks at the bounds; a read may bring 256 KB
WS_CONTROLS_MAX = 200  # pings and pongs of a client between two pings of ours
WS_CLOSING_BYTES_MAX = 16 * 1024  # still parsed after our close frame, to find the peer's
COMMANDS_PER_S = 20  # per socket, sustained
COMMANDS_BURST = 40
COMMANDS_REFUSED_MAX = 100  # a socket that goes on sending when refused this often is closed ...
COMMANDS_REFUSED_PER_S = 2.0  # ... unless it does so slower than this
RECOVER_COST = 5  # of a socket's commands: a recovery reads the history
MESSAGE_ID_CHARS_MAX = 64
BATCH_INTERVAL_S = 0.025
BATCH_INTERVAL_S_EASY = 0.1  # a large audience takes long to write to: up to this, batches grow and the load does not
BATCH_INTERVAL_S_MAX = 0.2  # however large it is: 10,000 viewers take 75 to 90 ms, and events are seen within 250 ms
BATCH_EVENTS_MAX = 1000  # waiting in one worker for one show; more, and its viewers take a snapshot
FANOUT_SHARE_EASY = 0.2  # of the loop's time, for one busy show, while rounds are BATCH_INTERVAL_S_EASY apart or less
FANOUT_SHARE_MAX = 0.75  # beyond that, as long as everything else leaves as much
FANOUT_SHARE_MIN = 0.25  # however much else there is to do ...
BATCH_INTERVAL_S_BUSY = 0.5  # ... and so rarely at most
LOOP_SHARE_MAX = 0.95  # of the loop's time for writing and everything else: a fuller loop makes everybody wait
FANOUT_SLICE_S = 0.002  # of writing, before other work gets the loop ...
FANOUT_TURNS_BETWEEN = 4  # ... for so many turns of it
SWITCH_INTERVAL_S = 0.0003  # so long a thread waits for a busy loop at each statement; Python's own is 5 ms
STATES_MAX = 2000  # newest values kept per show and worker
SNAPSHOT_KEPT_S = 1.0  # one build serves all who join meanwhile; they get what happened since on top
CHANNEL_LINGER_S = 10.0  # a show without viewers is kept this long: a reload finds it ready
PRESENCE_INTERVAL_S = 2.0
PRESENCE_TTL_S = 10.0
SHOWS_TICKED_MAX = 16  # that the bus is asked about at a time; a slow answer holds up no other show
PARTED_S = 10.0  # a viewer who left is counted this much longer, so that a reconnect is silent
NOTICES_HELD_MAX = 100  # for one viewer, while what is personal is read for it
REACH_TIMEOUT_S = 1.0  # wait for another worker's newer events before a snapshot is taken
VIEWER_RESUME_BYTES = 32 * 1024  # a skipped viewer is resynchronised when this little is left
WS_CLOSE_TIMEOUT_S = 5.0
STREAM_HEARTBEAT_S = 15.0  # a stream of events that is silent for longer is cut by many proxies
STREAM_SILENT_S = 40.0  # and given up when so long nothing that was written to it is acknowledged
STREAM_RETRY_MS = 2_000  # after which a stream's client may come back
POSTED_COMMANDS_MAX = 40  # in one request
POSTS_PER_S = 500  # of commands, for one address; whole offices share one
POSTS_BURST = 2_000
WS_FRAGMENTS_MAX = 32  # of one message
WS_FRAME_BYTES_MAX = 64 * 1024  # beyond it the parser itself gives up, with 1009
DRAIN_BATCH = 250  # sockets closed in a turn of the loop ...
DRAIN_BATCH_INTERVAL_S = 0.02  # ... and between two of them
RETRY_AFTER_FULL_S = 5
STATE_INTERVAL_S = 0.25  # newest wins, at most four a second
BATCH_BYTES_MAX = 64 * 1024
VIEWER_BACKLOG_BYTES_MAX = 256 * 1024  # past this a viewer is skipped until it drains
VIEWER_STALL_S_MAX = 10.0  # and closed when it has not drained by then
POSITION_INTERVAL_S = 30.0
DRAIN_WINDOW_S = 8.0  # clients of a worker that ends come back within it, each at a random time
DRAIN_S = 10.0  # for them to go over to workers that stay; then they are closed
DRAIN_LOOK_S = 0.25  # between two looks whether they have gone

# --- bus ------------------------------------------------------------------------------------------------------
HISTORY_EVENTS_MAX = 1000  # kept per show
HISTORY_TTL_S = 24 * 3600
RECOVERY_EVENTS_MAX = 300  # more than this behind: a fresh snapshot is cheaper
BUS_PAYLOAD_BYTES_MAX = 64 * 1024
BUS_CALL_BYTES_MAX = 512 * 1024  # of news that leave together; the server's other clients wait for 1 ms meanwhile
TELLING_NEWS_MAX = 256  # of a show in one call of the bus, unless one transaction has more
BUS_RETRY_S_MIN = 0.05
BUS_RETRY_S_MAX = 2.0
BUS_TIMEOUT_S = 5.0  # for one answer of the server
BUS_HURRY_S = 2.0  # by calls that are worth little when they are late; a busy loop alone must not reach it
BUS_PULSE_S = 5.0  # a silent connection is asked this often, and given up after two unanswered
BUS_CONNECTIONS_MAX = 32
BUS_KEY_KEPT_S = 300
BUS_EPOCHS_KNOWN_MAX = 10_000  # channels of which one worker remembers the epoch
BUS_EPOCHS_TRIED_MAX = 3  # an event meets another epoch than expected this often, then its viewers take a snapshot
BUS_CONFIRM_S = 20.0  # then a server that was replaced takes nothing any more: a cluster's default is 15 s to notice
BUS_CONFIRMS_MAX = 10_000  # (show, epoch) of which one worker remembers what it published last
COUNTS_KEPT_S = 7 * 24 * 3600  # sums that workers count together, after the last change
LEASE_REMEMBERED_S = 24 * 3600  # after it has run out: its fence goes on from there
ROLL_BEAT_S = 1.0  # each worker says this often that it is there
ROLL_TTL_S = 3.0  # whoever says nothing for this long has ended uncleanly ...
ROLL_SILENCE_S = 2.0  # ... unless nobody could be heard for this long
SHOWS_RENEWED_MAX = 10_000  # after an unclean end: those on air first, then the newest
SHOWS_OVER_RENEWED_MAX = 100  # and of those that are over, the last ones
CLUSTER_LOOK_S = 3.0  # between two looks at who owns which slots, give or take a fifth
CLUSTER_LOOK_S_MIN = 0.1  # when something speaks against what is known; doubled while it goes on ...
CLUSTER_DOUBTED_S_MAX = 0.5  # ... up to this
CLUSTER_ASK_TIMEOUT_S = 1.0  # for one server to tell; then the next one is asked
CLUSTER_VIEW_S_MAX = 10.0  # without a newer view, an older one is believed
CLUSTER_REDIRECTS_MAX = 5  # of one command, in a row
CLUSTER_RETRY_S_MIN = 0.02  # before a command that the cluster could not serve is sent again
CLUSTER_RETRY_S_MAX = 0.25
SPEAKER_BYTES_MAX = 1024 * 1024  # of one worker's media, sent to the bus and not answered yet; more is dropped
VALKEY_MEMORY_BYTES_MAX = 256 * 1024 * 1024
VALKEY_START_TIMEOUT_S = 10.0
VALKEY_STOP_TIMEOUT_S = 5.0
VALKEY_RESTART_BACKOFF_S_MIN = 0.1
VALKEY_RESTART_BACKOFF_S_MAX = 5.0

# --- shows ----------------------------------------------------------------------------------------------------
LINEUP_MAX = 200
TITLE_CHARS_MAX = 140
SHOW_ID_CHARS_MAX = 64
SHOWS_LISTED_MAX = 100  # per page
TIMELINE_EVENTS_LISTED_MAX = 500  # per page
STREAM_KEYS_MAX = 20  # that are not revoked, per show
LABEL_CHARS_MAX = 60
PRODUCT_ID_CHARS_MAX = 128
TIME_MS_MAX = 253_402_300_799_999  # the end of the year 9999

# --- chat -----------------------------------------------------------------------------------------------------
CHAT_TEXT_BYTES_MAX = 1000
CHAT_TEXT_GRAPHEMES_MAX = 280
CHAT_HISTORY_SHOWN = 50
CHAT_MARKS_PER_BASE_MAX = 4  # combining marks on one base character
CHAT_RATE_PER_S = 1.0
CHAT_RATE_BURST = 5
CHAT_SHOWN_PER_S = 25  # messages of viewers that the screens of one show get, over all workers ...
CHAT_SHOWN_BURST = 50  # ... and so many at once; the rest is stored, and told to the staff
CHAT_FAST_MS = 5000  # after a message was left out, screens say this long that the chat is fast
CHAT_ROOMS_MAX = 1_024  # shows that a worker remembers having written in; quiet ones are forgotten first
CHAT_SUSPECTS_MAX = 4096  # viewers per show and worker who were refused lately and are judged before they cost anything
CHAT_LEFT_OUT_TOLD_MAX = 32  # messages of it in one notice
SLOW_MODE_S_MAX = 600
TIMEOUT_S_MAX = 14 * 24 * 3600
REACTIONS_PER_S = 5.0  # of one viewer on one worker
REACTIONS_BURST = 20
REACTORS_MAX = 16_384  # viewers of a worker remembered for it
REACTION_FLUSH_S = 0.25  # between two calls of the bus that bring a show's counts together
REACTION_RETRY_S_MAX = 5.0
REACTION_SHOWS_MAX = 1_024  # shows that a worker counts at the same time
REACTIONS_IDLE_S = 600.0  # a show's count on a worker is given up after this long without a reaction
VIEWER_NAME_GRAPHEMES_MAX = 24
VIEWER_NAME_BYTES_MAX = 200
VIEWER_ID_CHARS_MAX = 128
CHAT_REASON_GRAPHEMES_MAX = 140
CHAT_REASON_BYTES_MAX = 600
MODERATION_LOG_LISTED_MAX = 100  # per page

assert LANE_BATCH_MAX <= LANE_KEY_WAITING_MAX < LANE_WAITING_MAX, "a hot SKU must leave places for the others"
assert LANE_CROWD <= LANE_BATCH_MAX
assert CHANGES_BATCH_MAX <= LANE_CROWD, "a crowd of changes must not wait for the pace"
assert CHAT_PACE_S + BATCH_INTERVAL_S_MAX <= 0.25, "what is written is seen within 250 ms"
assert RECOVERY_EVENTS_MAX <= HISTORY_EVENTS_MAX, "a recovery must fit into the history"
assert WS_MESSAGE_BYTES_MAX <= BUS_PAYLOAD_BYTES_MAX, "what a viewer may send must fit through the bus"
assert CHAT_TEXT_BYTES_MAX < WS_MESSAGE_BYTES_MAX
assert CHAT_LEFT_OUT_TOLD_MAX * (CHAT_TEXT_BYTES_MAX + VIEWER_NAME_BYTES_MAX + 512) < BUS_PAYLOAD_BYTES_MAX
assert BATCH_BYTES_MAX < VIEWER_BACKLOG_BYTES_MAX, "one batch must never make a healthy viewer look slow"
assert BATCH_INTERVAL_S < BATCH_INTERVAL_S_EASY < BATCH_INTERVAL_S_MAX < STATE_INTERVAL_S
assert FANOUT_SHARE_EASY < FANOUT_SHARE_MAX < LOOP_SHARE_MAX, "the rest of the loop is for commands"
assert WS_MESSAGE_BYTES_MAX < WS_FRAME_BYTES_MAX
assert VIEWER_RESUME_BYTES < VIEWER_BACKLOG_BYTES_MAX
assert BATCH_BYTES_MAX <= SOCKET_UNSENT_BYTES_MAX, "an ordinary batch leaves in one go"
assert PRESENCE_INTERVAL_S * 3 < PRESENCE_TTL_S, "two lost beats must not make viewers vanish"
assert RECOVER_COST <= COMMANDS_BURST
assert EXPORT_BATCH_BYTES + UDP_DATAGRAM_BYTES_MAX < BUS_PAYLOAD_BYTES_MAX < SPEAKER_BYTES_MAX
assert DRAIN_WINDOW_S + 2 <= DRAIN_S, "who comes over last needs a moment to be connected"
assert DRAIN_S + WS_CLOSE_TIMEOUT_S + SHUTDOWN_S + 5 < WORKER_STOP_S, "a worker that drains must not be killed for it"
assert STREAM_HEARTBEAT_S * 2 < STREAM_SILENT_S <= 60.0, "one lost comment is no lost viewer"
assert POSTED_COMMANDS_MAX <= COMMANDS_BURST
assert WS_PING_INTERVAL_S + WS_PING_TIMEOUT_S <= 60.0, "proxies cut sockets that are idle for a minute"
assert HANDSHAKES_BURST + HANDSHAKES_PER_S * 3 >= 5_000, "5,000 viewers within ten seconds, most of them at once"
assert HANDSHAKES_BURST <= WS_CONNECTIONS_MAX < HTTP_CONNECTIONS_MAX < 20_000, "files that a process may open"
assert LISTEN_BACKLOG < HTTP_UNFINISHED_MAX < HTTP_CONNECTIONS_MAX / 4, "a burst passes, and no address takes all"
assert HTTP_FEED_BYTES <= HTTP_HEADER_BYTES_MAX, "a bound is only seen between two pieces"
assert TOKEN_BYTES_MAX < HTTP_HEADER_BYTES_MAX
assert SERVICE_KEY_FRESH_S * 5 <= SERVICE_KEY_USED_S, "a key is read more often than its use is written down"
assert SIGN_ON_KEYS_TIMEOUT_S < SIGN_ON_KEYS_AGAIN_S < SIGN_ON_KEYS_FRESH_S < SIGN_ON_KEYS_KEPT_S
assert (
    SIGN_ON_SEGMENTS_CHARS_MAX + 3 * SEGMENTS_MAX + 4 * VIEWER_ID_CHARS_MAX + VIEWER_NAME_BYTES_MAX + 256
) * 4 / 3 < TOKEN_BYTES_MAX, "all that is known of a customer fits into a token"
assert CHANGES_PER_S < STAFF_CHANGES_PER_S < SERVICE_CHANGES_PER_S
assert COMMANDS_BURST < COMMANDS_OF_ONE_BURST < COMMANDS_OF_ADDRESS_BURST
