"""What an answer means to a shopper: done, a normal answer of a busy shop, or a failure."""

from typing import Any

# The shop works and says no: it is counted, under its own name, and is no failure.
EXPECTED = frozenset(
    {"sold_out", "cart_empty", "not_in_cart", "hold_expired", "checkout_running", "not_live", "slow_mode"}
)
REACTIONS = ("heart", "heart", "heart", "clap", "fire", "wow")
PHRASES = (
    "How long is it?", "Does it come in blue?", "Got one!", "What a lovely colour", "Is it waterproof?",
    "Hello from Vienna", "I have last year's, still great", "Please show the back", "How warm is it?", "Yes!",
)  # fmt: skip


def judged(action: str, error: str | None) -> tuple[str, bool]:
    """The name to count `action` under, and whether it failed; `error` is as of `problem`, None when it was done."""
    if error is None:
        return action, False
    if error.rpartition(" ")[2] in EXPECTED:
        return f"{action}: {error}", False
    return action, True


def problem(body: object, status: int = 0) -> str:
    """Number and name of a problem, such as "1007 overloaded"; "http 502" when it is something else."""
    if isinstance(body, dict) and isinstance(body.get("name"), str):
        return f"{body.get('code', 0)} {body['name']}"
    return f"http {status}"


def refusal(answer: object) -> str | None:
    """What went wrong with commands that were sent by POST; None: nothing, or `answer` is to something else."""
    messages = answer.get("messages", ()) if isinstance(answer, dict) else ()
    return next((problem(one.get("error")) for one in messages if one.get("type") == "refused"), None)


def skus(products: object) -> list[str]:
    """The SKUs of a lineup, or of one product in a list."""
    if not isinstance(products, list):
        return []
    return [str(variant["sku"]) for product in products for variant in (product or {}).get("variants", ())]


def quantities(cart: object) -> dict[str, int]:
    """What a cart holds: SKU → quantity."""
    lines: list[dict[str, Any]] = cart.get("lines", []) if isinstance(cart, dict) else []
    return {str(line["sku"]): int(line["quantity"]) for line in lines}
