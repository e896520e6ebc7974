"""``spoe-guard top``: the live page's content in a terminal, from ``/api/status``."""
