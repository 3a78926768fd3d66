"""An evaluation as one self-contained page: tables, plots, examples; no scripts, no requests."""

from pixtag.report.page import make_report, write_report

__all__ = ["make_report", "write_report"]
