"""Who is sent what: the viewers of one show in their groups, and their moves between layers.

States and moves are those of `subscribers`. Two rules keep each viewer's numbers unique (SRTP would otherwise
use its key stream twice): a viewer's `Numbering` is moved only here, always with the position that it has really
reached; and a batch that is being sent goes to those who were there when it began, whatever moves happen meanwhile.
"""

from collections.abc import Callable, Iterator

from live.core.limits import GOP_AGE_S_MAX, GOP_FRESH_S, JOIN_PATIENCE_S, RELAY_STEP_PACKETS, RETREAT_PATIENCE_S
from stream.downstream.layers import NO_VIDEO, Mark, Translation
from stream.downstream.lines import Outgoing
from stream.downstream.selection import ranked
from stream.downstream.subscribers import Group, Lack, Subscriber
from stream.feed import LayerState
from stream.wire.codecs import nearest

LIPS_TICKS = 900  # of the video's clock, 10 ms: nobody sees less between lips and sound


class Audience:
    """The viewers of one show. `now` is monotonic seconds."""

    def __init__(self, video: Outgoing, sound: Outgoing, ask: Callable[[int], None]) -> None:
        """`ask` is called with a layer of which a keyframe is needed."""
        self.members: dict[Subscriber, None] = {}
        self.walkers: dict[Subscriber, None] = {}
        self.groups: dict[tuple[Translation, int | None, int | None], Group] = {}
        self.states: tuple[LayerState, ...] = ()
        self._video = video
        self._sound = sound
        self.shifted: dict[Subscriber, None] = {}
        """Whose clock is another one now than their last sender report said."""
        self.unsettled: dict[Subscriber, None] = {}
        """Whose layer is gone with the last source, and whose selectors have not been asked since."""
        self._ask = ask
        self._waiting: dict[int, dict[Subscriber, None]] = {layer: {} for layer in video.lines}

    @property
    def watched(self) -> frozenset[int]:
        """The layers that somebody is sent or waits for."""
        sent = {group.translation.layer for group in self.groups.values() if group.video is not None} - {None}
        walked = {viewer.layer for viewer in self.walkers}
        return frozenset(sent | walked | {layer for layer, waiting in self._waiting.items() if waiting})  # type: ignore[arg-type]

    @property
    def awaited(self) -> list[int]:
        """The layers of which a keyframe is waited for."""
        return [layer for layer, waiting in self._waiting.items() if waiting]

    @property
    def restless(self) -> bool:
        """Whether somebody is to be settled, or told of its clock."""
        return bool(self.shifted or self.unsettled)

    # --- coming and going ---------------------------------------------------------------------------------------

    def join(self, viewer: Subscriber, now: float) -> bool:
        """Take in a viewer; False when it cannot play what is sent now."""
        if not self._seat(viewer):
            return False
        self.members[viewer] = None
        viewer.first_sound = self._sound.lines[-1].cache.head
        self._place(viewer)
        self.choose(viewer, now)
        return True

    def leave(self, viewer: Subscriber) -> None:
        """Take out a viewer; leaving twice does no harm. A batch that is being sent may still reach it."""
        self.members.pop(viewer, None)
        self.walkers.pop(viewer, None)
        self.shifted.pop(viewer, None)
        self.unsettled.pop(viewer, None)
        self._wait_no_more(viewer)
        self._unplace(viewer)

    def begin(self, layers: int, now: float) -> list[Subscriber]:
        """A publisher of so many layers took the stage; returns the viewers who cannot play it and have left.

        Who was sent a layer that there still is stays with it: its numbers go on. The others are to be settled.
        """
        self.states = (LayerState(0, 0, 0),) * layers
        stranded = []
        for viewer in tuple(self.members):
            self._wait_no_more(viewer)
            if viewer.cursor is not None or (viewer.layer is not None and viewer.layer >= layers):
                self._halt(viewer)
            if self._seat(viewer):
                self._place(viewer)
                if viewer.payload_types[0] is None:
                    viewer.content()
                elif viewer.layer is None:
                    self.unsettled[viewer] = None
                else:
                    viewer.dark(Lack.KEYFRAME, now)
            else:
                self.leave(viewer)
                stranded.append(viewer)
        return stranded

    def settle(self, now: float) -> Iterator[None]:
        """Choose layers for those who lost theirs; in steps, because all at once held up the loop for 6 to 10 ms."""
        while self.unsettled:
            for _ in range(min(RELAY_STEP_PACKETS, len(self.unsettled))):
                viewer, _nothing = self.unsettled.popitem()
                self.choose(viewer, now)
            yield

    def _seat(self, viewer: Subscriber) -> bool:
        """Find how the viewer calls what is sent; False when it cannot play a stream that it asked for."""
        sent = (self._video.codec, self._sound.codec)
        if viewer.seated == sent:
            return True  # as most are when a publisher comes back; to compare codecs for 1000 viewers takes 4 ms
        numbers = []
        for outgoing in (self._video, self._sound):
            codecs = viewer.codecs.get(outgoing.kind)
            codec = nearest(codecs, outgoing.codec) if codecs and outgoing.codec else None
            if codec is None and codecs and outgoing.codec:
                return False
            numbers.append(codec.payload_type if codec else None)
            if outgoing is self._video:
                viewer.rtx = codec.rtx if codec else None
        viewer.payload_types = (numbers[0], numbers[1])
        viewer.seated = sent
        return True

    def _place(self, viewer: Subscriber) -> None:
        """Put the viewer into the group of what it is sent; who walks through the cache is sent sound only."""
        translation = NO_VIDEO if viewer.cursor is not None else viewer.numbering.current
        key = (translation, *viewer.payload_types)
        if viewer.group is not None and viewer.group.key == key:
            return
        self._unplace(viewer)
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Group(*key)
        group.add(viewer)
        viewer.group = group

    def _unplace(self, viewer: Subscriber) -> None:
        group, viewer.group = viewer.group, None
        if group is not None:
            group.discard(viewer)
            if not group:
                del self.groups[group.key]

    # --- layers -------------------------------------------------------------------------------------------------

    def choose(self, viewer: Subscriber, now: float) -> None:
        """Ask the viewer's selector, and follow it."""
        if viewer.payload_types[0] is not None:
            viewer.selector.cap = self._cap(viewer.max_height)
            layer = viewer.selector.choose(self.states, viewer.layer, now)
            if layer != viewer.wanted:
                self._aim(viewer, layer, now)
            elif viewer.retreats and viewer.selector.severe:
                self._give_up(viewer, now)

    def _cap(self, max_height: int | None) -> int | None:
        """The highest rank with a picture that is no higher (or, upright, no wider); the lowest one may be."""
        if max_height is None:
            return None
        states = [self.states[layer] for layer in ranked(self.states)]
        return max(0, sum(min(state.width, state.height) <= max_height for state in states) - 1)

    def _aim(self, viewer: Subscriber, layer: int | None, now: float) -> None:
        selector = viewer.selector
        self._wait_no_more(viewer)
        if layer is None:
            self._stop(viewer, outdated=selector.congested)
            viewer.content()
            return
        if layer == viewer.layer:
            return  # it waited for another one, and stays
        if viewer.layer is None:
            viewer.dark(Lack.KEYFRAME, now)
        elif selector.congested and self._quality(layer) < self._quality(viewer.layer):
            # What is a little too much goes on until there is less: a queue is no freeze yet, a dark moment is.
            viewer.retreats = True
            if selector.severe:
                self._give_up(viewer, now)
        viewer.target = layer
        viewer.patience_at = now + (JOIN_PATIENCE_S if viewer.layer is None else RETREAT_PATIENCE_S)
        self._waiting[layer][viewer] = None
        if not self._begin_walk(viewer, now, GOP_FRESH_S):
            self._ask(layer)

    def _give_up(self, viewer: Subscriber, now: float) -> None:
        """Send no more of a layer that is far too much, though the lower one has not begun yet."""
        if viewer.layer is not None:
            self._stop(viewer, outdated=True)
            viewer.dark(Lack.KEYFRAME, now)
            viewer.patience_at = now + JOIN_PATIENCE_S

    def _quality(self, layer: int) -> tuple[int, int]:
        state = self.states[layer] if layer < len(self.states) else LayerState(0, 0, 0)
        return state.width * state.height, state.bits_per_s

    def keyframe(self, layer: int, start: Mark, now: float) -> Iterator[None]:
        """The newest packet of this layer, or an older one that came late, begins a keyframe: who waits begins there.

        Those who walk through older pictures of it go on: a jump would look like loss to them. Nothing may be sent
        until all have moved; that takes some steps when there are many.
        """
        late = self._video.lines[layer].cache.head > start.sequence + 1
        for index, viewer in enumerate(tuple(self._waiting[layer])):
            if index % RELAY_STEP_PACKETS == RELAY_STEP_PACKETS - 1:
                yield
            if viewer.target != layer:
                continue  # it changed its mind, or left, since the last step
            if late:
                self._walk(viewer, start, now)  # the rest of the picture has been sent already
            else:
                self._switch(viewer, layer, start, now)
                self._place(viewer)
        for group in self.groups.values():
            if group.translation.layer == layer:
                for viewer in group.members:
                    viewer.lit(Lack.KEYFRAME, now)

    def lose_patience(self, now: float) -> None:
        """Show those who have waited for a keyframe in vain the older one that there is."""
        for waiting in self._waiting.values():
            for viewer in tuple(waiting):
                if now >= viewer.patience_at:
                    if viewer.retreats:
                        self._give_up(viewer, now)
                    self._begin_walk(viewer, now, GOP_AGE_S_MAX)

    def arrived(self, viewer: Subscriber) -> None:
        """The viewer's walk has reached the newest packet of its layer."""
        viewer.cursor = viewer.walked = None
        self.walkers.pop(viewer, None)
        self._place(viewer)

    def _begin_walk(self, viewer: Subscriber, now: float, age_s_max: float) -> bool:
        """Start with the keyframe in the cache, if it is not older than `age_s_max` and is news for the viewer."""
        layer = viewer.target
        if viewer.layer is not None or layer is None:
            return False  # it has a picture, and can wait for the next keyframe
        cache = self._video.lines[layer].cache
        start = cache.gop(now)
        entry = cache.get(start) if start is not None and cache.gop_age(now) <= age_s_max else None
        if entry is None or (viewer.shown is not None and not _later(entry.mark.timestamp, viewer.shown)):
            return False
        self._walk(viewer, entry.mark, now)
        return True

    def _walk(self, viewer: Subscriber, start: Mark, now: float) -> None:
        assert viewer.target is not None, "it waits for a layer"
        self._switch(viewer, viewer.target, start, now)
        viewer.cursor = start.sequence
        self.walkers[viewer] = None
        self._place(viewer)

    def _switch(self, viewer: Subscriber, layer: int, start: Mark, now: float) -> None:
        translation = viewer.numbering.switch(layer, start, self.position(viewer))
        if viewer.retreats:
            viewer.outdated = start.sequence + translation.sequence
        change, viewer.shift = translation.timestamp - viewer.shift, translation.timestamp
        if LIPS_TICKS < change % (1 << 32) < (1 << 32) - LIPS_TICKS:
            self.shifted[viewer] = None
        self._wait_no_more(viewer)
        viewer.first_video = start.sequence
        viewer.cursor = viewer.walked = None
        self.walkers.pop(viewer, None)
        viewer.lit(Lack.KEYFRAME, now)

    def _stop(self, viewer: Subscriber, *, outdated: bool = False) -> None:
        """No more video, from the next batch on; `outdated`: nor anything of it again, it was too much."""
        self._halt(viewer, outdated=outdated)
        self._place(viewer)

    def _halt(self, viewer: Subscriber, *, outdated: bool = False) -> None:
        """As `_stop`; the caller places the viewer."""
        sent = self.position(viewer)
        reached = self.reached(viewer)
        if outdated and reached is not None:
            viewer.outdated = reached + 1
        if sent is not None:
            viewer.shown = viewer.numbering.current.apply(sent).timestamp
        viewer.numbering.stop(sent)
        viewer.cursor = viewer.walked = None
        self.walkers.pop(viewer, None)

    def _wait_no_more(self, viewer: Subscriber) -> None:
        if viewer.target is not None:
            self._waiting[viewer.target].pop(viewer, None)
            viewer.target = None
        viewer.retreats = False

    # --- positions ----------------------------------------------------------------------------------------------

    def position(self, viewer: Subscriber) -> Mark | None:
        """The packet with the highest number that the viewer was sent of its layer; None when it was sent none."""
        layer = viewer.layer
        if layer is None or viewer.cursor is not None:
            return viewer.walked
        return self._video.lines[layer].newest

    def reached(self, viewer: Subscriber) -> int | None:
        """The viewer's own, extended number of the video packet that it was sent last; None: it was sent none yet."""
        if viewer.layer is not None and self.position(viewer) is None:
            return None
        end = viewer.numbering.end(self.head(viewer))
        return None if end is None else end - 1

    def head(self, viewer: Subscriber) -> int:
        """One past the number of `position`, which does not matter when that is None."""
        position = self.position(viewer)
        return 0 if position is None else position.sequence + 1


def _later(timestamp: int, than: int) -> bool:
    return 0 < (timestamp - than) & 0xFFFFFFFF < 1 << 31
