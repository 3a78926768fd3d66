"""Measuring: a period of the log that nothing was fitted on, replayed in time order."""

from pixtag.evaluate.leaks import Leak, LeakReport, check_bundle, leakcheck
from pixtag.evaluate.looks import HEADLINE, log_look, write_predictions, write_trec
from pixtag.evaluate.oracle import ORACLE, oracle, read_oracle
from pixtag.evaluate.protocol import Comparison, References, Scored, compare, reference_methods
from pixtag.evaluate.rankers import fitted_rankers
from pixtag.evaluate.run import PIXTAG, Cold, Evaluation, Model, evaluate, evaluate_cold
from pixtag.evaluate.signals import SIGNALS, SignalLift, signal_lift
from pixtag.evaluate.summary import Figures, tag_gains

__all__ = [
    "HEADLINE",
    "ORACLE",
    "PIXTAG",
    "SIGNALS",
    "Cold",
    "Comparison",
    "Evaluation",
    "Figures",
    "Leak",
    "LeakReport",
    "Model",
    "References",
    "Scored",
    "SignalLift",
    "check_bundle",
    "compare",
    "evaluate",
    "evaluate_cold",
    "fitted_rankers",
    "leakcheck",
    "log_look",
    "oracle",
    "read_oracle",
    "reference_methods",
    "signal_lift",
    "tag_gains",
    "write_predictions",
    "write_trec",
]
