"""How much to do in one transaction, by how long the last ones took."""


class Pace:
    """Transactions of about `target_s` each, and of 1 to `most` things."""

    def __init__(self, target_s: float, most: int) -> None:
        self._target_s = target_s
        self._most = most
        self.size = min(5, most)

    def took(self, count: int, took_s: float) -> None:
        """`count` things took so long. More of them are tried slowly, and fewer at once."""
        fitting = most = self._most
        if took_s > 0:
            fitting = max(1, int(self._target_s * count / took_s))
        self.size = min(fitting, most, self.size * 2) if count >= self.size or fitting < self.size else self.size
