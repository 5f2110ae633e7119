"""What a client sees: REST answers, stream frames and the sockets that carry them."""
