"""The bounds of video, which are many; a page of `live.core.limits`, from where they are imported."""

# --- video ----------------------------------------------------------------------------------------------------
SDP_LINES_MAX = 1000  # a browser's offer has about 200
SDP_SECTIONS_MAX = 8
SDP_CODECS_MAX = 128  # per section: there are no more payload types
SIMULCAST_LAYERS_MAX = 3  # taken up of an offer
RID_CHARS_MAX = 16  # what a header extension of one byte can carry
PICTURE_SIDE_MAX = 16384  # pixels; more is garbage
NACK_SEQUENCES_MAX = 1024  # read of one datagram; browsers remember 1000 losses
UDP_DATAGRAM_BYTES_MAX = 1500
UDP_READ_BURST = 64  # datagrams taken from the socket before the loop is given back
RTP_PROTECT_BYTES_MAX = 1356  # pylibsrtp refuses larger ones
GOP_PACKETS_MAX = 2048
GOP_BYTES_MAX = 2 * 1024 * 1024
GOP_AGE_S_MAX = 10.0
PLI_INTERVAL_S = 0.5  # per publisher, however many viewers ask
NACK_GRACE_S = 0.005  # packets that overtook each other sort themselves out in this time
NACK_INTERVAL_S = 0.02  # between two requests for a packet, however near the host is
NACK_INTERVAL_S_MAX = 0.25  # or its round trip, when that is longer
NACK_ATTEMPTS_MAX = 5
NACK_PENDING_MAX = 256
REORDER_WINDOW_PACKETS = 512
RESYNC_PACKETS = 16  # in a row and too late: the host's numbers have jumped back
RTT_S_START = 0.1  # until it was measured
RTT_S_MAX = 2.0
SSRCS_RETIRED_KEPT = 16  # per publisher, whose stragglers are refused
LAYER_SILENT_S = 1.5  # without a packet a layer counts as not sent
GUESSED_BITS_PER_PIXEL_S = 2  # of a layer that has not been measured yet
REMB_INTERVAL_S = 1.0
REMB_BITS_PER_S_MAX = 4_000_000  # for one video stream
REMB_SIMULCAST_BITS_PER_S_MAX = 6_000_000  # for all its layers together
PEER_DEAD_S = 10.0  # no valid packet for this long: the peer is gone
ADDRESS_QUIET_S = 3.0  # a session that is silent for this long no longer owns its address
HANDSHAKE_TIMEOUT_S = 10.0
CONSENT_EXPIRY_S = 30.0  # RFC 7675, section 5.1
SUBSCRIBERS_MAX = 1000  # per worker
RELAY_SLICE_S = 0.002  # the relay gives the loop back at least this often
RELAY_QUEUE_PACKETS_MAX = 1024  # waiting per show; more means the worker is overloaded, and video is dropped
RELAY_BATCH_PACKETS_MAX = 16  # sent to one viewer before the next viewer's turn
RELAY_STEP_PACKETS = 64  # sent between two looks at the clock: about 0.35 ms
SENDER_REPORTS_KEPT = 16  # to recognise them in the viewers' reports
JOIN_BURST_PACKETS = 16  # of the cached picture, to a joining viewer, per ...
JOIN_INTERVAL_S = 0.004  # ... this much: about 38 Mbit/s
GOP_FRESH_S = 2.0  # an older keyframe is played to a joining viewer, and a new one is asked for
JOIN_PATIENCE_S = 0.1  # how long a joining viewer waits for that one before it is shown the older one
RETRANSMISSIONS_PER_S = 500  # per viewer, sustained
RETRANSMISSIONS_BURST = 256
RETRANSMISSIONS_PER_PACKET_MAX = 3  # per viewer
RETRANSMISSIONS_REMEMBERED = 1024  # packets per viewer
RETRANSMISSIONS_WAITING_MAX = 8192  # per show
RETRANSMISSION_INTERVAL_S = 0.1  # between two of the same packet, where the viewer's round trip is not known
RETRANSMISSION_INTERVAL_S_MIN = 0.02
SOUND_PACKETS_KEPT = 512  # for retransmission: ten seconds
GOP_HOLE_PACKETS_MAX = 256  # a wider gap in a layer is no loss that will be repaired
PACE_PACKETS = 16  # of one layer, to each viewer, per ...
PACE_INTERVAL_S = 0.004  # ... this much: about 38 Mbit/s
PACE_QUEUE_PACKETS_MAX = 256  # a show that is further behind is not paced
SOUND_GRACE_S = 0.05  # how long sound that the kernel did not take is offered again
SOUND_GRACE_PACKETS_MAX = 4  # per viewer
SELECT_INTERVAL_S = 0.25  # between two looks at which layer suits a viewer
FREEZE_S = 0.5  # a viewer without a picture for longer is counted as frozen
PUBLISHERS_MAX = 64  # per worker
PEER_ADDRESSES_MAX = 8  # validated addresses kept per peer
AMPLIFICATION_MAX = 3  # bytes to an address that has proved nothing, for each from it (RFC 9000, section 8.1)
PATH_CHECK_INTERVAL_S = 0.05  # between two checks of ours of one address (Ta of RFC 8445, section 14.2)
MOVED_PACKETS = 3  # authenticated ones in a row from another proved address: the far end has moved there
HANDSHAKES_MAX = 512  # sessions of a worker that are not secured yet ...
HANDSHAKE_GRACE_S = 2.0  # ... and which keep their place this long when there are more
MEDIA_CALLS_PER_S = 200  # about sessions that there are, for one address; each may be a call to another worker
MEDIA_CALLS_BURST = 2000
MEDIA_POSTS_PER_S = 50  # WHIP and WHEP offers of one address to one worker; whole offices share one
MEDIA_POSTS_BURST = 500
MEDIA_POSTERS_MAX = 8192  # addresses remembered for it
TURN_CREDENTIAL_TTL_S = 6 * 3600
PICTURE_LINES_MAX = 8192  # what a viewer may ask for at most
PEER_SWEEP_INTERVAL_S = 0.5
DTLS_QUEUE_DATAGRAMS_MAX = 16  # per peer, before and after the handshake
DTLS_DATAGRAM_BYTES_MAX = 1200  # sent: fits through every path that carries QUIC and WebRTC
HANDSHAKE_DATAGRAMS_MAX = 128  # received by one peer in one handshake; an ordinary one takes 2
HANDSHAKE_SLICE_S = 0.001  # of handshakes, before other work gets the loop; one step takes 0.2 ms
CERTIFICATE_TTL_S = 30 * 24 * 3600  # of a worker; far ends compare fingerprints, not dates
DTLS_REPEATS_MAX = 16  # of the last flight, to a far end that repeats its own
HANDSHAKE_RESEND_S_MIN = 0.1  # a flight that is not answered is sent again after this, and after twice as long ...
HANDSHAKE_RESEND_S_MAX = 1.0  # ... up to this
SRTP_REPLAY_WINDOW = 1024  # packets
EARLY_DATAGRAMS_MAX = 32  # SRTP per peer, kept until the handshake is done
UDP_BUFFER_BYTES = 4 * 1024 * 1024  # asked of the kernel, each way; it may grant less
MEDIA_TICK_S = 0.02
MEDIA_REPORT_INTERVAL_S = 1.0  # receiver reports upstream, statistics to the studio
REMB_BITS_PER_S_START = 2_500_000
REMB_SIMULCAST_BITS_PER_S_START = 3_500_000
REMB_HURRY_S = 0.2  # a path that fills up is told of at once, but not more often than this
REMB_BITS_PER_S_MIN = 150_000
SWITCHES_KEPT = 16  # stretches between a viewer's switches of layers whose packets can be sent again
ALIGNMENT_CORRECTION_S_MAX = 2.0  # a sender report that moves a layer further is not believed
ALIGNMENT_STALE_S = 5.0  # without a sender report of the layer that speaks for the line, another one does
START_BITS_PER_S = 1_200_000  # what a new viewer's path is taken to carry
LAYER_QUIET_S = 3.0  # at the least between two steps up
LAYER_SETTLE_S = 1.5  # after a step down, reports still speak of the time before it
CALM_LOSS_MAX = 0.02  # a path that loses more than this is not calm
REMB_STALLED_S = 2.5  # below the rate that is sent, and not rising for this long: the path carries no more
ROUND_TRIPS_KEPT = 60  # of a viewer, about one a second, to know what is usual
JITTER_S_MAX = 0.1  # round trips that differ by more are not taken for usual
REPORT_WINDOW_S = 0.9  # of a viewer's reports: its loss is counted over it
RETREAT_PATIENCE_S = 1.0  # a layer that is a little too much goes on while the lower one's keyframe is awaited
ROUND_TRIP_INTERVAL_S = 0.4  # a viewer's round trip is taken no more often, whatever the host reports
QUEUEING_S_MAX = 0.03  # a path whose round trip is longer than usual by this is not tried with more
CONGESTION_FORGOTTEN_S = 2.5  # without another sign of it
TRIAL_S = 5.0  # after a step up, the first signs of congestion speak against it
TRIAL_PASSED_S = 20.0  # a layer that is sent this long without congestion fits
TRIAL_WAIT_S_MIN = 6.0  # before a layer that did not fit is tried again; doubled with each failure ...
TRIAL_WAIT_S_MAX = 8.0  # ... up to this, so that a viewer is back on the best of three layers 15 s after relief
AUDIO_ONLY_AFTER_S = 6.0  # when not even the lowest layer fits, by far
AUDIO_ONLY_AGAIN_S = 2.0  # the same when it has just been tried again
AUDIO_ONLY_WAIT_S_MAX = 30.0  # before video is tried again

# --- video between workers ------------------------------------------------------------------------------------
EXPORT_INTERVAL_S = 0.005  # packets of a layer wait no longer for company on the bus
EXPORT_BATCH_BYTES = 24 * 1024  # and not for more than this
EDGES_MAX = 256  # workers that take a show from one other
DEMAND_INTERVAL_S = 1.0  # an edge says this often what it wants, and an origin what there is
DEMAND_TTL_S = 3.5  # whoever says nothing for this long is gone
CALL_TIMEOUT_S = 3.0  # for the worker that owns a media session to answer for it
CALLS_MAX = 256  # that a worker answers at a time
LEASE_TTL_S = 1.2  # of the stage; longer, and a backup waits longer for a worker that died
LEASE_RENEWAL_S = 0.3
LEASE_PATIENCE_S = 1.0  # for an answer; without one a worker decides by itself
CASTING_INTERVAL_S = 0.2  # between two looks at who should be on air
STALL_S = 1.0  # a publisher that sends nothing for this long may be replaced by one that stands by
STEADY_S = 2.0  # the primary must have sent without a stall for this long before it replaces a backup
SLATE_S = 2.0  # without a packet for this long nobody publishes, as far as viewers are told
REACH_SHOW_S = 1.5  # for another worker to answer to the first viewer of its show here
VACANCY_S = 0.5  # a publisher's end is told after this, so that a backup elsewhere can come first
HAND_OVER_S = 1.5  # ... and of a worker that ends after this: its publishers were asked to go to another one
CENSUS_INTERVAL_S = 2.0  # between two looks for shows whose worker died

assert PEER_DEAD_S < CONSENT_EXPIRY_S
assert HANDSHAKE_GRACE_S < HANDSHAKE_TIMEOUT_S, "who never comes must give way before it times out"
assert MEDIA_POSTS_BURST <= HANDSHAKES_MAX, "one address must not fill the worker with handshakes"
assert ADDRESS_QUIET_S < PEER_DEAD_S, "an address must be free before its last session is found dead"
assert PEER_SWEEP_INTERVAL_S * 4 < PEER_DEAD_S, "the sweep must not eat the time it has to find a dead peer in"
assert GOP_PACKETS_MAX & (GOP_PACKETS_MAX - 1) == 0, "the packet cache is indexed by the low bits of a sequence number"
assert RETRANSMISSIONS_BURST < GOP_PACKETS_MAX
assert SOUND_PACKETS_KEPT & (SOUND_PACKETS_KEPT - 1) == 0, "as above"
assert PACE_QUEUE_PACKETS_MAX < RELAY_QUEUE_PACKETS_MAX, "pacing must never be what overloads a show"
assert MEDIA_TICK_S < SOUND_GRACE_S, "sound is offered again at each tick"
assert RELAY_BATCH_PACKETS_MAX <= RELAY_STEP_PACKETS
assert REMB_BITS_PER_S_MIN < REMB_BITS_PER_S_START < REMB_BITS_PER_S_MAX
assert REMB_BITS_PER_S_START <= REMB_SIMULCAST_BITS_PER_S_START < REMB_SIMULCAST_BITS_PER_S_MAX
assert NACK_GRACE_S < NACK_INTERVAL_S < NACK_INTERVAL_S_MAX < RTT_S_MAX
assert NACK_PENDING_MAX < REORDER_WINDOW_PACKETS, "what is asked for must be taken when it comes"
assert LAYER_SETTLE_S < TRIAL_S < TRIAL_PASSED_S
assert TRIAL_WAIT_S_MIN < TRIAL_WAIT_S_MAX < TRIAL_PASSED_S, "a wait must outlive no trial"
assert TRIAL_WAIT_S_MAX + LAYER_QUIET_S < 13.0, "two steps up, with their keyframes, must take less than 15 s"
assert LAYER_SETTLE_S < CONGESTION_FORGOTTEN_S < LAYER_QUIET_S
assert RTP_PROTECT_BYTES_MAX < UDP_DATAGRAM_BYTES_MAX
assert DEMAND_INTERVAL_S * 3 < DEMAND_TTL_S, "two lost messages must not stop the picture"
assert LEASE_RENEWAL_S * 3 < LEASE_TTL_S
assert LEASE_TTL_S + 2 * CASTING_INTERVAL_S < 2.0, "a backup is on air within two seconds of the worker's death"
assert STALL_S + 2 * CASTING_INTERVAL_S < SLATE_S, "viewers see a backup rather than the slate"
assert LEASE_TTL_S < CENSUS_INTERVAL_S
