"""Measuring: a period of the log that nothing was fitted on, replayed in time order."""

from pixtag.evaluate.compare import Comparison, References, Scored, compare, reference_methods
from pixtag.evaluate.files import ORACLE, log_look, read_oracle, write_predictions, write_trec
from pixtag.evaluate.leaks import Leak, LeakReport, check_bundle, leakcheck
from pixtag.evaluate.model import Model, model_of
from pixtag.evaluate.protocols import PROTOCOLS, Outcome, Request, run_protocol
from pixtag.evaluate.rankers import fitted_rankers
from pixtag.evaluate.signals import SIGNALS, signal_lift
from pixtag.evaluate.tables import Figures, Row, tag_gains
from pixtag.evaluate.temporal import PIXTAG, Evaluation, evaluate, evaluate_cold

__all__ = [
    "ORACLE",
    "PIXTAG",
    "PROTOCOLS",
    "SIGNALS",
    "Comparison",
    "Evaluation",
    "Figures",
    "Leak",
    "LeakReport",
    "Model",
    "Outcome",
    "References",
    "Request",
    "Row",
    "Scored",
    "check_bundle",
    "compare",
    "evaluate",
    "evaluate_cold",
    "fitted_rankers",
    "leakcheck",
    "log_look",
    "model_of",
    "read_oracle",
    "reference_methods",
    "run_protocol",
    "signal_lift",
    "tag_gains",
    "write_predictions",
    "write_trec",
]
