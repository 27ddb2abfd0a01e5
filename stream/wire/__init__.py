"""What goes over the wire, as bytes and text: RTP, RTCP, payload formats, SDP. Nothing here does any I/O."""
