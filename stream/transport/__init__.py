"""The ways to the peers: the UDP port, ICE, DTLS, SRTP, volleys of packets, and the life of a session."""
