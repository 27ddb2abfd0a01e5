"""The life cycle of a show as a transition table, and what a show may be called.

    draft ──a──▶ scheduled ──c──▶ lobby ──d──▶ live ◀─e,f─▶ paused
      ╰────────────b──────────────▶╯            ╰─────g──────╯──▶ ended ──h──▶ replayable

(a) the host announces a date: draft → scheduled
(b) the host opens the doors without having announced a date: draft → lobby
(c) the host opens the doors: scheduled → lobby
(d) the host goes live: draft, scheduled, lobby → live; with `auto_live`, the publisher's first packet does it too
(e) the host pauses: live → paused
(f) the host goes on: paused → live
(g) the host ends the show: live, paused → ended
(h) the host publishes the replay: ended → replayable
(i) the host takes an announcement back: scheduled, lobby → draft

Two triggers exist: the host (a person or a program with the role host) and the publisher (WebRTC arrives). A
publisher that goes away never moves a show: a show that is live and has no publisher is on the *slate*, which viewers
see in place of the picture. Whoever publishes again ends it, and the host decides about everything else.
"""

import re
import unicodedata
from enum import Enum

import msgspec

from live.core.errors import Kind, Problem
from live.core.limits import SHOW_ID_CHARS_MAX, TIME_MS_MAX, TITLE_CHARS_MAX


class ShowState(Enum):
    """Where a show is in its life."""

    draft = "draft"
    scheduled = "scheduled"
    lobby = "lobby"
    live = "live"
    paused = "paused"
    ended = "ended"
    replayable = "replayable"


class Trigger(Enum):
    """What moves a show."""

    host = "host"
    publisher = "publisher"


_HOST = frozenset({Trigger.host})
_BOTH = frozenset({Trigger.host, Trigger.publisher})

TRANSITIONS: dict[tuple[ShowState, ShowState], frozenset[Trigger]] = {
    (ShowState.draft, ShowState.scheduled): _HOST,  # a
    (ShowState.draft, ShowState.lobby): _HOST,  # b
    (ShowState.scheduled, ShowState.lobby): _HOST,  # c
    (ShowState.draft, ShowState.live): _BOTH,  # d
    (ShowState.scheduled, ShowState.live): _BOTH,  # d
    (ShowState.lobby, ShowState.live): _BOTH,  # d
    (ShowState.live, ShowState.paused): _HOST,  # e
    (ShowState.paused, ShowState.live): _HOST,  # f
    (ShowState.live, ShowState.ended): _HOST,  # g
    (ShowState.paused, ShowState.ended): _HOST,  # g
    (ShowState.ended, ShowState.replayable): _HOST,  # h
    (ShowState.scheduled, ShowState.draft): _HOST,  # i
    (ShowState.lobby, ShowState.draft): _HOST,  # i
}

BEFORE_AIR = (ShowState.draft, ShowState.scheduled, ShowState.lobby)
ON_AIR = (ShowState.live, ShowState.paused)
OVER = (ShowState.ended, ShowState.replayable)

_ID = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{SHOW_ID_CHARS_MAX - 1}}}")


class Show(msgspec.Struct, frozen=True):
    """A live session. Times are Unix milliseconds; None: it has not happened, or no date is set.

    `publishing`: somebody sends video now. `publisher_lost_at_ms`: since when nobody does in a show on air that had
    a publisher, None otherwise. `auto_live`: the publisher's arrival puts the show on air.
    """

    id: str
    title: str
    state: ShowState
    created_at_ms: int
    scheduled_at_ms: int | None = None
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    publishing: bool = False
    publisher_lost_at_ms: int | None = None
    auto_live: bool = False

    @property
    def slate(self) -> bool:
        """Whether viewers see the slate in place of the picture."""
        return self.state is ShowState.live and not self.publishing


def is_show_id(value: str) -> bool:
    """Whether `value` can be a show's id: lower-case letters, digits and inner hyphens."""
    return _ID.fullmatch(value) is not None


def check_show_id(value: str) -> str:
    """`value`, for a new show; raises `Problem` invalid_field."""
    if not is_show_id(value):
        raise Problem(
            Kind.invalid_field,
            f"1 to {SHOW_ID_CHARS_MAX} lower-case letters, digits and hyphens; the first is no hyphen.",
            field="id",
        )
    return value


def clean_line(value: str, field: str, chars_max: int) -> str:
    """`value` as one line of NFC text; raises `Problem` invalid_field when it is empty, too long or holds controls."""
    if len(value) > 4 * chars_max:  # normalising shortens by less; this keeps the work bounded
        raise Problem(Kind.invalid_field, f"At most {chars_max} characters.", field=field)
    text = unicodedata.normalize("NFC", " ".join(value.split()))
    if any(unicodedata.category(char) in ("Cc", "Cs", "Cf") and char not in "\u200c\u200d" for char in text):
        raise Problem(Kind.invalid_field, "Control characters are not allowed.", field=field)
    if not text.strip("\u200c\u200d "):
        raise Problem(Kind.invalid_field, "Must not be empty.", field=field)
    if len(text) > chars_max:
        raise Problem(Kind.invalid_field, f"At most {chars_max} characters.", field=field)
    return text


def clean_title(value: str) -> str:
    """A show's title as one line; raises `Problem` invalid_field."""
    return clean_line(value, "title", TITLE_CHARS_MAX)


def check_date(value: int | None) -> int | None:
    """A date in Unix milliseconds; raises `Problem` invalid_field when no calendar holds it."""
    if value is not None and not 0 < value <= TIME_MS_MAX:
        raise Problem(Kind.invalid_field, f"Unix milliseconds between 1 and {TIME_MS_MAX}.", field="scheduled_at_ms")
    return value


def transition(show: Show, to: ShowState, now_ms: int, trigger: Trigger = Trigger.host) -> Show:
    """`show` after `trigger` moved it to `to` at `now_ms`; going where it is already changes nothing.

    Raises `Problem` illegal_transition when the table has no such transition for the trigger, and invalid_field
    when a show is announced without a date.
    """
    if to is show.state:
        return show
    if trigger not in TRANSITIONS.get((show.state, to), frozenset()):
        ways = [goal.value for (start, goal), who in TRANSITIONS.items() if start is show.state and trigger in who]
        raise Problem(
            Kind.illegal_transition,
            f"The show is {show.state.value}; from there it can become {' or '.join(ways) or 'nothing else'}.",
            field="to",
            extra={"state": show.state.value},
        )
    if to is ShowState.scheduled and show.scheduled_at_ms is None:
        raise Problem(Kind.invalid_field, "Set the date before announcing the show.", field="scheduled_at_ms")
    started_at_ms = now_ms if to is ShowState.live and show.started_at_ms is None else show.started_at_ms
    ended_at_ms = now_ms if to is ShowState.ended else show.ended_at_ms
    lost_at_ms = show.publisher_lost_at_ms if to in ON_AIR else None
    return msgspec.structs.replace(
        show, state=to, started_at_ms=started_at_ms, ended_at_ms=ended_at_ms, publisher_lost_at_ms=lost_at_ms
    )


def with_publisher(show: Show, present: bool, now_ms: int) -> Show:
    """`show` after a publisher came or the last one went; with `auto_live` the arrival puts it on air (d).

    The first news of a loss dates it; being told again changes nothing.
    """
    lost_at_ms = now_ms if show.publishing and show.state in ON_AIR else show.publisher_lost_at_ms
    show = msgspec.structs.replace(show, publishing=present, publisher_lost_at_ms=None if present else lost_at_ms)
    if present and show.auto_live and show.state in BEFORE_AIR:
        return transition(show, ShowState.live, now_ms, Trigger.publisher)
    return show


def edit(
    show: Show,
    *,
    title: str | msgspec.UnsetType = msgspec.UNSET,
    scheduled_at_ms: int | msgspec.UnsetType | None = msgspec.UNSET,
    auto_live: bool | msgspec.UnsetType = msgspec.UNSET,
) -> Show:
    """`show` with other words and dates; UNSET leaves a member as it is.

    Raises `Problem` invalid_field for a bad value, and illegal_transition for a new date once the show was on air.
    """
    if title is not msgspec.UNSET:
        show = msgspec.structs.replace(show, title=clean_title(title))
    if auto_live is not msgspec.UNSET:
        show = msgspec.structs.replace(show, auto_live=auto_live)
    if scheduled_at_ms is not msgspec.UNSET and scheduled_at_ms != show.scheduled_at_ms:
        if show.state not in BEFORE_AIR:
            raise Problem(Kind.illegal_transition, "The show was on air; its date is history.", field="scheduled_at_ms")
        if scheduled_at_ms is None and show.state is ShowState.scheduled:
            raise Problem(Kind.invalid_field, "An announced show has a date.", field="scheduled_at_ms")
        show = msgspec.structs.replace(show, scheduled_at_ms=check_date(scheduled_at_ms))
    return show
