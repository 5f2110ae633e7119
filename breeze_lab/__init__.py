"""Breeze Lab: research Indian markets in Jupyter, over ICICI Direct's Breeze API."""

__version__ = "0.1.0"
