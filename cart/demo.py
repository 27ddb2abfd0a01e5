"""The demo's show: products on the shelf and a lobby, whatever the last run left behind."""

from pathlib import Path

from cart.importer import import_products
from live.core.errors import Kind, Problem
from live.service import Shows
from live.shows import OVER, ShowState

DEMO_SHOW = "demo"
PRODUCTS = Path(__file__).parent / "demo_products.json"
_LINEUP = (
    "walnut-board", "espresso-cup", "ceramic-vase", "linen-throw", "field-lamp", "wool-beanie", "canvas-tote",
    "trail-bottle",
)  # fmt: skip


async def stage(shows: Shows) -> None:
    """Put the show `demo` into its lobby, with its lineup in stock again; does no harm to a show that waits."""
    await import_products(PRODUCTS, shows, stock_means="available")
    try:
        show = await shows.get(DEMO_SHOW)
    except Problem as problem:
        if problem.kind is not Kind.unknown_show:
            raise
        show = await shows.create(DEMO_SHOW, "Things for a good table", auto_live=True)
    if show.state is ShowState.draft:
        await shows.transition(DEMO_SHOW, ShowState.lobby)
    elif show.state in OVER:
        await shows.restage(DEMO_SHOW)
    await shows.set_lineup(DEMO_SHOW, _LINEUP)
