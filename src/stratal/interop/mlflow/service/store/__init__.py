"""All SQL of MLflow's protocol.

May live here: statements and what turns their rows into records. May not: MLflow's rules, its answers.
"""
