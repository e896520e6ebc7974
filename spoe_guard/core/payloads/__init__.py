"""The contents of HELLO, ACK and DISCONNECT, and how they are repaired."""
