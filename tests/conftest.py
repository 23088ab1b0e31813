from hypothesis import settings

# A deadline would be a wall-clock assertion, and machines are shared.
settings.register_profile("topicserve", deadline=None)
settings.load_profile("topicserve")
