"""The shadow evaluator: judges live models from evidence, shadows and labels."""
