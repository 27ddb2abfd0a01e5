"""To the viewers of one show: numbers, caches, layers, retransmission, and what is known of each path."""
