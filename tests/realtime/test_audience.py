"""Who is counted, and for how long."""

import random

from live.core.limits import PARTED_S
from live.realtime.audience import Audience


def test_people_are_counted_not_sockets_and_staff_not_at_all() -> None:
    audience: Audience[int] = Audience()
    audience.enter("v", 1, staff=False)
    audience.enter("v", 2, staff=False)
    audience.enter("h", 3, staff=True)
    audience.enter("w", 4, staff=False)
    assert (audience.present, audience.count(0)) == (2, 2)
    assert audience.sockets("v") == (1, 2)
    assert audience.sockets("nobody") == ()
    assert audience.staff_sockets() == [3]
    audience.leave("h", 3, 0)
    assert (audience.count(0), audience.staff_sockets()) == (2, []), "nor are staff who have left"


def test_who_leaves_is_counted_for_a_while() -> None:
    audience: Audience[int] = Audience()
    audience.enter("v", 1, staff=False)
    audience.enter("v", 2, staff=False)
    audience.enter("w", 3, staff=False)
    audience.leave("v", 1, 5.0)
    assert audience.present == 2, "another socket is still there"
    audience.leave("v", 2, 6.0)
    audience.leave("w", 3, 7.0)
    assert (audience.present, audience.count(6.0 + PARTED_S - 0.1)) == (0, 2)
    assert audience.count(6.0 + PARTED_S) == 1
    assert audience.count(7.0 + PARTED_S) == 0


def test_who_is_back_is_counted_once() -> None:
    audience: Audience[int] = Audience()
    audience.enter("v", 1, staff=False)
    audience.leave("v", 1, 5.0)
    audience.enter("v", 2, staff=False)
    assert audience.count(5.0) == 1
    audience.leave("v", 2, 9.0)
    assert audience.count(5.0 + PARTED_S) == 1, "the time begins with the last leaving"
    assert audience.count(9.0 + PARTED_S) == 0


def test_who_is_staff_on_one_page_is_a_viewer_on_another() -> None:
    audience: Audience[int] = Audience()
    audience.enter("h", 1, staff=True)
    audience.enter("h", 2, staff=False)
    audience.enter("h", 3, staff=True)
    assert (audience.staff_sockets(), audience.sockets("h"), audience.present) == ([1, 3], (1, 2, 3), 0)
    audience.leave("h", 3, 1.0)
    assert (audience.staff_sockets(), audience.present) == ([1], 0)
    audience.leave("h", 1, 1.0)
    assert (audience.staff_sockets(), audience.sockets("h"), audience.present) == ([], (2,), 1)
    audience.leave("h", 2, 2.0)
    assert audience.count(2.0) == 1, "who leaves as a viewer is counted for a while"


def test_churn_settles_to_zero() -> None:
    dice = random.Random(7)
    audience: Audience[int] = Audience()
    inside: list[tuple[str, int]] = []
    for step in range(3000):
        if inside and dice.random() < 0.5:
            person, socket = inside.pop(dice.randrange(len(inside)))
            audience.leave(person, socket, step / 100)
        else:
            inside.append((f"v{dice.randrange(50)}", step))
            audience.enter(*inside[-1], staff=False)
        assert audience.present == len({person for person, _ in inside})
    for person, socket in inside:
        audience.leave(person, socket, 30.0)
    assert audience.count(30.0 + PARTED_S) == 0
