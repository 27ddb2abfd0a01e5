"""What many viewers are sent alike is read once."""

from live.core.position import Position
from loadtests.sequence import Sequence
from loadtests.shelf import Chunk, Shelf
from loadtests.wire import Connected, Event, Here, Message, State


def _kept(*messages: Message) -> Chunk | None:
    shelf = Shelf(lambda chunk: None, lambda event: None)
    shelf.keep(b"octets", 1, messages)
    return shelf.find(b"octets")


def test_events_states_and_the_position_are_kept() -> None:
    chunk = _kept(Event(4, "a", {}), Event(5, "b", {}), State(), Here(Position("e", 5)))
    assert chunk is not None
    assert (chunk.first, chunk.last, chunk.events, chunk.here) == (4, 5, 2, Position("e", 5))


def test_what_is_for_one_viewer_or_out_of_order_is_not_kept() -> None:
    assert _kept(Connected("1", Position("e", 1), False)) is None
    assert _kept(Event(4, "a", {}), Event(6, "b", {})) is None


def test_a_position_is_reached_or_shows_a_gap() -> None:
    sequence = Sequence()
    sequence.connected("e", 7)
    assert sequence.reaches(Position("e", 7), 0)
    assert sequence.reaches(Position("e", 9), 9)
    assert not sequence.reaches(Position("e", 8), 0)
    assert not sequence.reaches(Position("f", 1), 0)
