"""An example of a task: is the part good, or has it any defect?"""
