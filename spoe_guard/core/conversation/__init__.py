"""The state of one session: open NOTIFYs, agent links, ways out, and how it ends."""
