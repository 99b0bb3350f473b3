"""The places where images live. Each is an implementation of the transports' contracts."""
