"""Suggestions: the only inference path, for the command line, the page and evaluation."""

from pixtag.predict.answer import Answer
from pixtag.predict.photos import photos_under
from pixtag.predict.predictor import Predictor
from pixtag.predict.rising import Rising, rising_tags

__all__ = ["Answer", "Predictor", "Rising", "photos_under", "rising_tags"]
