"""Defragmentation of real memory."""
