"""Measurements, run by hand. pytest does not look in here."""
