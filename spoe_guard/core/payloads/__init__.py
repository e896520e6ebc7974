"""What HELLO, ACK and DISCONNECT say, and how they are repaired."""
