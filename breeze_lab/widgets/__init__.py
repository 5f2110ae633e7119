"""Widgets: what a notebook shows and a browser keeps moving."""

from __future__ import annotations

from breeze_lab.widgets.live_chart import LiveChart

__all__ = ["LiveChart"]
