"""Judgement on what the model answered: can it be right, and is it sure enough?"""
