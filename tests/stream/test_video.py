"""The figures of a show's video by API: who may read them, and that they are what the studio is told."""

from collections.abc import Callable

import pytest

from live.core import rest
from live.core.auth import ALL_SHOWS, Role
from live.core.errors import Kind
from loadtests.media.client import Client
from stream.api import operations
from stream.downstream.tally import AudienceFigures, VideoFigures
from tests.stream.conftest import House, until

Make = Callable[..., Client]


async def test_while_nobody_is_on_air_there_are_no_figures(house: House) -> None:
    answer = await house.video()
    assert (answer.status_code, answer.json()) == (200, {"on_air": False, "figures": None})


@pytest.mark.parametrize(
    ("role", "of", "show", "kind"),
    [
        (Role.viewer, "demo", "demo", Kind.role_forbidden),
        (Role.moderator, "demo", "demo", Kind.role_forbidden),
        (Role.host, "other", "demo", Kind.show_forbidden),
        (Role.ops, ALL_SHOWS, "nowhere", Kind.unknown_show),
        (Role.host, "demo", "demo", None),
        (Role.host, ALL_SHOWS, "demo", None),
        (Role.ops, ALL_SHOWS, "demo", None),
    ],
    ids=lambda value: value.name if isinstance(value, Role | Kind) else value,
)
async def test_hosts_of_the_show_and_operators_read_them(
    house: House, role: Role, of: str, show: str, kind: Kind | None
) -> None:
    answer = await house.video(show, role, of)
    assert answer.status_code == (200 if kind is None else kind.status)
    assert kind is None or answer.json()["name"] == kind.name


async def test_nobody_else_does(house: House) -> None:
    answer = await house.http.get("/api/shows/demo/video")
    assert (answer.status_code, answer.json()["name"]) == (401, "token_missing")


async def test_they_are_what_the_studio_is_told(house: House, client: Make) -> None:
    publisher, viewer = client(), client()
    address = await house.enter(publisher, "whip")
    await until(lambda: (stage := house.media.stages["demo"]) and stage.publication is not None)
    first = (await house.video()).json()
    assert first["on_air"], "from the first moment on"
    assert first["figures"]["subscribers"] == 0
    await house.enter(viewer, "whep")
    await until(lambda: house.figures and house.figures[-1]["subscribers"] == 1)
    told = len(house.figures)
    answer = (await house.video()).json()
    assert answer["figures"] in house.figures[told - 1 :]
    assert answer["figures"].keys() == set(VideoFigures.__struct_fields__)
    assert answer["figures"]["audience"].keys() == set(AudienceFigures.__struct_fields__)
    assert (answer["figures"]["codec"], answer["figures"]["rank"]) == ("h264", "primary")
    assert (await house.http.delete(address, headers={"authorization": "Bearer key"})).status_code == 200
    assert (await house.video()).json() == {"on_air": False, "figures": None}


async def test_the_document_tells_of_every_figure(house: House) -> None:
    document = rest.openapi(operations(house.media), "1")
    described = document["paths"]["/api/shows/{show}/video"]["get"]
    assert described["x-role"] == "host"
    assert {"200", "401", "403", "404", "503"} <= described["responses"].keys()
    schemas = document["components"]["schemas"]
    assert schemas["VideoFigures"]["properties"].keys() == set(VideoFigures.__struct_fields__)
    assert schemas["AudienceFigures"]["properties"].keys() == set(AudienceFigures.__struct_fields__)
