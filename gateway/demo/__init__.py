"""The main job: two models from training to the evaluator's verdict, on real data."""
