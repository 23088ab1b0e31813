from hypothesis import settings

# A deadline would be a wall-clock assertion, and machines are shared.
settings.register_profile("topicserve", deadline=None)
# For `make quick`, which asks for it; everything else has the usual number of examples.
settings.register_profile("quick", settings.get_profile("topicserve"), max_examples=10)
settings.load_profile("topicserve")
