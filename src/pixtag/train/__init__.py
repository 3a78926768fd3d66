"""Training: a log of posts to a bundle, with JAX; nothing here is needed to predict.

`pixtag.train.fit.fit` does it, `pixtag.train.config.TrainConfig` holds the knobs.
"""
