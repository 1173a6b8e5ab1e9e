"""LightningModules: one for each question that a run can ask of the photographs."""
