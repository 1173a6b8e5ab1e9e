"""Classification: which defect is it?"""
