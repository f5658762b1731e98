"""Many scenes, each completed stage by stage: what is done is not done again."""
