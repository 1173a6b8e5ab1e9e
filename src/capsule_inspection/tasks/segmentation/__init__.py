"""Segmentation: where is the defect?"""
