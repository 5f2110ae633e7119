"""Dashboards: Panel pages over the same values."""
