"""The demo's show: products on the shelf and a lobby, whatever the last run left behind, and where to find it."""

from pathlib import Path

from rich.console import Console

from cart.feeds.importer import Options, import_products
from live.core.errors import Kind, Problem
from live.core.settings import Settings
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
    await import_products(PRODUCTS, shows, Options(stock_means="available"))
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


def print_links(settings: Settings) -> None:
    """Say where everything is."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    base = f"http://{host}:{settings.port}"
    links = {
        "Studio": (f"{base}/studio/{DEMO_SHOW}#token=demo", "go live here"),
        "Watch": (f"{base}/watch/{DEMO_SHOW}", "in a second browser"),
        "Shop window": (f"{base}/", "what is on, what is next"),
        "Operations": (f"{base}/ops", "charts of all workers"),
        "API": (f"{base}/openapi.json", "of the REST API"),
        "OBS": (f"{base}/whip/{DEMO_SHOW}", "WHIP; bearer token: demo"),
    }
    console = Console(highlight=False)
    console.print("[bold]Showcart is ready[/]")
    width = max(len(url) for url, _ in links.values())
    for name, (url, what) in links.items():
        # Lines rather than a table of rich: that cuts a link where the terminal ends.
        console.print(f"  [bold]{name:<12}[/][cyan]{url:<{width}}[/]  [dim]{what}[/]", soft_wrap=True)
    console.print("Ctrl-C ends everything.", style="dim")
