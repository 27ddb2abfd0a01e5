"""One viewer of a show as the relay sees it, and the groups of those who get the same bytes.

    SILENT ──a──▶ WAITING ──b──▶ LIVE ◀──┐
       ▲             │ c          │ e    │ d
       └──f──────────┼────────────┤      │
                     └─▶ WALKING ─┴──────┘

a  a layer was chosen for it                          d  its walk through the cache has reached the newest packet
b  a keyframe of the layer began                      e  another layer was chosen: it waits while the old one goes on
c  the cache has a keyframe that will do              f  audio only was chosen, or a lower layer, and the path carries
                                                         far too little: no more of the old one

`target` is the layer it waits for (None in WALKING, SILENT and LIVE without e), `cursor` the next packet of its walk,
`numbering.current.layer` what it is sent.
"""

from collections import deque
from collections.abc import Iterable
from enum import Flag, auto

from live.core.limits import FREEZE_S
from stream.downstream.cache import Entry
from stream.downstream.layers import Mark, Numbering, Translation
from stream.downstream.lines import translated
from stream.downstream.reports import Reports
from stream.downstream.retransmission import Allowance
from stream.downstream.selection import Selector
from stream.feed import AUDIO
from stream.transport.peers import Peer
from stream.wire.codecs import Codec
from stream.wire.rtp import with_payload_type


class Lack(Flag):
    """Why a viewer has no picture."""

    KEYFRAME = auto()  # it waits for one, or cannot decode without one what it gets
    PACKETS = auto()  # nothing of what it is sent arrives


class Subscriber:
    """One viewer. Times are monotonic seconds."""

    def __init__(self, peer: Peer, codecs: dict[str, tuple[Codec, ...]], now: float = 0.0) -> None:
        """`codecs` is what the viewer can play, by kind; a kind that it did not ask for is absent."""
        self.peer = peer
        self.group: Group | None = None  # None: it has left, or cannot play what is sent
        self.protect = peer.protect
        self.codecs = codecs
        self.payload_types: tuple[int | None, int | None] = (None, None)  # of video and audio, as it calls them now
        self.seated: tuple[Codec | None, Codec | None] | None = None  # what was sent when they were found
        self.rtx: int | None = None  # the payload type of its video's retransmissions; None: in the stream itself
        self.rtx_sequence = 0
        self.told_at = now  # by a sender report out of turn; what answers an earlier one tells no round trip
        self.first_sound = 0  # no sound before this may be sent again: SRTP's counter began here
        # Its video
        self.numbering = Numbering()
        self.first_video = 0  # its present run of numbers begins with this of the relay
        self.selector = Selector()
        self.max_height: int | None = None  # of the largest picture that it wants, its shorter side; None: the best
        self.target: int | None = None
        self.patience_at = 0.0  # when an old keyframe is better than none
        self.retreats = False  # `target` is lower, because of the path
        self.outdated = 0  # what is below this number, as it sees them, was too much for its path
        self.shift = 0  # its clock against the relay's, in timestamps, as its sender reports have it
        self.cursor: int | None = None
        self.walked: Mark | None = None  # the last packet of its walk
        self.shown: int | None = None  # the timestamp, as it saw it, of what it was sent last before its video stopped
        self._dark_since: float | None = None  # wants a picture and gets none
        self._lacks = Lack(0)
        # What the kernel did not take
        self.troubled = False  # it needs a look at each packet: it skips video, or there is sound to send
        self.skipping = False  # video up to the end of the frame
        self.late: deque[tuple[float, bytes]] = deque()  # sound, and until when it is worth sending
        # Its path
        self.allowance = Allowance()
        self.reports = Reports()
        self.loss: float | None = None
        self.rtt_s: float | None = None
        self.jitter_s: float | None = None
        self.dropped = 0
        self.freezes = 0

    @property
    def layer(self) -> int | None:
        """The layer that it is sent; None: no video."""
        return self.numbering.current.layer

    @property
    def wanted(self) -> int | None:
        """The layer that it waits for or, if none, that it is sent; None: no video."""
        return self.layer if self.target is None else self.target

    def dark(self, lack: Lack, since: float) -> None:
        """It has had no picture since then, for this reason too."""
        self._lacks |= lack
        self._dark_since = since if self._dark_since is None else min(since, self._dark_since)

    def lit(self, lack: Lack, now: float) -> None:
        """It lacks this no more."""
        if self._dark_since is not None and lack in self._lacks:
            self._lacks &= ~lack
            if not self._lacks:
                self.freezes += now - self._dark_since > FREEZE_S
                self._dark_since = None

    def content(self) -> None:
        """It is not meant to have a picture."""
        self._lacks, self._dark_since = Lack(0), None

    def frozen(self, now: float) -> bool:
        """Whether it has been without a picture for longer than FREEZE_S."""
        return self._dark_since is not None and now - self._dark_since > FREEZE_S


class Group:
    """Viewers who get the same bytes: they call the codecs alike, and their video's numbers differ by the same offsets.

    A payload type that is None is of a kind that they do not get.
    """

    def __init__(self, translation: Translation, video: int | None, audio: int | None) -> None:
        self.key = (translation, video, audio)
        self.translation = translation
        self.video = video
        self.audio = audio
        self._periods = (0, 0)  # of 2^16 numbers, in which the newest member's video and sound began
        self._members: dict[Subscriber, None] = {}
        self._listed: tuple[Subscriber, ...] | None = ()

    def add(self, subscriber: Subscriber) -> None:
        """Take in a viewer."""
        self._members[subscriber] = None
        video, sound = self._periods
        self._periods = (max(video, subscriber.first_video >> 16), max(sound, subscriber.first_sound >> 16))
        self._listed = None

    def discard(self, subscriber: Subscriber) -> None:
        """Take out a viewer, if it is here."""
        self._members.pop(subscriber, None)
        self._listed = None

    def __bool__(self) -> bool:
        """Whether there is anybody; to list the members at every leave would cost their square."""
        return bool(self._members)

    @property
    def members(self) -> tuple[Subscriber, ...]:
        """All viewers as they are now; a running batch keeps its own."""
        if self._listed is None:
            self._listed = tuple(self._members)
        return self._listed

    def translate(self, entries: Iterable[Entry]) -> list[bytes]:
        """The packets of `entries` that are for this group, as it gets them.

        A late packet from before a wrap of the 16-bit numbers goes to nobody when somebody began after it: that one's
        SRTP would take it for the future, and its counter would be wrong for good (RFC 3711, section 3.3.1).
        """
        packets = []
        first, (video_period, sound_period) = self.translation.first, self._periods
        translation, layer, video, audio = self.translation, self.translation.layer, self.video, self.audio
        for entry in entries:
            if entry.layer == AUDIO:
                if audio is not None and entry.mark.sequence >> 16 >= sound_period:
                    same = entry.packet[1] & 0x7F == audio
                    packets.append(entry.packet if same else with_payload_type(entry.packet, audio))
            elif entry.layer == layer and video is not None:
                # Numbers below the first are taken; without it the viewers' numbers are the relay's.
                if entry.mark.sequence >= first and (first or entry.mark.sequence >> 16 >= video_period):
                    packets.append(translated(entry, translation, video))
        return packets
