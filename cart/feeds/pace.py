"""How much to do in one transaction, by how long the last ones took."""


class Pace:
    """Transactions of about `target_s` each, and of `least` to `most` things: with fewer, most of a transaction's time
    is its own."""

    def __init__(self, target_s: float, least: int, most: int) -> None:
        self._target_s = target_s
        self._least = least
        self._most = most
        self.size = least

    def took(self, count: int, took_s: float) -> None:
        """`count` things took so long. More of them are tried slowly, and fewer at once."""
        fitting = self._most if took_s <= 0 else int(self._target_s * count / took_s)
        if count >= self.size or fitting < self.size:
            self.size = max(self._least, min(fitting, self._most, self.size * 2))
