#!/usr/lib/spoe-guard/bin/python3
"""Runs spoe-guard in the environment of its package."""

from spoe_guard.cli import main

main()
