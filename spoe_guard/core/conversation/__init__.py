"""The state of one session: open NOTIFYs, agent links, outlets, and how it ends."""
