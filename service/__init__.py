"""The service: HTTP in front, engine processes behind, a supervisor over both.

Loads nothing by itself. ``python -m service`` starts here; see ``docs/architecture.md``.
"""
