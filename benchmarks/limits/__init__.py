"""Checks of rate limits a second, ours in memory, PostgreSQL and Redis beside the `limits` library's moving window.

Both count every hit with its own time. The library has no PostgreSQL; its Redis is the same server as ours.
"""
