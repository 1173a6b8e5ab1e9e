"""Anomaly detection: is it unlike the good parts?"""
