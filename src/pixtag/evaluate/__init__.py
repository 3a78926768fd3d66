"""Measuring: a period of the log that nothing was fitted on, replayed in time order."""

from pixtag.evaluate.metrics import Comparison, compare
from pixtag.evaluate.model import LeakReport, check_bundle, leakcheck, model_of
from pixtag.evaluate.past import ORACLE, read_oracle
from pixtag.evaluate.protocols import PROTOCOLS, Outcome, Request, run_protocol
from pixtag.evaluate.report import log_look, write_predictions, write_trec
from pixtag.evaluate.tables import Figures, Row, tag_gains
from pixtag.evaluate.temporal import PIXTAG, References, evaluate, evaluate_cold, reference_methods

__all__ = [
    "ORACLE", "PIXTAG", "PROTOCOLS", "Comparison", "Figures", "LeakReport", "Outcome",
    "References", "Request", "Row", "check_bundle", "compare", "evaluate", "evaluate_cold",
    "leakcheck", "log_look", "model_of", "read_oracle", "reference_methods",
    "run_protocol", "tag_gains", "write_predictions", "write_trec",
]  # fmt: skip
