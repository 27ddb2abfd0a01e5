"""Writing into a chat: the posts of one show gather in a lane, and a batch of them becomes one transaction.

Before the transaction, posts are judged without a lock: what was posted under a key already is answered, who is muted
or must wait is refused and uses up nothing, and one call of the bus asks for all others whether their author may
write and whether viewers' screens have room for it. Inside of it the same questions are asked again where the answer
may have changed, with the authors' rows locked. To judge costs a third of a post, so whoever gives no reason (no key,
no slow mode, not refused lately) goes straight on: a muted viewer's first post is then refused inside, and has used up
a place.

A chat that is faster than anybody can read is sampled: a show's viewers, on all workers, are shown CHAT_SHOWN_PER_S
messages. The others are stored, acknowledged and moderated like any other, marked `shown` false; the staff are told of
them at once, and their authors see them from the reply. What the staff write is always shown. While the bus is away
everything is.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection

from chat import moderation, store
from chat.moderation import Standing
from chat.store import Author, Message
from live.core.codec import plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.lanes import Committed, Lane, LaneFigures
from live.core.limits import (
    CHAT_FAST_MS,
    CHAT_LEFT_OUT_TOLD_MAX,
    CHAT_PACE_S,
    CHAT_RATE_BURST,
    CHAT_RATE_PER_S,
    CHAT_ROOMS_MAX,
    CHAT_SHOWN_BURST,
    CHAT_SHOWN_PER_S,
    CHAT_SUSPECTS_MAX,
)
from live.core.tallies import Pace, TakeEach
from live.service import Batch, Shows
from live.timeline import show_clock

_OF_THE_VIEWER = (Kind.banned, Kind.timed_out, Kind.slow_mode)

Written = tuple[Message, bool]
"""A message, and whether it had been written before under the same key."""


@dataclass(slots=True, eq=False)
class Post:
    """What somebody wants to write, cleaned, and what has been decided about it.

    `exempt`: no mute, mode, rate or cap applies. `shown` None: not decided yet.
    """

    viewer: Author
    text: str
    reply_to: str | None
    key: str | None
    exempt: bool
    shown: bool | None = None
    outcome: Written | Problem | None = None

    @property
    def identity(self) -> tuple[str, str] | None:
        """What makes it the same post as another one; None: nothing does."""
        return None if self.key is None else (self.viewer.id, self.key)

    def repeats(self, message: Message) -> Written | Problem:
        """What is answered when `message` was written under the same key."""
        if (message.text, message.reply_to) != (self.text, self.reply_to):
            return Problem(Kind.key_reused, field="key")
        return message, True


class _Room:
    """A show that was written in here: its lane, and what calls for judging posts before they cost anything."""

    __slots__ = ("lane", "slow", "suspects")

    def __init__(self, lane: Lane[Post, Written]) -> None:
        self.lane = lane
        self.slow = False
        self.suspects: dict[str, None] = {}  # viewers who were refused as muted or too early, the newest last

    def judges(self, post: Post) -> bool:
        return post.key is not None or (not post.exempt and (self.slow or post.viewer.id in self.suspects))

    def learn(self, outcomes: Mapping[Post, Written | Problem | None], slow_s: int) -> None:
        self.slow = slow_s > 0
        for post, outcome in outcomes.items():
            self.suspects.pop(post.viewer.id, None)
            if isinstance(outcome, Problem) and outcome.kind in _OF_THE_VIEWER:
                self.suspects[post.viewer.id] = None
        while len(self.suspects) > CHAT_SUSPECTS_MAX:
            del self.suspects[next(iter(self.suspects))]


class Posting:
    """See the module. `take_each` counts over all workers (the bus does); `pace_s`: see `Lane`."""

    def __init__(self, shows: Shows, database: Database, take_each: TakeEach, *, pace_s: float = CHAT_PACE_S) -> None:
        self._pace_s = pace_s
        self._shows = shows
        self._database = database
        self._take_each = take_each
        self._rooms: dict[str, _Room] = {}  # by show, the one that was last written in last; only of shows that exist
        self.figures = LaneFigures()  # of all rooms' lanes
        self.written = {"shown": 0, "left_out": 0}

    async def write(self, show_id: str, post: Post) -> Written:
        """Acknowledged after COMMIT; raises `Problem` as `Chat.post` does, and overloaded when too many wait."""
        if show_id not in self._rooms:
            await self._shows.get(show_id)
        room = self._rooms.pop(show_id, None)  # somebody else may have been faster
        if room is None:
            self._forget()
            room = self._open(show_id)
        self._rooms[show_id] = room
        return await room.lane.do(post)

    async def close(self) -> None:
        """Take no more posts, and wait until those that were taken are committed and told."""
        for room in list(self._rooms.values()):
            await room.lane.close()

    def _open(self, show_id: str) -> _Room:
        async def commit(posts: Sequence[Post]) -> Committed[Written]:
            return await self._commit(show_id, room, posts)

        lane = Lane(
            f"chat {show_id}", commit, key=lambda post: post.viewer.id, figures=self.figures, pace_s=self._pace_s
        )
        room = _Room(lane)
        return room

    def _forget(self) -> None:
        """Make place for a room; those where somebody just writes are kept, however many."""
        if len(self._rooms) >= CHAT_ROOMS_MAX:
            quiet = next((show_id for show_id, room in self._rooms.items() if room.lane.idle), None)
            if quiet is not None:
                del self._rooms[quiet]

    async def _commit(self, show_id: str, room: _Room, posts: Sequence[Post]) -> Committed[Written]:
        undecided = [post for post in posts if post.shown is None and post.outcome is None]
        await self._judge(show_id, room, [post for post in undecided if room.judges(post)])
        await self._place(show_id, [post for post in undecided if post.outcome is None])
        # Not kept in the posts: the batch may be rolled back and tried again in parts.
        outcomes = {post: post.outcome for post in posts if post.outcome is not None}
        writing = [post for post in posts if post.outcome is None]
        done = [outcome[0] for outcome in outcomes.values() if not isinstance(outcome, Problem)]
        again = {message.id: message for message in done if message.shown is not False}.values()
        told = None
        if writing or again:
            (written, slow_s), told = await self._shows.batch(lambda tx: _write(tx, show_id, writing, again), here=True)
            room.learn(written, slow_s)
            self._count(written)
            outcomes |= written
        return Committed([outcomes[post] for post in posts], told)

    def _count(self, outcomes: Mapping[Post, Written | Problem]) -> None:
        for outcome in outcomes.values():
            if not isinstance(outcome, Problem) and not outcome[1]:
                self.written["left_out" if outcome[0].shown is False else "shown"] += 1

    async def _judge(self, show_id: str, room: _Room, posts: Sequence[Post]) -> None:
        """Answer or refuse what can be without writing."""
        if not posts:
            return

        def read(conn: Connection) -> tuple[int, int, dict[str, Standing], dict[tuple[str, str], Message]]:
            slow_s, standings = store.standings(conn, show_id, {post.viewer.id for post in posts})
            done = store.posted_under(conn, show_id, _identities(posts))
            return self._database.now_ms_sync(conn), slow_s, standings, done

        now_ms, slow_s, standings, done = await self._database.glance(read)
        for post in posts:
            post.outcome = _decided(post, standings.get(post.viewer.id, Standing()), done, slow_s, now_ms)
        room.learn({post: post.outcome for post in posts}, slow_s)

    async def _place(self, show_id: str, posts: Sequence[Post]) -> None:
        """Decide which of `posts` are shown, or come too fast from their author."""
        for post in posts:
            post.shown = post.exempt or None
        asking = [post for post in posts if not post.exempt]
        if not asking:
            return
        own, shared = Pace(CHAT_RATE_PER_S, CHAT_RATE_BURST), Pace(CHAT_SHOWN_PER_S, CHAT_SHOWN_BURST)
        grants = await self._take_each(show_id, "chat", [post.viewer.id for post in asking], own, shared)
        for post, grant in zip(asking, grants, strict=True):
            post.outcome = _problem(moderation.rate_refusal(grant.wait_s))
            post.shown = grant.shared


def _write(
    tx: Batch, show_id: str, posts: Sequence[Post], again: Collection[Message]
) -> tuple[dict[Post, Written | Problem], int]:
    """Write `posts` in their order, and tell `again`; what became of each post, and the seconds of slow mode."""
    outcomes: dict[Post, Written | Problem] = {}
    room = store.room(tx.conn, show_id)
    if room is None:
        raise Problem(Kind.unknown_show, field="show")
    at_ms = show_clock(room.started_at_ms, room.ended_at_ms, tx.now_ms)
    _tell_again(tx, show_id, at_ms, again)
    there = store.still_there(tx.conn, show_id, {post.reply_to for post in posts if post.reply_to})
    for post in posts:
        if post.reply_to is not None and post.reply_to not in there:
            outcomes[post] = Problem(Kind.unknown_message, "The message to reply to is gone.", field="reply_to")
    posts = [post for post in posts if post not in outcomes]
    if not posts:
        return outcomes, room.slow_s
    standings = store.enter(tx.conn, show_id, {post.viewer.id: post.viewer for post in posts}.values())
    done = store.posted_under(tx.conn, show_id, _identities(posts))
    ids = sorted(uuid7(tx.now_ms) for _ in posts)  # those of one moment are in the order of the batch, too
    written: list[tuple[Message, str | None]] = []
    for post, message_id in zip(posts, ids, strict=True):
        outcome = _decided(post, standings[post.viewer.id], done, room.slow_s, tx.now_ms)
        if outcome is None:
            message = Message(
                id=message_id,
                viewer=post.viewer,
                text=post.text,
                sent_at_ms=tx.now_ms,
                reply_to=post.reply_to,
                shown=msgspec.UNSET if post.shown else False,
            )
            written.append((message, post.key))
            standing = standings[post.viewer.id]
            standings[post.viewer.id] = msgspec.structs.replace(standing, posted_at_ms=tx.now_ms)
            if post.identity is not None:
                done[post.identity] = message
            outcome = message, False
        outcomes[post] = outcome
    if written:
        store.have_posted(tx.conn, show_id, {message.viewer.id for message, _ in written}, tx.now_ms)
        store.insert_messages(tx.conn, show_id, written, at_ms)
        _tell(tx, show_id, at_ms, [message for message, _ in written])
    return outcomes, room.slow_s


def _decided(
    post: Post, standing: Standing, done: dict[tuple[str, str], Message], slow_s: int, now_ms: int
) -> Written | Problem | None:
    """What becomes of a post by what its author did before; None: it may be written."""
    if post.identity is not None and post.identity in done:
        return post.repeats(done[post.identity])
    return None if post.exempt else _problem(moderation.refusal(standing, slow_s, now_ms))


def _tell_again(tx: Batch, show_id: str, at_ms: int, messages: Collection[Message]) -> None:
    """Announce what was written before. Its author was not answered: that worker may have died before it told anybody.

    The bus knows what it was told (BUS_KEY_KEPT_S), and a message that comes twice does no harm.
    """
    there = store.still_there(tx.conn, show_id, {message.id for message in messages})
    for message in messages:
        if message.id in there:
            tx.broadcast(show_id, at_ms, "chat.message", plain(message), key=message.id)


def _tell(tx: Batch, show_id: str, at_ms: int, messages: Sequence[Message]) -> None:
    left_out = []
    for message in messages:
        if message.shown is False:
            left_out.append(plain(message))
        else:
            tx.broadcast(show_id, at_ms, "chat.message", plain(message), key=message.id)
    if left_out:
        tx.state(show_id, "chat.fast", {"until_ms": tx.now_ms + CHAT_FAST_MS})
    for start in range(0, len(left_out), CHAT_LEFT_OUT_TOLD_MAX):
        tx.staff_notice(show_id, "chat.left_out", {"messages": left_out[start : start + CHAT_LEFT_OUT_TOLD_MAX]})


def _identities(posts: Sequence[Post]) -> set[tuple[str, str]]:
    return {post.identity for post in posts if post.identity is not None}


def _problem(refusal: moderation.Refusal | None) -> Problem | None:
    return None if refusal is None else refusal.problem()
