"""One example of each type's data, as those who make it happen give it: with members that nobody is told."""

from typing import Any

_ORDER: dict[str, Any] = {
    "id": "0192f0c1a2b370008000000000000001",
    "number": "7K3M-9QXA",
    "show": "gala",
    "viewer_id": "ada",
    "state": "placed",
    "name": "Ada Lovelace",
    "email": "ada@shop.example",
    "note": "",
    "payment": "pickup",
    "currency": "EUR",
    "total_minor": 3000,
    "created_at_ms": 1_800_000_000_000,
    "placed_at_ms": 1_800_000_001_000,
    "inside": "nobody's business",
    "lines": [
        {
            "sku": "MUG-BLUE",
            "product_id": "mug",
            "title": "Mug",
            "variant": "Blue",
            "picture": "/mug.webp",
            "quantity": 2,
            "price_minor": 1500,
            "line_minor": 3000,
            "hold_id": "0192f0c1a2b370008000000000000002",
            "pin_id": "0192f0c1a2b370008000000000000003",
            "at_ms": 61_000,
        }
    ],
}
_HOLD: dict[str, Any] = {
    "id": "0192f0c1a2b370008000000000000002",
    "cart": "gala:ada",
    "show": "gala",
    "viewer_id": "ada",
    "sku": "MUG-BLUE",
    "product_id": "mug",
    "quantity": 2,
    "price_minor": 1500,
    "currency": "EUR",
    "expires_at_ms": 1_800_000_600_000,
    "pin_id": None,
    "at_ms": 61_000,
}
_SHOW: dict[str, Any] = {
    "id": "gala",
    "title": "Gala",
    "state": "live",
    "scheduled_at_ms": None,
    "started_at_ms": 1_800_000_000_000,
    "ended_at_ms": None,
    "publishing": True,
}

FACTS: dict[str, dict[str, Any]] = {
    "order.placed": _ORDER,
    "order.cancelled": _ORDER | {"state": "cancelled"},
    "order.refunded": _ORDER | {"state": "refunded"},
    "hold.created": _HOLD,
    "hold.expired": _HOLD,
    "cart.changed": {
        "show": "gala",
        "viewer_id": "ada",
        "reason": "changed",
        "currency": "EUR",
        "total_minor": 3000,
        "lines": [
            {
                "hold_id": "0192f0c1a2b370008000000000000002",
                "sku": "MUG-BLUE",
                "product_id": "mug",
                "title": "Mug",
                "variant": "Blue",
                "picture": "/mug.webp",
                "quantity": 2,
                "price_minor": 1500,
                "line_minor": 3000,
                "expires_at_ms": 1_800_000_600_000,
            }
        ],
    },
    "show.started": _SHOW,
    "show.ended": _SHOW | {"state": "ended", "ended_at_ms": 1_800_003_600_000},
    "pin.changed": {
        "show": "gala",
        "pin_id": "0192f0c1a2b370008000000000000003",
        "product_id": "mug",
        "pinned_at_ms": 1_800_000_000_000,
    },
    "stock.changed": {"sku": "MUG-BLUE", "product_id": "mug", "available": 3},
    "price.changed": {
        "sku": "MUG-BLUE",
        "product_id": "mug",
        "show": "gala",
        "currency": "EUR",
        "price_minor": 1200,
        "list_price_minor": 1500,
        "lowest_30d_minor": 1300,
    },
    "webhook.test": {"endpoint_id": "0192f0c1a2b370008000000000000004", "text": "Hello from Showcart."},
}
