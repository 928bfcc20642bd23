"""Shipped for tests, ours and users': fakes with the ports' names, conformance suites, fault injection.

May live here: what makes a test honest without mocks. May not: anything that product code needs.
"""
