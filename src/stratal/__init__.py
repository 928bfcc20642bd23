"""Stratal: a team's whole machine-learning layer in one package."""
