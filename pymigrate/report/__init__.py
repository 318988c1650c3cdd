"""What a replay found, for people: tables on a terminal, pictures, and lines that scripts can grep."""

from __future__ import annotations
