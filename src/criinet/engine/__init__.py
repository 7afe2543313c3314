"""The engine: one trainer, one predictor, one evaluator."""
